"""
Runs of values over a range of sectors: sorted, without gaps, neighbours merged.

Layout: two parallel arrays, the first sector of each run and its value there.
The first run starts at 0, each ends where the next one starts, the last at
``length``. 10 bytes a run up to a length of 65,536; an insertion moves what
lies behind it, which is nothing to speak of in a page of the map.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from typing import TypeAlias

from backends.volume.values import DATA

#: ``(start, end, value)``: sectors from ``start`` up to ``end``; ``value`` is that of ``start``.
Run: TypeAlias = "tuple[int, int, int]"


def advanced(value: int, sectors: int) -> int:
    """The value so many sectors behind that of ``value``, in the same run."""
    return value + sectors if value >= DATA else value


def append_merged(runs: list[Run], more: list[Run]) -> None:
    """Append runs to others that end where they start; the two that meet may become one."""
    if runs and more:
        start, end, value = runs[-1]
        if advanced(value, end - start) == more[0][2]:
            runs[-1] = (start, more[0][1], value)
            more = more[1:]
    runs += more


class Runs:
    """
    The value of every sector from 0 to ``length``.

    Args:
        length: sectors, more than 0.
        value: of all of them, to begin with.
    """

    __slots__ = ("_starts", "_values", "length")

    def __init__(self, length: int, value: int) -> None:
        self.length = length
        self._starts = array(_typecode(length), (0,))
        self._values = array("Q", (value,))

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._starts)

    def set(self, start: int, end: int, value: int) -> None:
        """
        Give a range a value.

        Args:
            start, end: 0 <= start < end <= length.
            value: of ``start``; one of ``DATA`` grows with every sector.
        """
        starts, values = self._starts, self._values
        first = bisect_right(starts, start) - 1
        after = first + 1
        old, at = values[first], starts[first]
        old_end = starts[after] if after < len(starts) else self.length

        # Entries from `low` up to `high` give way to at most two: the run itself, unless the one
        # before it goes on into it, and the rest of the run that `end` lies in.
        if at < start:
            low = after
            head = (old + start - at if old >= DATA else old) != value
        elif first:
            low = first
            before = values[first - 1]
            head = (before + start - starts[first - 1] if before >= DATA else before) != value
        else:
            low = 0
            head = True
        if old_end < end:
            after = bisect_left(starts, end, after)
            old, at = values[after - 1], starts[after - 1]
            old_end = starts[after] if after < len(starts) else self.length
        high = after
        follower = value + end - start if value >= DATA else value
        if old_end > end:
            rest = old + end - at if old >= DATA else old
            tail = rest != follower
        else:
            rest = 0
            tail = False
            if high < len(starts) and values[high] == follower:
                high += 1

        if head:
            if low < high:
                starts[low] = start
                values[low] = value
            else:
                starts.insert(low, start)
                values.insert(low, value)
                high += 1
            low += 1
        if tail:
            if low < high:
                starts[low] = end
                values[low] = rest
            else:
                starts.insert(low, end)
                values.insert(low, rest)
                high += 1
            low += 1
        if low < high:
            del starts[low:high]
            del values[low:high]

    def runs(self, start: int, end: int, base: int = 0) -> list[Run]:
        """
        The runs of a range, cut at its ends.

        Args:
            start, end: 0 <= start < end <= length.
            base: added to every position in the answer.
        """
        starts, values = self._starts, self._values
        number = bisect_right(starts, start)
        value = values[number - 1]
        if value >= DATA:
            value += start - starts[number - 1]
        position = start + base
        found = []
        for number in range(number, len(starts)):  # noqa: B020 - goes on from where it is
            at = starts[number]
            if at >= end:
                break
            at += base
            found.append((position, at, value))
            position = at
            value = values[number]
        found.append((position, end + base, value))
        return found

    def value(self, sector: int) -> int:
        """The value of one sector."""
        number = bisect_right(self._starts, sector) - 1
        value = self._values[number]
        return value + sector - self._starts[number] if value >= DATA else value

    def uniform(self) -> int | None:
        """The value of all sectors if that is one and no data."""
        if len(self._values) == 1 and self._values[0] < DATA:
            return self._values[0]
        return None

    @property
    def encoded_length(self) -> int:
        """Bytes of what `encoded` returns."""
        return len(self._starts) * (self._starts.itemsize + 8)

    def encoded(self) -> bytes:
        """All starts, then all values, little-endian; the number of runs is told elsewhere."""
        return little_endian(self._starts) + little_endian(self._values)

    def decode(self, encoded: bytes) -> None:
        """
        Become what was `encoded`, of the same length.

        Raises:
            ValueError: these are no runs of this length.
        """
        starts = array(self._starts.typecode)
        count, excess = divmod(len(encoded), starts.itemsize + 8)
        if excess or not count:
            raise ValueError(
                f"runs: got {len(encoded)} bytes, expected a multiple of {starts.itemsize + 8}"
            )
        starts = from_little_endian(starts.typecode, encoded[: count * starts.itemsize])
        ascending = all(map(int.__lt__, starts, starts[1:]))
        if starts[0] or starts[-1] >= self.length or not ascending:
            raise ValueError(f"runs: got starts that do not ascend from 0 to below {self.length}")
        self._starts = starts
        self._values = from_little_endian("Q", encoded[count * starts.itemsize :])


def little_endian(column: array[int]) -> bytes:
    """The bytes of an array as they are stored."""
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def from_little_endian(typecode: str, stored: bytes) -> array[int]:
    """The array whose bytes these are."""
    column = array(typecode)
    column.frombytes(stored)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _typecode(length: int) -> str:
    if length <= 1 << 16:
        return "H"
    return "I" if length <= 1 << 32 else "Q"
