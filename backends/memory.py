"""Provider ``memory``: a sparse disk in this process's memory, gone when it is closed."""

from __future__ import annotations

from collections.abc import Hashable

import attrs
from zope.interface import implementer

from backends.extents import extents
from backends.zero_map import DATA, HOLE, ZERO, ZeroMap
from gateway import settings
from gateway.errors import Closed, NoSpace, Unavailable
from gateway.info import KIB, MAX_EXPORT_SIZE, Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, IStorageProvider, Resources

#: Bytes per page. Small enough that a few scattered blocks stay cheap, large
#: enough that a request of a few MiB touches tens of pages.
PAGE = 64 * KIB

_SHIFT = PAGE.bit_length() - 1
_NO_BYTES = bytes(PAGE)


@attrs.frozen
class MemorySettings:
    """The keys of an export section with ``provider = memory``."""

    size: int = settings.setting(settings.size, "Bytes of the disk.")
    limit: int | None = settings.setting(
        settings.size,
        "Bytes of memory the disk may fill, counted in pages of 64 KiB; beyond it, writes to"
        " holes fail for lack of space. Without it, nothing but the machine sets a limit.",
        default=None,
    )


@implementer(IStorageProvider)
class MemoryProvider:
    """Makes exports that live in memory."""

    name = "memory"
    settings = MemorySettings

    def problems(self, settings: MemorySettings, read_only: bool) -> list[str]:
        if settings.size > MAX_EXPORT_SIZE:
            return [f"size: got {settings.size}, expected at most {MAX_EXPORT_SIZE} bytes"]
        return []

    def identity(self, settings: MemorySettings) -> Hashable | None:
        return None

    def describe(self, settings: MemorySettings) -> str:
        if settings.limit is None:
            return "memory"
        return f"memory, at most {settings.limit} bytes"

    def open_export(
        self, name: str, settings: MemorySettings, read_only: bool, resources: Resources
    ) -> MemoryExport:
        return MemoryExport(settings.size, read_only, settings.limit)


