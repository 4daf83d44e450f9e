"""
Runs over a whole disk on two levels: uniform pages above, small sorted runs per page below.

A page is uniform when all of it has one value that is no data. Neighbouring
uniform pages of one value are one run of the upper level, so that a fresh or
trimmed disk is one run whatever its size. What the upper level says of pages
that are present below is out of date and means nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from backends.volume import values
from backends.volume.runs import Run, Runs, append_merged
from backends.volume.units import PAGE_SECTORS
from backends.volume.values import ABSENT, DATA

PAGE_SHIFT = PAGE_SECTORS.bit_length() - 1
_MASK = PAGE_SECTORS - 1

#: Bytes that a page takes beside its runs: objects, dictionary entries, slack of arrays.
PAGE_OVERHEAD = 400
#: Bytes a run: start and value.
RUN_BYTES = 10

_GROUP_SHIFT = 10
_GROUP = 1 << _GROUP_SHIFT


class PageSet:
    """
    A set of page numbers whose members in a range are found in order.

    One integer of 1,024 bits for each group of pages that has any.
    """

    __slots__ = ("_bits", "_groups")

    def __init__(self) -> None:
        self._bits: dict[int, int] = {}
        self._groups: list[int] = []

    def add(self, page: int) -> None:
        """Add a page."""
        group = page >> _GROUP_SHIFT
        bit = 1 << (page & _GROUP - 1)
        bits = self._bits.get(group)
        if bits is None:
            insort(self._groups, group)
            self._bits[group] = bit
        else:
            self._bits[group] = bits | bit

    def discard(self, page: int) -> None:
        """Take a page off if it is there."""
        group = page >> _GROUP_SHIFT
        bits = self._bits.get(group, 0) & ~(1 << (page & _GROUP - 1))
        if bits:
            self._bits[group] = bits
        elif self._bits.pop(group, None) is not None:
            del self._groups[bisect_left(self._groups, group)]

    def first(self, start: int, end: int) -> int:
        """The first member from ``start`` on and before ``end``, or ``end``."""
        group = start >> _GROUP_SHIFT
        bits = self._bits.get(group, 0) >> (start & _GROUP - 1)
        if not bits:
            number = bisect_left(self._groups, group + 1)
            if number == len(self._groups):
                return end
            start = self._groups[number] << _GROUP_SHIFT
            bits = self._bits[self._groups[number]]
        return min(start + (bits & -bits).bit_length() - 1, end)

    def within(self, start: int, end: int) -> Iterator[int]:
        """The members from ``start`` up to ``end``; each may be discarded when it has come."""
        while (page := self.first(start, end)) < end:
            yield page
            start = page + 1


class Upper(Protocol):
    """The upper level: a value for each page."""

    def runs(self, start: int, end: int) -> list[Run]:
        """Runs of pages from ``start`` up to ``end``."""

    def value(self, page: int) -> int:
        """The value of one page."""


R = TypeVar("R", bound=Runs)


class Paged(Generic[R]):
    """
    What maps on two levels have in common: how they are read, and cut into pages.

    Args:
        sectors: the disk's size.
        upper: the values of uniform pages.
    """

    __slots__ = ("_pages", "_present", "_upper", "sectors")

    def __init__(self, sectors: int, upper: Upper) -> None:
        self.sectors = sectors
        self._upper = upper
        self._pages: dict[int, R] = {}
        self._present = PageSet()

    def runs(self, start: int, end: int, limit: int | None = None) -> list[Run]:
        """
        The runs of a range, merged across pages and cut at the range's ends.

        Args:
            start, end: sectors, 0 <= start < end <= sectors.
            limit: the most runs to return; the last of them is as long as it can be.
        """
        page = start >> PAGE_SHIFT
        base = page << PAGE_SHIFT
        if end - base <= PAGE_SECTORS:  # in one page: most requests are
            runs = self._pages.get(page)
            if runs is None:
                return [(start, end, self._upper.value(page))]
            found = runs.runs(start - base, end - base, base)
            if limit is not None:
                del found[limit:]
            return found
        behind = (end - 1 >> PAGE_SHIFT) + 1
        found = []
        while page < behind:
            runs = self._pages.get(page)
            base = page << PAGE_SHIFT
            if runs is not None:
                inside = runs.runs(
                    start - base if start > base else 0, min(end - base, PAGE_SECTORS), base
                )
                page += 1
            else:
                present = self._present.first(page, behind)
                inside = [
                    (max(first << PAGE_SHIFT, start), min(last << PAGE_SHIFT, end), value)
                    for first, last, value in self._upper.runs(page, present)
                ]
                page = present
            if not found:
                found = inside
            else:
                append_merged(found, inside)
            if limit is not None and len(found) > limit:
                del found[limit:]
                break
        return found

    def _set_across(self, start: int, end: int, value: int) -> None:
        """Give more than one page a value: data page by page, all else in one go."""
        page = start >> PAGE_SHIFT
        last = end >> PAGE_SHIFT
        inside = start & _MASK
        if value >= DATA:
            while page < last:
                self._set_inside(page, inside, PAGE_SECTORS, value)
                value += PAGE_SECTORS - inside
                inside = 0
                page += 1
        else:
            if inside:
                self._set_inside(page, inside, PAGE_SECTORS, value)
                page += 1
            if page < last:
                self._set_uniform(page, last, value)
        if end & _MASK:
            self._set_inside(last, 0, end & _MASK, value)

    def _set_inside(self, page: int, start: int, end: int, value: int) -> None:
        """Give a range of one page a value."""
        raise NotImplementedError

    def _set_uniform(self, first: int, last: int, value: int) -> None:
        """Give whole pages a value that is no data."""
        raise NotImplementedError


class LayeredMap(Paged[Runs]):
    """
    A value for every sector of a disk, all of it in memory.

    Args:
        sectors: the disk's size, more than 0.
        value: of all of them, to begin with; no data.
    """

    __slots__ = ("_runs", "_top")

    def __init__(self, sectors: int, value: int) -> None:
        self._top = Runs((sectors - 1 >> PAGE_SHIFT) + 1, value)
        self._runs = 0
        super().__init__(sectors, self._top)

    @property
    def memory(self) -> int:
        """Bytes, estimated."""
        runs = self._runs + len(self._top)
        return runs * RUN_BYTES + len(self._pages) * PAGE_OVERHEAD

    def uniform_run(self, page: int) -> Run | None:
        """The run of uniform pages, counted in pages, from ``page`` on; None if that is not one."""
        if page in self._pages:
            return None
        return self._top.runs(page, self._present.first(page, self._top.length))[0]

    def set(self, start: int, end: int, value: int) -> None:
        """
        Give a range a value; takes as long as there are pages present in it.

        Args:
            start, end: sectors, 0 <= start < end <= sectors.
            value: of ``start``.
        """
        page = start >> PAGE_SHIFT
        base = page << PAGE_SHIFT
        if end - base <= PAGE_SECTORS:
            self._set_inside(page, start - base, end - base, value)
        else:
            self._set_across(start, end, value)

    def clear(self, start: int, end: int, index: int) -> None:
        """Make ``ABSENT`` what came with the object ``index`` in a range."""
        for first, last, value in self.runs(start, end):
            if values.index(value) == index and value != ABSENT:
                self.set(first, last, ABSENT)

    def _set_inside(self, page: int, start: int, end: int, value: int) -> None:
        runs = self._pages.get(page)
        if runs is None:
            uniform = self._top.value(page)
            if uniform == value:
                return
            self._pages[page] = runs = Runs(PAGE_SECTORS, uniform)
            self._present.add(page)
            self._runs += 1
        before = len(runs)
        runs.set(start, end, value)
        after = len(runs)
        self._runs += after - before
        if after == 1 and value < DATA:
            self._remove(page)
            self._top.set(page, page + 1, value)

    def _set_uniform(self, first: int, last: int, value: int) -> None:
        for present in self._present.within(first, last):
            self._remove(present)
        self._top.set(first, last, value)

    def _remove(self, page: int) -> None:
        self._runs -= len(self._pages.pop(page))
        self._present.discard(page)
