"""Which of many ranges of bytes a new one overlaps, found without looking at all of them.

Each range is listed in every bucket of `BUCKET` bytes that it touches; a
lookup reads the buckets of its own range. Ranges of more than `LONG` buckets
are in one list apart, which every lookup reads: they are few, since a request
that moves so many bytes takes as much of the memory for payloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from gateway.info import KIB

#: Bytes. 16 blocks of 4 KiB share a bucket, as long as they do not overlap.
BUCKET = 64 * KIB
#: Buckets: 4 MiB, more than most clients send in one request.
LONG = 64

_SHIFT = BUCKET.bit_length() - 1


class Range(Protocol):
    """
    Bytes of a disk.

    Attributes:
        start: the first one.
        end: behind the last one; more than ``start``.
    """

    start: int
    end: int


R = TypeVar("R", bound=Range)


class Overlaps(Generic[R]):
    """Ranges in the order they were added; each is added once."""

    __slots__ = ("_all", "_buckets", "_long")

    def __init__(self) -> None:
        self._all: dict[R, None] = {}
        self._buckets: dict[int, dict[R, None]] = {}
        self._long: dict[R, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, item: R) -> None:
        """Add a range."""
        self._all[item] = None
        buckets = _buckets(item.start, item.end)
        if len(buckets) > LONG:
            self._long[item] = None
            return
        for bucket in buckets:
            if bucket in self._buckets:
                self._buckets[bucket][item] = None
            else:
                self._buckets[bucket] = {item: None}

    def remove(self, item: R) -> None:
        """Take a range off."""
        del self._all[item]
        buckets = _buckets(item.start, item.end)
        if len(buckets) > LONG:
            del self._long[item]
            return
        for bucket in buckets:
            ranges = self._buckets[bucket]
            del ranges[item]
            if not ranges:
                del self._buckets[bucket]

    def with_range(self, start: int, end: int) -> list[R]:
        """Those that share a byte with a range, each once."""
        if not self._all:
            return []
        buckets = _buckets(start, end)
        if len(buckets) > LONG:
            return _among(self._all, start, end)
        found = _among(self._long, start, end) if self._long else []
        for bucket in buckets:
            ranges = self._buckets.get(bucket)
            if ranges is not None:
                found += _among(ranges, start, end)
        return found if len(buckets) == 1 else list(dict.fromkeys(found))


def _buckets(start: int, end: int) -> range:
    return range(start >> _SHIFT, ((end - 1) >> _SHIFT) + 1)


def _among(ranges: Iterable[R], start: int, end: int) -> list[R]:
    return [item for item in ranges if item.start < end and start < item.end]
