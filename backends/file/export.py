"""A disk in a file or on a block device, as an export.

What takes no waiting is done at once on the reactor, through the page cache;
the rest in threads, in an order that `InFlight` keeps. The map says ``DATA``
before a write is issued and anything else only after the kernel has done it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from backends.extents import extents
from backends.file import blocking, zeroing
from backends.file.block_device import DeviceZeroing
from backends.file.closing import Closing
from backends.file.failures import NO_SPACE, SyncFailed, storage_error
from backends.file.flushing import SharedFlush
from backends.file.in_flight import Entry, InFlight
from backends.file.opening import OpenDisk
from backends.file.page_cache import INLINE_LIMIT, PageCache
from backends.file.syscalls import Syscalls
from backends.file.zeroing import Run, Way, Zeroing
from backends.zero_map import DATA, HOLE, ZeroMap
from gateway.errors import Closed, NotFast, Unavailable
from gateway.info import Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, NowOrLater, Resources


@implementer(IExport)
class FileExport:
    """
    An open file or block device.

    What is only read may be written by others, who need not respect locks: its
    reads are the kernel's, never the map's, which is of the time of opening.
    Its extents are of that time.

    Args:
        disk: what `open_disk` made; closed by `close`.
        read_only: as `ExportInfo` tells it.
        resources: threads.
        syscalls: the kernel.
    """

    def __init__(
        self, disk: OpenDisk, read_only: bool, resources: Resources, syscalls: Syscalls
    ) -> None:
        self._syscalls = syscalls
        self._fd = disk.fd
        self._map = disk.zero_map
        self._zeroes = ZeroMap(disk.size, DATA) if read_only else disk.zero_map
        self._in_memory = disk.in_memory
        self._in_flight = InFlight(resources.call_in_thread)
        self._page_cache = PageCache(syscalls, disk.fd, disk.in_memory)
        self._flush = SharedFlush(lambda: resources.call_in_thread(syscalls.fdatasync, disk.fd))
        self._zeroing: Zeroing | None = disk.zeroing
        if disk.device is not None and not read_only:
            self._zeroing = DeviceZeroing(
                syscalls, disk.fd, disk.size, disk.device, self._sync_if_dirty
            )
        # A device is synced before it is punched: see `DeviceZeroing`.
        self._zeroing_syncs = disk.device is not None
        self._closed = False
        self._closing = Closing(
            disk.fd, self._flush, self._in_flight.when_idle, resources.call_in_thread
        )
        self.info = ExportInfo(
            size=disk.size,
            read_only=read_only,
            preferred_block=1 << max(9, (disk.block_size - 1).bit_length()),
            rotational=disk.rotational,
            abilities=Abilities(
                trim=self._zeroing is not None and self._zeroing.can_trim, cache=True
            ),
        )

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        if self._closed:
            raise Closed("the export is closed")
        in_flight = self._in_flight
        end = offset + len(buffer)
        if in_flight.count and in_flight.overlaps(offset, end, False):
            return False
        if self._page_cache.read(offset, buffer):
            return True
        if offset < end <= offset + INLINE_LIMIT and self._zeroes.reads_zero(offset, end):
            buffer[:] = bytes(end - offset)
            return True
        return False

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        if self._closed:
            raise Closed("the export is closed")
        end = offset + length
        if not length:
            return b""
        earlier = self._in_flight.overlaps(offset, end, False)
        if not earlier and self._zeroes.reads_zero(offset, end):
            return bytes(length)

        def work() -> Buffer:
            return blocking.read(self._syscalls, self._fd, offset, length)

        def conclude(result: Any) -> Buffer:
            if isinstance(result, Failure):
                raise self._error(result, f"read at {offset}")
            return result  # type: ignore[no-any-return]  # what work returned

        return self._in_flight.run(Entry(offset, end, False), earlier, work, conclude)

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        length = len(data)
        end = offset + length
        if not length:
            return None
        before = None
        written = 0
        in_flight = self._in_flight
        earlier = in_flight.overlaps(offset, end, True) if in_flight.count else []
        if not fua and length <= INLINE_LIMIT and not earlier:
            if not self._map.is_data(offset, end):
                before = self._map.occupy(offset, end)
            written = self._page_cache.write(offset, data, length, in_flight.lock_holders > 0)
            if written == length:
                self._flush.changes += 1
                return None
        return self._write_later(offset, data, fua, earlier, before, offset + written)

    def _write_later(
        self,
        offset: int,
        data: Buffer,
        fua: bool,
        earlier: list[Entry],
        before: list[Run] | None,
        touched: int,
    ) -> Deferred[None]:
        """As `write`; up to ``touched`` it was written before, where the map was ``before``."""
        end = offset + len(data)

        def prepare() -> None:
            nonlocal before
            before = before or self._map.occupy(offset, end)

        def work() -> tuple[int, OSError | None]:
            return blocking.write(self._syscalls, self._fd, offset, data, fua)

        def conclude(result: Any) -> None:
            request = f"write at {offset}"
            if isinstance(result, Failure):
                raise self._error(result, request)
            reached, error = result
            if error is None:
                if not fua:
                    self._flush.changes += 1
                return
            untouched = max(reached, touched)
            if untouched > offset:
                self._flush.changes += 1
            has_hole = False
            for start, stop, state in before or ():
                has_hole = has_hole or state == HOLE
                # What was not written is as it was. A durable write may have reached
                # the cache and failed behind it: then it is data, whatever was told.
                if error.errno in NO_SPACE and not fua:
                    self._map.set(max(start, untouched), stop, state)
            raise storage_error(error, request, provisioned=not has_hole)

        entry = Entry(offset, end, True, len(data) > INLINE_LIMIT)
        if fua:
            return self._run_syncing(entry, earlier, work, conclude, prepare)
        return self._in_flight.run(entry, earlier, work, conclude, prepare)

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        if not length:
            return None
        end = offset + length
        earlier = self._in_flight.overlaps(offset, end, True)
        if (
            not earlier
            and self._map.reads_zero(offset, end)
            and (may_trim or not self._map.has_hole(offset, end))
        ):
            return self._flush.flush() if fua else None
        way = None if self._zeroing is None else self._zeroing.way(offset, end, may_trim, fast)
        if way is None:
            raise NotFast(f"zero {length} bytes at {offset}: this store can only write them")
        return self._zero(offset, end, earlier, way, fua, fast)

    def _zero(
        self, offset: int, end: int, earlier: list[Entry], way: Way, fua: bool, fast: bool
    ) -> Deferred[None]:
        provisioned = False

        def prepare() -> None:
            nonlocal provisioned
            provisioned = not self._map.has_hole(offset, end)

        def work() -> list[Run]:
            runs = zeroing.zero(self._syscalls, self._fd, way, offset, end, fast)
            if fua:
                blocking.sync(self._syscalls, self._fd)
            return runs

        def conclude(result: Any) -> None:
            if isinstance(result, Failure):
                if not result.check(NotFast):
                    self._map.release(offset, end)  # any part may be a hole now
                raise self._error(result, f"zero at {offset}", provisioned)
            self._zeroed(result, fua)

        entry = Entry(offset, end, True, True)
        if fua or self._zeroing_syncs:
            return self._run_syncing(entry, earlier, work, conclude, prepare)
        return self._in_flight.run(entry, earlier, work, conclude, prepare)

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        if not length:
            return None
        end = offset + length
        earlier = self._in_flight.overlaps(offset, end, True)
        if not earlier and self._map.is_hole(offset, end):
            return self._flush.flush() if fua else None
        way = None if self._zeroing is None else self._zeroing.trim_way()
        if way is None:
            return None

        def work() -> list[Run]:
            runs = zeroing.trim(way, offset, end)
            if fua:
                blocking.sync(self._syscalls, self._fd)
            return runs

        def conclude(result: Any) -> None:
            if isinstance(result, Failure):
                self._map.release(offset, end)  # any part may be a hole now
                raise self._error(result, f"trim at {offset}")
            self._zeroed(result, fua)

        entry = Entry(offset, end, True, True)
        if fua or self._zeroing_syncs:
            return self._run_syncing(entry, earlier, work, conclude, lambda: None)
        return self._in_flight.run(entry, earlier, work, conclude)

    def _run_syncing(
        self,
        entry: Entry,
        earlier: list[Entry],
        work: Callable[[], Any],
        conclude: Callable[[Any], None],
        prepare: Callable[[], None],
    ) -> Deferred[None]:
        """Run what also syncs the file, and let flushes beside it wait to hear of it."""
        answered: Callable[[], None]

        def begin() -> None:
            nonlocal answered
            answered = self._flush.sync_elsewhere()
            prepare()

        def end(result: Any) -> None:
            try:
                conclude(result)
            finally:
                answered()

        return self._in_flight.run(entry, earlier, work, end, begin)

    def _zeroed(self, runs: list[Run], durable: bool) -> None:
        for start, end, state in runs:
            self._map.set(start, end, state)
        if not durable:
            self._flush.changes += 1

    def flush(self) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        return self._flush.flush()

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        if self._closed:
            raise Closed("the export is closed")
        return extents(self._map, offset, length, first_only)

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        end = offset + length
        if self._in_memory or not length or self._zeroes.reads_zero(offset, end):
            return None

        def work() -> None:
            self._syscalls.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

        def conclude(result: Any) -> None:
            if isinstance(result, Failure) and not result.check(OSError):
                result.raiseException()

        earlier = self._in_flight.overlaps(offset, end, False)
        return self._in_flight.run(Entry(offset, end, False), earlier, work, conclude)

    def close(self) -> NowOrLater[None]:
        self._closed = True
        return self._closing.close()

    def _sync_if_dirty(self) -> None:
        if not self._flush.is_clean:
            blocking.sync(self._syscalls, self._fd)

    def _error(self, failure: Failure, request: str, provisioned: bool = False) -> BaseException:
        """What to raise for what came out of a thread."""
        error = failure.value
        if isinstance(error, SyncFailed):
            self._flush.lose(str(error))
            return Unavailable(str(error))
        if isinstance(error, OSError):
            return storage_error(error, request, provisioned)
        assert error is not None
        return error  # a kind already, or a bug
