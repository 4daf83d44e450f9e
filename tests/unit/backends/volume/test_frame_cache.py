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


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 20)), max_size=100))
def test_the_cache_is_an_ordered_dict_with_a_bound(steps):
    """
    Against the plainest model; bytes never exceed the limit.
    """
    cache = FrameCache(FrameMemory(50))
    model = OrderedDict()
    for is_put, key, size in steps:
        if is_put:
            model.pop(key, None)
            model[key] = bytes([key]) * size
            while sum(map(len, model.values())) > 50:
                model.popitem(last=False)
            cache.put(key, bytes([key]) * size)
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        assert cache.bytes == sum(map(len, model.values())) <= 50


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
