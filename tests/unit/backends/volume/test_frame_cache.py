"""The cache of plain frames: a bound in bytes, and who goes first."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from backends.volume.frame_cache import FrameCache, FrameMemory


def test_a_frame_is_found_until_others_need_its_place():
    """
    The one that was not used for longest goes; a get counts as use.
    """
    cache = FrameCache(FrameMemory(30))
    for key in ("a", "b", "c"):
        cache.put((key, 0), key.encode() * 10)
    assert cache.get(("a", 0)) == b"a" * 10
    cache.put(("d", 0), b"d" * 10)
    assert cache.get(("b", 0)) is None
    assert cache.get(("a", 0)) == b"a" * 10
    assert (cache.hits, cache.misses, cache.bytes) == (2, 1, 30)


def test_a_frame_that_is_too_large_is_not_kept():
    """
    Nor is anything else then: the bound holds whatever comes.
    """
    cache = FrameCache(FrameMemory(10))
    cache.put("a", b"a" * 11)
    assert cache.get("a") is None
    assert cache.bytes == 0
    none = FrameCache(FrameMemory(0))
    none.put("a", b"a")
    assert none.get("a") is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 20)), max_size=100))
def test_the_cache_is_two_ordered_dicts_with_bounds(steps):
    """
    Against the plainest model; bytes never exceed the limit, nor what was written its share.
    """
    cache = FrameCache(FrameMemory(60))
    read: OrderedDict[int, bytes] = OrderedDict()
    written: OrderedDict[int, bytes] = OrderedDict()

    def size_of(frames):
        return sum(map(len, frames.values()))

    for step, key, size in steps:
        if step:
            read.pop(key, None)
            written.pop(key, None)
            (read if step == 1 else written)[key] = bytes([key]) * size
            while size_of(written) > 60 // 4:
                written.popitem(last=False)
            while size_of(read) + size_of(written) > 60:
                read.popitem(last=False)
            (cache.put if step == 1 else cache.put_written)(key, bytes([key]) * size)
        else:
            if key in written:
                read[key] = written.pop(key)
            assert cache.get(key) == read.get(key)
            if key in read:
                read.move_to_end(key)
        assert [key in cache for key in range(10)] == [
            key in read or key in written for key in range(10)
        ]
        assert cache.bytes == size_of(read) + size_of(written) <= 60


def test_what_is_written_does_not_drive_out_what_is_read():
    """It has a quarter of the memory, and stays beyond that only if it is read."""
    cache = FrameCache(FrameMemory(40))
    for key in "abc":
        cache.put(key, b"1" * 10)
    for key in "vwxyz":
        cache.put_written(key, b"2" * 10)
    assert [key in cache for key in "abcyz"] == [True, True, True, False, True]
    assert cache.get("z") == b"2" * 10
    cache.put_written("y", b"3" * 10)
    assert [key in cache for key in "abcyz"] == [False, True, True, True, True]


def test_caches_share_memory_but_not_frames():
    """Of all of them the least recently used goes, and each knows what is its own."""
    memory = FrameMemory(30)
    one, other = FrameCache(memory), FrameCache(memory)
    one.put("a", b"1" * 10)
    other.put("a", b"2" * 10)
    one.put("b", b"3" * 10)
    assert (one.get("a"), other.get("a")) == (b"1" * 10, b"2" * 10)
    other.put("b", b"4" * 10)
    assert "b" not in one and "b" in other
    assert (one.bytes, other.bytes, memory.bytes) == (10, 20, 30)
    assert (one.hits, other.hits) == (1, 1)


def test_a_cache_that_is_dropped_takes_its_frames_along():
    memory = FrameMemory(30)
    one, other = FrameCache(memory), FrameCache(memory)
    one.put("a", b"1" * 10)
    other.put("a", b"2" * 10)
    one.drop()
    assert (one.bytes, other.bytes, memory.bytes) == (0, 10, 10)
    assert "a" not in one and "a" in other


def test_a_smaller_limit_holds_at_once():
    cache = FrameCache(FrameMemory(30))
    for key in "abc":
        cache.put(key, b"1" * 10)
    cache.memory.resize(15)
    assert [key in cache for key in "abc"] == [False, False, True]


class Outcomes:
    """What is told of frames that were not asked for."""

    def __init__(self):
        self.told = []

    def used(self):
        self.told.append("used")

    def wasted(self):
        self.told.append("wasted")


def test_what_becomes_of_frames_that_were_not_asked_for_is_told_once():
    """Used with the first get; in vain when they make room; nothing when the cache goes."""
    memory = FrameMemory(30)
    memory.neighbours = outcomes = Outcomes()
    cache = FrameCache(memory)
    cache.put("asked", b"1" * 10)
    cache.put("a", b"1" * 10, asked=False)
    cache.put("b", b"1" * 10, asked=False)
    cache.get("a")
    cache.get("a")
    assert outcomes.told == ["used"]
    cache.put("c", b"1" * 10, asked=False)
    cache.put("d", b"1" * 10)
    assert "b" not in cache
    assert outcomes.told == ["used", "wasted"]
    cache.drop()
    assert outcomes.told == ["used", "wasted"]
