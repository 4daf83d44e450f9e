"""The cache of plain frames: a bound in bytes, and who goes first."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from backends.volume.frame_cache import FrameCache


def test_a_frame_is_found_until_others_need_its_place():
    """
    The one that was not used for longest goes; a get counts as use.
    """
    cache = FrameCache(30)
    for key in ("a", "b", "c"):
        cache.put((key, 0), key.encode() * 10)
    assert cache.get(("a", 0)) == b"a" * 10
    cache.put(("d", 0), b"d" * 10)
    assert cache.get(("b", 0)) is None
    assert cache.get(("a", 0)) == b"a" * 10
    assert (cache.hits, cache.misses, cache.bytes, len(cache)) == (2, 1, 30, 3)


def test_a_frame_that_is_too_large_is_not_kept():
    """
    Nor is anything else then: the bound holds whatever comes.
    """
    cache = FrameCache(10)
    cache.put("a", b"a" * 11)
    assert cache.get("a") is None
    assert cache.bytes == 0
    none = FrameCache(0)
    none.put("a", b"a")
    assert none.get("a") is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 20)), max_size=100))
def test_the_cache_is_an_ordered_dict_with_a_bound(steps):
    """
    Against the plainest model; bytes never exceed the limit.
    """
    cache = FrameCache(50)
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
