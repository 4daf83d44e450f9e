"""Objects in this process's memory; they outlive `close`, but not the process."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from threading import Lock

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from backends.objects.contract import (
    PAGE,
    Exists,
    IBlockingStore,
    IObjectStore,
    Listed,
    NotFound,
)
from backends.objects.keys import encoded
from gateway.interfaces import Buffer


@implementer(IBlockingStore)
class BlockingMemoryStore:
    """
    One attempt each, from any thread.

    Args:
        clock: dates objects; without one the time of day does.
    """

    def __init__(self, clock: IReactorTime | None = None) -> None:
        self._seconds = time.time if clock is None else clock.seconds
        self._lock = Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._keys: list[str] = []  # sorted

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        encoded(key)
        data = b"".join(parts)
        with self._lock:
            if key not in self._objects:
                insort(self._keys, key)
            elif if_absent:
                raise Exists(f"{key}: there is an object of {len(self._objects[key][0])} bytes")
            self._objects[key] = (data, self._seconds())

    def get(self, key: str, start: int, length: int) -> bytes:
        return self._found(key)[0][start : start + length]

    def head(self, key: str) -> Listed:
        data, modified = self._found(key)
        return Listed(key, len(data), modified)

    def delete(self, keys: Sequence[str]) -> None:
        assert len(keys) <= PAGE, len(keys)
        for key in keys:
            encoded(key)
        with self._lock:
            for key in keys:
                if self._objects.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]

    def describe(self) -> str:
        return "memory"

    def close(self) -> None:
        pass

    def list(self, prefix: str, after: str) -> list[Listed]:
        with self._lock:
            first = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
            return [
                Listed(key, len(self._objects[key][0]), self._objects[key][1])
                for key in self._keys[first : first + PAGE]
                if key.startswith(prefix)
            ]

    def _found(self, key: str) -> tuple[bytes, float]:
        encoded(key)
        try:
            return self._objects[key]
        except KeyError:
            raise NotFound(f"{key}: no such object in memory") from None


@implementer(IObjectStore)
class MemoryStore:
    """
    The same objects without waiting: every answer has come when the call returns.

    Args:
        clock: as in `BlockingMemoryStore`.
    """

    def __init__(self, clock: IReactorTime | None = None) -> None:
        self._store = BlockingMemoryStore(clock)

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        return execute(self._put, key, parts, if_absent)

    def get(self, key: str, start: int, length: int) -> Deferred[bytes]:
        return execute(self._store.get, key, start, length)

    def head(self, key: str) -> Deferred[Listed]:
        return execute(self._store.head, key)

    def list(self, prefix: str, after: str) -> Deferred[list[Listed]]:
        return execute(self._store.list, prefix, after)

    def delete(self, keys: Sequence[str]) -> Deferred[None]:
        return execute(self._store.delete, keys)

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> Deferred[None]:
        return execute(self._store.close)

    def _put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        try:
            self._store.put(key, parts, if_absent)
        except Exists:
            data = b"".join(parts)
            if self._store.get(key, 0, len(data) + 1) != data:
                raise
