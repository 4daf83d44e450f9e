"""One memory for all volumes, and one disk cache for each directory."""

from __future__ import annotations

import os

from backends.volume.shared_caches import SharedCaches, SharedMemory
from gateway.info import MIB


def test_volumes_of_one_directory_share_a_cache(tmp_path):
    """It is locked, so a second one would be off."""
    caches = SharedCaches()
    first = caches.borrow(str(tmp_path / "cache"), 8 * MIB)
    os.symlink(tmp_path / "cache", tmp_path / "link")
    second = caches.borrow(str(tmp_path / "link"), 4 * MIB)
    assert first is second
    assert first.is_on
    assert os.stat(tmp_path / "cache" / "frames").st_size > 4 * MIB
    caches.give_back(first)
    assert second.is_on
    caches.give_back(second)
    assert not second.is_on


def test_directories_have_caches_of_their_own(tmp_path):
    """A machine may run several gateways, a test several machines."""
    caches = SharedCaches()
    found = [caches.borrow(str(tmp_path / name), 4 * MIB) for name in ("a", "b")]
    assert found[0] is not found[1]
    for cache in found:
        assert cache.is_on
        caches.give_back(cache)


def test_a_cache_is_opened_again_after_the_last_user(tmp_path):
    """With the size that is asked for then."""
    caches = SharedCaches()
    caches.give_back(caches.borrow(str(tmp_path), 4 * MIB))
    again = caches.borrow(str(tmp_path), 8 * MIB)
    assert again.is_on
    assert os.stat(tmp_path / "frames").st_size > 4 * MIB
    caches.give_back(again)


def test_volumes_share_memory_as_large_as_the_largest_that_is_asked_for():
    """What a volume had is free for others when it is gone."""
    shared = SharedMemory()
    small = shared.borrow(10)
    large = shared.borrow(30)
    small.put("a", b"1" * 10)
    large.put("a", b"2" * 10)
    assert shared.memory.limit == 30 and "a" in small
    shared.give_back(large)
    shared.give_back(large)
    assert (shared.memory.limit, shared.memory.bytes) == (10, 10)
    assert small.get("a") == b"1" * 10
    shared.give_back(small)
    assert (shared.memory.limit, shared.memory.bytes) == (0, 0)


def test_what_comes_for_a_volume_that_is_closed_is_not_kept():
    """What was read ahead may come late: nobody will ask for it, nor give it back."""
    shared = SharedMemory()
    closed, other = shared.borrow(30), shared.borrow(30)
    shared.give_back(closed)
    closed.put("a", b"1" * 10)
    closed.put_written("b", b"2" * 10)
    assert closed.get("a") is None and "b" not in closed
    other.put("a", b"3" * 10)
    assert shared.memory.bytes == 10
