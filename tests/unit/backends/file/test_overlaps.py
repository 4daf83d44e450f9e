"""Overlapping ranges found by buckets, against looking at each."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from backends.file.overlaps import BUCKET, LONG, Overlaps


@attrs.define(eq=False)
class Range:
    start: int
    end: int


def at(start, length):
    return Range(start, start + length)


# Around the edges of buckets, one byte to all of a disk, many of them long.
starts = st.builds(
    lambda bucket, beside: max(0, bucket * BUCKET + beside),
    st.integers(0, 3 * LONG),
    st.integers(-2, 2),
)
lengths = st.one_of(
    st.integers(1, 4),
    st.integers(1, 4 * BUCKET),
    st.integers(LONG - 2, LONG + 2).map(lambda buckets: buckets * BUCKET),
    st.just(2**62),
)
ranges = st.builds(at, starts, lengths)
steps = st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "ask"]), ranges), max_size=40)


@given(steps, st.data())
def test_it_equals_looking_at_each(steps, data):
    """
    Whatever was added and removed: the same ranges are found, each once.
    """
    overlaps = Overlaps()
    naive = []
    for step, new in steps:
        if step == "add":
            overlaps.add(new)
            naive.append(new)
        elif step == "remove" and naive:
            overlaps.remove(naive.pop(data.draw(st.integers(0, len(naive) - 1))))
        expected = [old for old in naive if old.start < new.end and new.start < old.end]
        found = overlaps.with_range(new.start, new.end)
        assert len(found) == len(expected)
        assert set(found) == set(expected)
        assert len(overlaps) == len(naive)


def test_nothing_is_kept_of_what_was_removed():
    """
    Buckets go with their last range.
    """
    overlaps = Overlaps()
    items = [at(0, 1), at(0, 3 * BUCKET), at(BUCKET, 2**40)]
    for item in items:
        overlaps.add(item)
    for item in items:
        overlaps.remove(item)
    assert not overlaps._buckets
    assert not overlaps._long
    assert not overlaps._all


def test_a_lookup_looks_at_its_neighbors_alone():
    """
    Thousands of requests elsewhere are not compared.
    """
    compared = []

    class Watched(Range):
        def __getattribute__(self, name):
            if name == "start":
                compared.append(self)
            return super().__getattribute__(name)

    overlaps = Overlaps()
    for number in range(2048):
        overlaps.add(Watched(number * 4 * BUCKET, number * 4 * BUCKET + 4096))
    compared.clear()
    (found,) = overlaps.with_range(4 * 1000 * BUCKET, 4 * 1000 * BUCKET + 4096)
    assert compared == [found]
