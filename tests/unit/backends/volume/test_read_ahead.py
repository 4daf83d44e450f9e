"""What is guessed of a reader's next reads."""

from __future__ import annotations

from functools import partial

import pytest

from backends.volume.read_ahead import ReadAhead
from gateway.info import KIB, MIB

GIB = 1024 * MIB


def all_data(start, length, size=GIB):
    """A disk without holes."""
    return min(start + length, size)


def sparse(start, length):
    """A disk of 1 GiB with 1 MiB of data at each 16 MiB."""
    while True:
        if start >= GIB:
            return GIB
        base, inside = divmod(start, 16 * MIB)
        if inside < MIB:
            piece = min(MIB - inside, length)
            start, length = start + piece, length - piece
            if inside + piece < MIB:
                return start
        start = (base + 1) * 16 * MIB


@pytest.fixture
def ahead():
    return ReadAhead()


def test_random_reads_cause_no_guess(ahead):
    """Nor do two neighbours by chance."""
    for offset in (5, 900, 70, 300, 640):
        assert ahead.after(offset * MIB, 4 * KIB, all_data) is None
    assert ahead.after(640 * MIB + 4 * KIB, 4 * KIB, all_data) is None


def test_the_third_small_read_in_a_row_is_followed(ahead):
    """From where it ends."""
    guesses = [ahead.after(number * 4 * KIB, 4 * KIB, all_data) for number in range(3)]
    assert guesses == [None, None, (12 * KIB, 140 * KIB)]


def test_the_second_long_read_in_a_row_is_followed_and_windows_grow(ahead):
    """Fast at first, up to the most; and none while half a window is in hand."""
    found = []
    for number in range(512):
        guess = ahead.after(number * 256 * KIB, 256 * KIB, all_data)
        if guess is not None:
            found.append(guess)
    assert found[0][0] == 512 * KIB
    windows = [(end - start) // MIB for start, end in found]
    assert windows[:5] == [1, 4, 8, 16, 32] and set(windows[5:]) == {32}
    assert all(before[1] == after[0] for before, after in zip(found, found[1:], strict=False))


def test_a_stream_goes_on_behind_a_hole(ahead):
    """Guesses are counted in data: 64 places of 1 MiB take few."""
    guesses = [
        ahead.after(place * 16 * MIB + part * 256 * KIB, 256 * KIB, sparse)
        for place in range(64)
        for part in range(4)
    ]
    found = [guess for guess in guesses if guess is not None]
    assert len(found) < 14
    assert all(before[1] == after[0] for before, after in zip(found, found[1:], strict=False))


def test_reads_that_overtake_each_other_are_one_stream(ahead):
    """Clients have several under way."""
    order = [swapped for number in range(0, 64, 2) for swapped in (number + 1, number)]
    found = [ahead.after(number * 64 * KIB, 64 * KIB, all_data) for number in order]
    assert sum(guess is not None for guess in found) < 8


def test_no_guess_reaches_beyond_the_disk(ahead):
    """The last one ends with it, as large as the disk is then."""
    small = partial(all_data, size=MIB)
    found = [ahead.after(number * 256 * KIB, 256 * KIB, small) for number in range(4)]
    assert found == [None, (512 * KIB, MIB), None, None]
    grown = partial(all_data, size=4 * MIB)
    assert ahead.after(MIB, 256 * KIB, grown) == (MIB + 256 * KIB, 4 * MIB)


def test_many_streams_are_followed_at_once(ahead):
    """Each in its place."""
    for number in range(3):
        guesses = [
            ahead.after(stream * 32 * MIB + number * 4 * KIB, 4 * KIB, all_data)
            for stream in range(32)
        ]
    assert all(guess is not None for guess in guesses)


def begins(position):
    """Where data begins on `sparse`."""
    return position % (16 * MIB) == 0


def test_a_long_read_from_where_data_begins_is_a_copy_s(ahead):
    """It is guessed at once, and the read with it; a short one is not, nor one of the middle."""
    assert ahead.after(0, 64 * KIB, sparse, begins) is None
    assert ahead.after(32 * MIB + 512 * KIB, 256 * KIB, sparse, begins) is None
    guess = ahead.after(64 * MIB, 256 * KIB, sparse, begins)
    assert guess == (64 * MIB, 80 * MIB + 256 * KIB)


def test_a_copy_that_begins_many_places_before_it_ends_one_is_one_stream(ahead):
    """nbdcopy does: the first part of 16 places, then the second of each, ..."""
    guesses = []
    for group in range(4):
        for part in range(4):
            for place in range(group * 16, group * 16 + 16):
                offset = place * 16 * MIB + part * 256 * KIB
                guesses.append(ahead.after(offset, 256 * KIB, sparse, begins))
    found = [guess for guess in guesses if guess is not None]
    assert len(found) <= 16
    # nothing is guessed twice
    assert sum(end - start for start, end in found) <= GIB + 64 * MIB


def test_long_random_reads_cause_no_guess(ahead):
    """Not even those that lie behind a stream that was followed."""
    for number in range(16):
        ahead.after(number * 256 * KIB, 256 * KIB, all_data, begins)
    for offset in (400, 900, 70, 300, 640):
        offset = offset * MIB + 4 * KIB
        assert ahead.after(offset, 256 * KIB, all_data, begins) is None
