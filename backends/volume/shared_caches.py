"""Caches that the volumes of one process share: one in memory, and one for each directory."""

from __future__ import annotations

import os
from threading import Lock

import attrs
from twisted.logger import Logger

from backends.volume.disk_cache import DiskCache
from backends.volume.frame_cache import FrameCache, FrameMemory


class SharedMemory:
    """
    Memory for the frames of all volumes: as much as the one that asks for most may have.

    A volume that is busy has what others do not need just now, and what a process takes does
    not grow with the number of its volumes. For one thread.
    """

    def __init__(self) -> None:
        self.memory = FrameMemory(0)
        self._limits: dict[FrameCache, int] = {}

    def borrow(self, limit: int) -> FrameCache:
        """
        A cache of its own; to be given back once.

        Args:
            limit: bytes.
        """
        cache = FrameCache(self.memory)
        self._limits[cache] = limit
        self._resize()
        return cache

    def give_back(self, cache: FrameCache) -> None:
        """What is in it is forgotten. Once is enough; more does no harm."""
        if self._limits.pop(cache, None) is not None:
            cache.close()
            self._resize()

    def _resize(self) -> None:
        self.memory.resize(max(self._limits.values(), default=0))


@attrs.define
class _Lent:
    """A cache in use: its size in bytes, and how many use it."""

    cache: DiskCache
    limit: int
    users: int = 0


class SharedCaches:
    """Opens a cache when the first asks for it, and closes it after the last. Every call blocks."""

    _log = Logger()

    def __init__(self) -> None:
        self._lock = Lock()
        self._lent: dict[str, _Lent] = {}

    def borrow(self, directory: str, limit: int) -> DiskCache:
        """
        The cache in ``directory``; to be given back once.

        Args:
            limit: bytes on disk. Whoever comes first decides.
        """
        place = os.path.realpath(directory)
        with self._lock:
            lent = self._lent.get(place)
            if lent is None:
                lent = self._lent[place] = _Lent(DiskCache.open(place, limit), limit)
            elif lent.limit != limit:
                self._log.warn(
                    "disk cache {directory} is open with {open} bytes; cache_size = {asked} of"
                    " another volume counts when it is opened first",
                    directory=place,
                    open=lent.limit,
                    asked=limit,
                )
            lent.users += 1
            return lent.cache

    def give_back(self, cache: DiskCache) -> None:
        """One user less; the last one waits until the cache is closed."""
        with self._lock:
            lent = self._lent[cache.directory]
            lent.users -= 1
            if not lent.users:
                del self._lent[cache.directory]
                cache.close()


#: Of this process.
MEMORY = SharedMemory()

#: Of this process: the files of a cache are locked, so that two volumes cannot each open it.
CACHES = SharedCaches()
