"""Bringing frames along: how many, and when it stops."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.neighbours import LEAST, MOST, Neighbours, widened
from gateway.info import MIB

#: Frames of an object, and a frame that is cheap to make.
COUNT, DATA = 128, bytes(64)


def test_the_first_gets_of_an_object_bring_nothing_along():
    """Each of those that follow brings four times as much, up to a bound."""
    widths = [Neighbours().width(gets) for gets in range(12)]
    assert widths == [1, 1, 1, 4, 16, 32, 32, 32, 32, 32, 32, 32]
    assert Neighbours().width(10**9) == MOST


def test_what_was_in_vain_halves_the_next():
    """As long as less than one frame in twelve is used; something is tried all the time."""
    neighbours = Neighbours()
    for most in (16, 8, 4, 2, 2):
        for number in range(256):
            neighbours.used() if number % 16 == 0 else neighbours.wasted()
        assert neighbours.width(100) == most
    assert most == LEAST


def test_what_is_of_use_again_doubles_the_next():
    """It takes more than one frame in six; what lies between changes nothing."""
    neighbours = Neighbours()
    for _ in range(256 * 5):
        neighbours.wasted()
    for share, most in ((8, 2), (4, 4), (8, 4), (2, 8), (1, 16), (1, 32), (1, 32)):
        for number in range(256):
            neighbours.used() if number % share == 0 else neighbours.wasted()
        assert neighbours.width(100) == most


@given(st.sets(st.integers(0, COUNT - 1), min_size=1), st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_whole_pieces_are_got(wanted, width):
    """All of a piece in which anything is wanted, and nothing of others; none beyond the end."""
    count = max(wanted) + 1 if max(wanted) % 2 else COUNT
    got = widened(sorted(wanted), width, count)
    assert wanted <= set(got)
    assert got == sorted(set(got))
    assert {number // width for number in got} == {number // width for number in wanted}
    assert got[-1] < count
    if width == 1:
        assert set(got) == wanted


@pytest.mark.parametrize(("limit", "most"), [(0, 1), (2 * MIB, 1), (16 * MIB, 8), (64 * MIB, 32)])
def test_little_room_is_not_filled_by_one_piece(limit, most):
    """At least 32 pieces have room beside each other."""
    memory = FrameMemory(limit)
    assert memory.width(100) == most


def _read(neighbourly, places):
    """Gets for reads of one frame each, as the fetcher does it, in a cache of 512 frames."""
    cache = FrameCache(FrameMemory(512 * len(DATA)))
    gets, got, before = 0, 0, {}
    for place in places:
        number, frame = divmod(place, COUNT)
        if cache.get(place) is not None:
            continue
        width = 1
        if neighbourly:
            width = cache.memory.neighbours.width(before.get(number, 0))
        before[number] = before.get(number, 0) + 1
        gets += 1
        for one in widened([frame], width, COUNT):
            key = number * COUNT + one
            if one == frame or key not in cache:
                cache.put(key, DATA, asked=one == frame)
                got += 1
    return gets, got


def test_a_disk_that_fits_into_the_cache_is_got_with_few_requests():
    """Reads all over 512 frames: a tenth of the requests, and hardly more than all of them."""
    rng = random.Random(1)
    places = [rng.randrange(512) for _ in range(3000)]
    gets, got = _read(True, places)
    assert gets < _read(False, places)[0] / 8
    assert got <= 512


def test_scattered_reads_bring_little_along():
    """Of a disk 64 times the cache: once that was seen, twice what is wanted, and not 32 times."""
    rng = random.Random(2)
    places = [rng.randrange(64 * 512) for _ in range(40_000)]
    gets, got = _read(True, places)
    assert gets < 1.02 * _read(False, places)[0]
    assert got < 3 * gets
