"""A store for volumes larger than memory, as long as what is written repeats itself."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from backends.objects.contract import PAGE, Exists, IObjectStore, Listed, NotFound
from backends.objects.keys import encoded
from gateway.interfaces import Buffer

#: Parts up to this many bytes are not worth comparing.
_SMALL = 4096


class _Object:
    """
    An object as the parts that it was put with.

    Attributes:
        parts: joined they are the object; equal ones are one and the same.
        ends: where each part ends.
    """

    __slots__ = ("ends", "parts")

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self.ends: list[int] = []
        end = 0
        for part in parts:
            end += len(part)
            self.ends.append(end)

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read(self, start: int, length: int) -> bytes:
        end = min(start + length, self.size)
        pieces = []
        number = bisect_right(self.ends, start)
        while start < end:
            base = self.ends[number] - len(self.parts[number])
            piece = self.parts[number][start - base : end - base]
            pieces.append(piece)
            start += len(piece)
            number += 1
        return b"".join(pieces)


@implementer(IObjectStore)
class PhantomStore:
    """
    Objects in memory, each part that equals the one before it kept once.

    Frames of a volume that is neither compressed nor encrypted are parts of an object. So a
    volume that is filled with one repeated pattern of 64 KiB takes memory for its headers,
    checkpoints and superblocks alone, and reads back as it was written: nothing is made up.

    Attributes:
        kept: bytes that really are in memory.
    """

    def __init__(self) -> None:
        self.kept = 0
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []  # sorted
        self._last = b""

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        return execute(self._put, key, parts, if_absent)

    def get(self, key: str, start: int, length: int) -> Deferred[bytes]:
        return execute(lambda: self._found(key).read(start, length))

    def head(self, key: str) -> Deferred[Listed]:
        return execute(lambda: Listed(key, self._found(key).size, 0.0))

    def list(self, prefix: str, after: str) -> Deferred[list[Listed]]:
        return execute(self._list, prefix, after)

    def delete(self, keys: Sequence[str]) -> Deferred[None]:
        return execute(self._delete, keys)

    def describe(self) -> str:
        return "memory, what repeats itself once"

    def close(self) -> Deferred[None]:
        return execute(lambda: None)

    def _put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        encoded(key)
        there = self._objects.get(key)
        if there is not None:
            if if_absent and there.read(0, there.size) != b"".join(parts):
                raise Exists(f"{key}: there is an object of {there.size} bytes")
        else:
            insort(self._keys, key)
        self._objects[key] = _Object([self._shared(bytes(part)) for part in parts])

    def _shared(self, part: bytes) -> bytes:
        if len(part) <= _SMALL:
            self.kept += len(part)
        elif part != self._last:
            self.kept += len(part)
            self._last = part
        else:
            return self._last
        return part

    def _list(self, prefix: str, after: str) -> list[Listed]:
        first = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        return [
            Listed(key, self._objects[key].size, 0.0)
            for key in self._keys[first : first + PAGE]
            if key.startswith(prefix)
        ]

    def _delete(self, keys: Sequence[str]) -> None:
        assert len(keys) <= PAGE, len(keys)
        for key in keys:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def _found(self, key: str) -> _Object:
        try:
            return self._objects[key]
        except KeyError:
            raise NotFound(f"{key}: no such object in memory") from None
