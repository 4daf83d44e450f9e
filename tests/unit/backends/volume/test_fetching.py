"""Frames come once however many want them, checked, from the nearest place that has them."""

from __future__ import annotations

import random

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import Garbled
from backends.volume.frames import split
from backends.volume.header import Codec, Kind
from backends.volume.lineage import Source
from backends.volume.units import FRAME, FRAME_SECTORS, HEADER_LIMIT, SECTOR
from gateway.errors import Corrupt
from tests.doubles.one_object import FAR, SLOT, Host, failed_with


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
@pytest.mark.parametrize("key", [None, bytes(range(32))])
def test_ranges_of_any_shape_are_read(codec, key):
    host = Host(codec=codec, key=key)
    rng = random.Random(2)
    sectors = len(host.data) // SECTOR
    for _ in range(20):
        ranges = []
        for _ in range(rng.randrange(1, 4)):
            start = rng.randrange(sectors)
            ranges.append((start, rng.randrange(1, min(400, sectors - start) + 1)))
        answers = []
        Deferred.fromCoroutine(host.fetcher.read(SLOT, ranges)).addBoth(answers.append)
        for (start, length), pieces in zip(ranges, answers[0], strict=True):
            wanted = host.data[start * SECTOR : (start + length) * SECTOR]
            assert b"".join(pieces) == wanted
            assert b"".join(host.fetcher.cached(SLOT, start, length)) == wanted
    assert not host.fetcher.busy


def test_moved_objects_and_those_of_ancestors_have_names_and_keys_of_their_own():
    host = Host(key=bytes(range(32)))
    rng = random.Random(3)
    for source in (
        Source(0, Kind.MOVED, 4, 2),
        Source(1, Kind.DATA, 0, 3),
        Source(1, Kind.MOVED, 4, 2),
    ):
        plain = rng.randbytes(FRAME)
        host.make(source, plain)
        assert host.read(0, source=source) == [[plain]]
        assert b"".join(host.fetcher.cached(source, 0, FRAME_SECTORS)) == plain


def test_nothing_is_cached_that_was_not_read():
    host = Host()
    assert host.fetcher.cached(SLOT, 0, 1) is None
    host.read(FAR)
    assert host.fetcher.cached(SLOT, (FAR + 1) * FRAME_SECTORS - 1, 2) is None


def test_frames_in_memory_are_found_though_the_header_was_forgotten():
    """A large disk has more objects than headers are kept."""
    host = Host()
    host.fetcher._objects._most = 2
    host.read(FAR)
    for number in range(10, 14):
        host.make(Source(0, Kind.DATA, 0, number), bytes(SECTOR))
        host.read(0, source=Source(0, Kind.DATA, 0, number))
    gets = host.gets()
    assert b"".join(host.fetcher.cached(SLOT, FAR * FRAME_SECTORS, 8)) == host.frame(FAR)[:4096]
    assert host.gets() == gets


def test_who_wants_what_is_coming_waits_for_it():
    """One header, one get for each frame, whoever asks."""
    host = Host(holds=["get"])
    first, second = host.read(FAR), host.read(FAR, 60)
    assert len(host.store.held) == 1  # the header
    host.store.answer()
    assert len(host.store.held) == 2
    third = host.read(FAR)
    assert len(host.store.held) == 2 and host.fetcher.busy == {SLOT: 3}
    host.store.answer()
    assert first == [[host.frame(FAR)]] and third == first and not second
    host.store.answer()
    assert second == [[host.frame(FAR), host.frame(60)]]
    assert not host.fetcher.busy


def test_frames_close_to_each_other_come_with_one_get():
    """A gap of three frames is got along, a longer one is not; the gap is kept as well."""
    host = Host()
    host.read(20)
    host.store.calls.clear()
    assert host.read(30, 34, 39) == [[host.frame(30), host.frame(34), host.frame(39)]]
    assert host.gets() == 2
    assert host.fetcher.cached(SLOT, 32 * FRAME_SECTORS, 1) is not None


def test_an_object_that_is_asked_again_and_again_comes_in_larger_pieces():
    """Four frames with the fourth get, sixteen with the fifth: pieces that lie end to end."""
    host = Host()
    for frame in (20, 25, 30):
        host.read(frame)
    host.store.calls.clear()
    assert host.read(41) == [[host.frame(41)]]
    assert host.read(40) == [[host.frame(40)]]
    assert host.read(50) == [[host.frame(50)]]
    assert host.gets() == 2
    for frame in (42, 48, 63):
        assert host.fetcher.cached(SLOT, frame * FRAME_SECTORS, 1) is not None
    for frame in (39, 44, 47):
        assert host.fetcher.cached(SLOT, frame * FRAME_SECTORS, 1) is None


def test_who_wants_what_is_brought_along_waits_for_it():
    host = Host(holds=["get"])
    for frame in (20, 25, 30):
        host.read(frame)
        host.store.answer_all()
    host.store.calls.clear()
    first, second = host.read(40), host.read(41)
    host.store.answer_all()
    assert (first, second) == ([[host.frame(40)]], [[host.frame(41)]])
    assert host.gets() == 1


def test_what_is_brought_along_need_not_be_well(said):
    """Nobody asked for it; whoever does finds out, and nobody waits for ever."""
    host = Host()
    for frame in (20, 25, 30):
        host.read(frame)
    host.damage_frame(41)
    host.store.calls.clear()
    assert host.read(40) == [[host.frame(40)]]
    assert host.gets() == 1 and not said
    assert failed_with(host.read(41), Corrupt)
    assert len(said) == 1
    assert not host.fetcher._coming


