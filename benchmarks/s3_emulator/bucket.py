"""The objects of one bucket, in the order of their keys."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import attrs


@attrs.frozen
class Stored:
    """
    One object.

    Attributes:
        data: its bytes; never changed.
        modified: seconds since 1970.
        etag: with its quotes.
        metadata: what the put said in ``x-amz-meta-`` headers, by whole lower-case name.
    """

    data: bytes | bytearray
    modified: float
    etag: str
    metadata: dict[str, str]


class Bucket:
    """Objects by key; keys sort by code point."""

    def __init__(self) -> None:
        self._objects: dict[str, Stored] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects."""
        return sum(len(stored.data) for stored in self._objects.values())

    def get(self, key: str) -> Stored | None:
        """The object, if there is one."""
        return self._objects.get(key)

    def put(self, key: str, stored: Stored) -> None:
        """Make or replace an object."""
        if key not in self._objects:
            insort(self._keys, key)
        self._objects[key] = stored

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        if self._objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def page(self, prefix: str, after: str, limit: int) -> tuple[list[tuple[str, Stored]], bool]:
        """
        Objects whose keys start with ``prefix`` and sort behind ``after``, at most ``limit``.

        Returns:
            Keys with objects, and whether there are more of them.
        """
        keys = self._keys
        first = max(bisect_right(keys, after) if after else 0, bisect_left(keys, prefix))
        found: list[tuple[str, Stored]] = []
        for index in range(first, len(keys)):
            key = keys[index]
            if not key.startswith(prefix):
                break
            if len(found) == limit:
                return found, True
            found.append((key, self._objects[key]))
        return found, False