@implementer(IExport)
class MemoryExport:
    """
    A disk of sparse pages; every call is answered now.

    A page that is in `_pages` or, under a limit, in `_reserved` is paid for.
    Wherever the map does not say ``HOLE`` the page is paid for, except where
    it gave up a hole for lack of runs: so every write pays for what it finds
    unpaid, whatever the map says, and one that cannot pay where no hole was
    reported fails with another error than "no space".

    Args:
        size: bytes.
        read_only: as `ExportInfo` tells it.
        limit: bytes of pages; None for no limit.
    """

    def __init__(self, size: int, read_only: bool = False, limit: int | None = None) -> None:
        self.info = ExportInfo(size=size, read_only=read_only, abilities=Abilities(cache=True))
        self._map = ZeroMap(size, HOLE)
        self._pages: dict[int, bytearray] = {}
        self._reserved: set[int] = set()
        self._limit = None if limit is None else limit // PAGE
        self._closed = False

    @property
    def resident(self) -> int:
        """Bytes of pages that hold data."""
        return len(self._pages) * PAGE

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        if self._closed:
            raise Closed("the export is closed")
        length = len(buffer)
        start = offset & (PAGE - 1)
        if start + length <= PAGE:
            buffer[:] = memoryview(self._pages.get(offset >> _SHIFT, _NO_BYTES))[
                start : start + length
            ]
            return True
        done = 0
        while done < length:
            start = (offset + done) & (PAGE - 1)
            piece = min(PAGE - start, length - done)
            page = self._pages.get((offset + done) >> _SHIFT, _NO_BYTES)
            buffer[done : done + piece] = memoryview(page)[start : start + piece]
            done += piece
        return True

    def read(self, offset: int, length: int) -> Buffer:
        data = bytearray(length)
        self.read_into(offset, memoryview(data))
        return data

    def write(self, offset: int, data: Buffer, fua: bool) -> None:
        if self._closed:
            raise Closed("the export is closed")
        length = len(data)
        if not length:
            return
        end = offset + length
        if self._limit is not None:
            self._pay(offset, end)
        if not self._map.is_data(offset, end):
            self._map.set(offset, end, DATA)
        source = memoryview(data)
        done = 0
        while done < length:
            start = (offset + done) & (PAGE - 1)
            piece = min(PAGE - start, length - done)
            number = (offset + done) >> _SHIFT
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = bytearray(PAGE)
                self._reserved.discard(number)
            page[start : start + piece] = source[done : done + piece]
            done += piece

    def write_zeroes(self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool) -> None:
        if may_trim:
            self.trim(offset, length, fua)
            return
        if self._closed:
            raise Closed("the export is closed")
        if not length:
            return
        end = offset + length
        self._pay(offset, end)
        self._clear(offset, end)
        self._map.set(offset, end, ZERO)

    def trim(self, offset: int, length: int, fua: bool) -> None:
        if self._closed:
            raise Closed("the export is closed")
        end = offset + length
        if not length or self._map.is_hole(offset, end):
            return
        self._clear(offset, end)
        self._map.set(offset, end, HOLE)
        self._release(offset >> _SHIFT)
        self._release((end - 1) >> _SHIFT)
        if self._limit is not None:
            inside = range(-(-offset >> _SHIFT), end >> _SHIFT)
            if len(inside) < len(self._reserved):
                self._reserved.difference_update(inside)
            else:
                self._reserved = {page for page in self._reserved if page not in inside}

    def flush(self) -> None:
        if self._closed:
            raise Closed("the export is closed")

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        if self._closed:
            raise Closed("the export is closed")
        return extents(self._map, offset, length, first_only)

    def cache(self, offset: int, length: int) -> None:
        if self._closed:
            raise Closed("the export is closed")

    def close(self) -> None:
        self._closed = True
        self._pages.clear()
        self._reserved.clear()

    def _pay(self, start: int, end: int) -> None:
        """
        Set every page of the range aside, or none.

        Raises:
            NoSpace: the limit does not allow it.
            Unavailable: nor that, where none of the range is a hole.
        """
        if self._limit is None:
            return
        wanted = range(start >> _SHIFT, ((end - 1) >> _SHIFT) + 1)
        free = self._limit - len(self._pages) - len(self._reserved)
        missing: list[int] = []
        if len(wanted) <= self._limit:
            missing = [
                page for page in wanted if page not in self._pages and page not in self._reserved
            ]
        if len(wanted) > self._limit or len(missing) > free:
            kind = NoSpace if self._map.has_hole(start, end) else Unavailable
            raise kind(
                f"{len(wanted) * PAGE} bytes of pages do not fit: {max(free, 0) * PAGE} bytes"
                f" of the limit of {self._limit * PAGE} are free"
            )
        self._reserved.update(missing)

    def _clear(self, start: int, end: int) -> None:
        """Make the range read as zeroes; whole pages go, but stay paid for."""
        first, last = -(-start >> _SHIFT), end >> _SHIFT  # whole pages, the second exclusive
        if first > last:  # inside one page
            self._zero(start, end)
            return
        self._zero(start, first << _SHIFT)
        self._zero(last << _SHIFT, end)
        inside = range(first, last)
        gone = (
            [page for page in inside if page in self._pages]
            if len(inside) < len(self._pages)
            else [page for page in self._pages if page in inside]
        )
        for page in gone:
            del self._pages[page]
        if self._limit is not None:
            self._reserved.update(gone)

    def _zero(self, start: int, end: int) -> None:
        """Overwrite a part of one page."""
        page = self._pages.get(start >> _SHIFT)
        if page is not None and start < end:
            inside = start & (PAGE - 1)
            page[inside : inside + end - start] = bytes(end - start)

    def _release(self, page: int) -> None:
        """Give a page back if all of it is a hole."""
        start = page << _SHIFT
        if self._map.is_hole(start, min(start + PAGE, self.info.size)):
            self._pages.pop(page, None)
            self._reserved.discard(page)