def test_a_damaged_frame_is_got_a_second_time_and_then_named(said):
    host = Host()
    host.read(20)
    host.damage_frame(FAR)
    host.store.calls.clear()
    answers = host.read(FAR)
    assert failed_with(answers, Corrupt) and host.gets() == 2
    (text,) = said
    assert text == str(answers[0].value)
    assert host.lineage.key(SLOT) in text and f"frame {FAR}" in text


def test_a_frame_that_came_damaged_once_is_fine():
    host = Host(holds=["get"])
    body = host.body()
    first = host.read(FAR)
    host.store.answer()
    host.damage_frame(FAR)
    host.store.answer()
    host.objects.put(host.lineage.key(SLOT), [body], False)
    assert not first
    host.store.answer()
    assert first == [[host.frame(FAR)]]


def test_damage_fails_those_who_asked_for_it_and_nobody_else(said):
    """Frames that were got together, or along, stand for themselves."""
    host = Host(holds=["get"])
    host.read(20)
    host.store.answer()
    host.store.answer_all()
    host.damage_frame(FAR + 1)
    gap = host.read(FAR, FAR + 2)
    host.store.answer_all()
    assert gap == [[host.frame(FAR), host.frame(FAR + 2)]] and not said
    host.damage_frame(50)
    both, well = host.read(50, 51), host.read(51)
    host.store.answer_all()
    assert failed_with(both, Corrupt)
    assert well == [[host.frame(51)]]
    assert len(said) == 1


def test_an_object_that_is_too_short_is_corrupt(said):
    host = Host()
    host.read(20)
    host.objects.put(host.lineage.key(SLOT), [host.body()[: -FRAME - 5]], False)
    assert host.read(FAR) == [[host.frame(FAR)]]
    answers = host.read(63)
    assert failed_with(answers, Corrupt) and "short" in str(answers[0].value)
    assert len(said) == 1


def test_a_map_that_points_behind_the_end_is_corrupt():
    host = Host()
    answers = host.read(64)
    assert failed_with(answers, Corrupt) and "64" in str(answers[0].value)


@pytest.mark.parametrize("before", [0, FRAME_SECTORS])
def test_a_map_that_points_behind_the_end_of_the_last_frame_is_corrupt(before):
    """Bytes that are not there are no zeroes, nor are those that follow in their place."""
    host = Host()
    sectors = len(host.data) // SECTOR
    beyond = (sectors - 1 - before, before + 2)
    for _ in range(2):  # the second time the frames are in memory
        answers = []
        Deferred.fromCoroutine(host.fetcher.read(SLOT, [(0, 1), beyond])).addBoth(answers.append)
        assert failed_with(answers, Corrupt) and f"sector {sectors}" in str(answers[0].value)
        assert host.fetcher.cached(SLOT, *beyond) is None
    assert host.fetcher.cached(SLOT, beyond[0], before + 1) is not None


def test_an_answer_that_contradicts_itself_is_asked_for_again():
    host = Host(holds=["get"])
    answers = host.read(FAR)
    host.store.answer(0, Garbled("short"))
    host.store.answer(0)
    host.store.answer(0, Garbled("short"))
    host.store.answer(0)
    assert answers == [[host.frame(FAR)]]


def test_what_was_just_stored_is_known_without_the_store():
    host = Host()
    host.fetcher.learn(SLOT, host.sealed.header, list(split([host.data])))
    assert host.read(0, 62) == [[host.frame(0), host.frame(62)]]
    assert host.gets() == 0


def test_a_header_with_its_extents_for_who_needs_those():
    host = Host()
    got = []
    Deferred.fromCoroutine(host.fetcher.header(SLOT)).addBoth(got.append)
    assert got[0].extents == host.sealed.header.extents
    assert host.store.calls == [("get", host.lineage.key(SLOT))]
    assert len(host.body()) > HEADER_LIMIT


def brought(host, *frames):
    done = []
    ranges = [(frame * FRAME_SECTORS, FRAME_SECTORS) for frame in frames]
    Deferred.fromCoroutine(host.fetcher.bring(SLOT, ranges)).addBoth(done.append)
    return done


def test_what_is_brought_is_in_memory_and_got_once():
    """Whoever reads it meanwhile waits for it; what is there or coming is not got again."""
    host = Host(holds=["get"])
    first = brought(host, FAR, FAR + 1)
    host.store.answer()
    read, second = host.read(FAR), brought(host, FAR + 1)
    assert len(host.store.held) == 1 and second == [None] and not first and not read
    host.store.answer()
    assert first == [None] and read == [[host.frame(FAR)]]
    assert host.fetcher.cached(SLOT, (FAR + 1) * FRAME_SECTORS, FRAME_SECTORS) is not None
    assert brought(host, FAR, FAR + 1) == [None]
    assert host.gets() == 2
    assert not host.fetcher.busy


def test_bringing_fails_nobody(said):
    """Neither with a damaged frame, nor without the object; who reads finds out."""
    host = Host()
    host.damage_frame(FAR)
    assert brought(host, FAR, FAR + 1) == [None] and not said
    assert failed_with(host.read(FAR), Corrupt) and len(said) == 1
    assert brought(host, 1000) == [None]
    empty = Host()
    empty.objects.delete([empty.lineage.key(SLOT)])
    assert brought(empty, FAR) == [None]
    assert failed_with(empty.read(FAR), Corrupt)
    assert not host.fetcher._coming and not empty.fetcher._coming
    assert not host.fetcher.busy and not empty.fetcher.busy


def test_what_is_brought_counts_as_asked_for():
    """That it is read, or not, says nothing of neighbours."""
    host = Host()
    told = []
    host.memory.memory.neighbours.used = lambda: told.append("used")
    brought(host, FAR, FAR + 1)
    host.read(FAR)
    assert told == []
