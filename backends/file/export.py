"""A disk in a file or on a block device, as an export.

What takes no waiting is done at once on the reactor, through the page cache;
the rest in threads, in an order that `InFlight` keeps. The map says ``DATA``
before a write is issued and anything else only after the kernel has done it.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from backends.extents import extents
from backends.file.block_device import DeviceZeroing
from backends.file.failures import NO_SPACE, Refused, SyncFailed, storage_error
from backends.file.flushing import SharedFlush
from backends.file.in_flight import Entry, InFlight
from backends.file.opening import OpenDisk
from backends.file.syscalls import Syscalls
from backends.file.zeroing import Run, Way, Zeroing, write_zeroes
from backends.zero_map import DATA, HOLE, ZERO
from gateway.errors import Closed, NotFast, StorageError, Unavailable
from gateway.info import MIB, Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, NowOrLater, Resources

T = TypeVar("T")

#: Bytes that are copied at once on the reactor: a quarter of a millisecond.
INLINE_LIMIT = MIB
#: Seconds: a write into the page cache that takes longer was made to wait
#: (dirty pages over the limit, a full journal); a copy of 1 MiB takes a
#: twentieth of it.
SLOW_WRITE = 0.005
#: Seconds for which writes then go to threads.
PAUSE = 1.0
#: Where the first writes that must not wait would all have had to, so will
#: the next ones (copy-on-write files): stop asking.
MAX_REFUSED_WRITES = 16

_PAGE_MASK = mmap.PAGESIZE - 1
_ONE_BYTE = (bytearray(1),)


@implementer(IExport)
class FileExport:
    """
    An open file or block device.

    Args:
        disk: what `open_disk` made; closed by `close`.
        read_only: as `ExportInfo` tells it.
        resources: clock and threads.
        syscalls: the kernel.
    """

    def __init__(
        self, disk: OpenDisk, read_only: bool, resources: Resources, syscalls: Syscalls
    ) -> None:
        self._fd = disk.fd
        self._map = disk.zero_map
        self._syscalls = syscalls
        self._call_in_thread = resources.call_in_thread
        self._seconds: Callable[[], float] = resources.reactor.seconds
        self._flush = SharedFlush(lambda: self._call_in_thread(syscalls.fdatasync, disk.fd))
        self._in_flight = InFlight()
        self._zeroing: Zeroing | None = disk.zeroing
        if disk.device is not None and not read_only:
            self._zeroing = DeviceZeroing(
                syscalls, disk.fd, disk.size, disk.device, self._sync_if_dirty
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
        self._closed = False
        self._closing: list[Deferred[None]] | None = []

        self._preadv = syscalls.preadv
        self._pwrite = syscalls.pwrite
        self._pwritev = syscalls.pwritev
        self._in_memory = disk.in_memory
        self._reads_now = True
        self._read_flags = 0 if disk.in_memory else os.RWF_NOWAIT
        # True while the kernel can be told not to wait in a write.
        self._asks_to_write = not disk.in_memory
        self._refused_writes = 0
        self._writes_now_from = float("-inf")
        # Changes in threads that hold the file's lock in the kernel for long.
        self._lock_holders = 0

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        if self._closed:
            raise Closed("the export is closed")
        length = len(buffer)
        if length > INLINE_LIMIT or not self._reads_now:
            return False
        in_flight = self._in_flight
        if in_flight.entries and in_flight.overlaps(offset, offset + length, False):
            return False
        try:
            if self._preadv(self._fd, (buffer,), offset, self._read_flags) == length:
                return True
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._reads_now = False
        if length and self._map.reads_zero(offset, offset + length):
            buffer[:] = bytes(length)
            return True
        return False

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        if self._closed:
            raise Closed("the export is closed")
        end = offset + length
        if not length or (
            not self._in_flight.overlaps(offset, end, False) and self._map.reads_zero(offset, end)
        ):
            return bytes(length)

        def work() -> Buffer:
            data = bytearray(length)
            rest = memoryview(data)
            while rest:
                got = self._preadv(self._fd, (rest,), end - len(rest))
                if not got:
                    raise Unavailable(
                        f"read at {offset}: got {length - len(rest)} bytes, expected {length}"
                    )
                rest = rest[got:]
            return data

        def conclude(result: Any) -> Buffer:
            if isinstance(result, Failure):
                raise self._error(result, f"read at {offset}")
            return result  # type: ignore[no-any-return]  # what work returned

        return self._later(offset, end, False, False, None, work, conclude)

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        length = len(data)
        end = offset + length
        before = None
        in_flight = self._in_flight
        if (
            not fua
            and length <= INLINE_LIMIT
            and not (in_flight.entries and in_flight.overlaps(offset, end, True))
        ):
            if not length:
                return None
            if not self._map.is_data(offset, end):
                before = list(self._map.runs(offset, end))
                self._map.set(offset, end, DATA)
            if self._write_now(offset, data, length):
                self._flush.changes += 1
                return None
        return self._write_later(offset, data, fua, before)

    def _write_now(self, offset: int, data: Buffer, length: int) -> bool:
        """
        Write into the page cache if that should take no waiting.

        False leaves everything to a thread, what failed and what came short
        as well: done again there it says why.
        """
        try:
            if self._asks_to_write:
                try:
                    written = self._pwritev(self._fd, (data,), offset, os.RWF_NOWAIT)
                except BlockingIOError:
                    self._refused_writes += 1
                    if self._refused_writes == MAX_REFUSED_WRITES:
                        self._asks_to_write = False
                    return False
                self._refused_writes = -1 << 30  # it can be done: never stop asking
                return written == length
            started = self._seconds()
            if (
                started < self._writes_now_from
                or self._lock_holders
                or not (self._in_memory or self._needs_no_read(offset, offset + length))
            ):
                return False
            written = self._pwrite(self._fd, data, offset)
            now = self._seconds()
            if now - started > SLOW_WRITE:
                self._writes_now_from = now + PAUSE
            return written == length
        except OSError as error:
            if self._asks_to_write and error.errno == errno.EOPNOTSUPP:
                self._asks_to_write = False
                return self._write_now(offset, data, length)
            return False

    def _needs_no_read(self, start: int, end: int) -> bool:
        """Whether no page is written in part, or those that are lie in the page cache."""
        try:
            if start & _PAGE_MASK:
                self._preadv(self._fd, _ONE_BYTE, start, os.RWF_NOWAIT)
            if end & _PAGE_MASK:
                self._preadv(self._fd, _ONE_BYTE, end - 1, os.RWF_NOWAIT)
        except OSError:
            return False
        return True

    def _write_later(
        self, offset: int, data: Buffer, fua: bool, before: list[Run] | None
    ) -> Deferred[None]:
        end = offset + len(data)

        def begin() -> None:
            nonlocal before
            if before is None and offset < end and not self._map.is_data(offset, end):
                before = list(self._map.runs(offset, end))
                self._map.set(offset, end, DATA)

        def work() -> tuple[int, OSError | None]:
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[self._write_piece(rest, end - len(rest), fua) :]
                except OSError as error:
                    return end - len(rest), error
            return end, None

        def conclude(result: Any) -> None:
            request = f"write at {offset}"
            if isinstance(result, Failure):
                raise self._error(result, request)
            reached, error = result
            if error is None:
                if not fua:
                    self._flush.changes += 1
                return
            has_hole = False
            for start, stop, state in before or ():
                has_hole = has_hole or state == HOLE
                if error.errno in NO_SPACE:  # what was not written is as it was
                    self._map.set(max(start, reached), stop, state)
            raise storage_error(error, request, provisioned=not has_hole)

        return self._later(offset, end, True, len(data) > INLINE_LIMIT, begin, work, conclude)

    def _write_piece(self, data: memoryview, offset: int, fua: bool) -> int:
        """One blocking write, durable with ``fua``; answers with the bytes it took."""
        if not fua:
            return self._pwritev(self._fd, (data,), offset, 0)
        try:
            return self._pwritev(self._fd, (data,), offset, os.RWF_DSYNC)
        except OSError as error:
            # Not written, or written and not made durable? Only then are
            # changes lost; writing once more tells.
            self._pwritev(self._fd, (data,), offset, 0)
            raise SyncFailed(f"write at {offset}: {error.strerror}") from error

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        if not length:
            return None
        end = offset + length
        if (
            not self._in_flight.overlaps(offset, end, True)
            and self._map.reads_zero(offset, end)
            and (may_trim or not self._map.has_hole(offset, end))
        ):
            return self._flush.flush() if fua else None
        way = None if self._zeroing is None else self._zeroing.way(offset, end, may_trim, fast)
        if way is None:
            raise NotFast(f"zero {length} bytes at {offset}: this store can only write them")
        return self._zero(offset, end, way, fua, fast)

    def _zero(self, offset: int, end: int, way: Way, fua: bool, fast: bool) -> Deferred[None]:
        provisioned = False

        def begin() -> None:
            nonlocal provisioned
            provisioned = not self._map.has_hole(offset, end)

        def work() -> list[Run]:
            try:
                runs = way(offset, end)
            except Refused as refused:
                reached = refused.reached
                if fast and reached == offset:
                    # The probe said otherwise; only here a fast request is
                    # refused late. The next one is refused at once.
                    raise NotFast(f"zero at {offset}: the store refused to") from refused
                write_zeroes(self._syscalls, self._fd, reached, end)
                runs = [(offset, reached, refused.state), (reached, end, ZERO)]
            if fua:
                self._sync()
            return runs

        def conclude(result: Any) -> None:
            if isinstance(result, Failure):
                if not result.check(NotFast):
                    self._unprovision(offset, end)
                raise self._error(result, f"zero at {offset}", provisioned)
            self._zeroed(result, fua)

        return self._later(offset, end, True, True, begin, work, conclude)

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        if self._closed:
            raise Closed("the export is closed")
        if not length:
            return None
        end = offset + length
        if self._map.is_hole(offset, end) and not self._in_flight.overlaps(offset, end, True):
            return self._flush.flush() if fua else None
        way = None if self._zeroing is None else self._zeroing.trim_way()
        if way is None:
            return None

        def work() -> list[Run]:
            try:
                runs = way(offset, end)
            except Refused as refused:
                runs = [(offset, refused.reached, refused.state)]
            if fua:
                self._sync()
            return runs

        def conclude(result: Any) -> None:
            if isinstance(result, Failure):
                self._unprovision(offset, end)
                raise self._error(result, f"trim at {offset}")
            self._zeroed(result, fua)

        return self._later(offset, end, True, True, None, work, conclude)

    def _zeroed(self, runs: list[Run], durable: bool) -> None:
        for start, end, state in runs:
            self._map.set(start, end, state)
        if not durable:
            self._flush.changes += 1

    def _unprovision(self, start: int, end: int) -> None:
        """A way that failed may have punched any part of the range; zeroes stay zeroes."""
        for run_start, run_end, state in list(self._map.runs(start, end)):
            if state == ZERO:
                self._map.set(run_start, run_end, HOLE)

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
        if self._in_memory or not length or self._map.reads_zero(offset, end):
            return None

        def work() -> None:
            self._syscalls.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

        def conclude(result: Any) -> None:
            if isinstance(result, Failure) and not result.check(OSError):
                result.raiseException()

        return self._later(offset, end, False, False, None, work, conclude)

    def close(self) -> NowOrLater[None]:
        if self._closing is None:
            return None
        done: Deferred[None] = Deferred()
        self._closing.append(done)
        if not self._closed:
            self._closed = True
            self._in_flight.when_idle(self._flush_and_release)
        return done

    def _flush_and_release(self) -> None:
        try:
            flushed = self._flush.flush()
        except Unavailable:
            self._release(Failure())
        else:
            if isinstance(flushed, Deferred):
                flushed.addBoth(self._release)
            else:
                self._release(None)

    def _release(self, result: Any) -> None:
        os.close(self._fd)  # and with it the locks
        waiting, self._closing = self._closing or [], None
        for done in waiting:
            done.callback(result)

    def _later(
        self,
        start: int,
        end: int,
        changes: bool,
        holds_lock: bool,
        prepare: Callable[[], None] | None,
        work: Callable[[], Any],
        conclude: Callable[[Any], T],
    ) -> Deferred[T]:
        """
        Run a request in a thread, after those it overlaps.

        Args:
            start: first byte it touches.
            end: behind the last one.
            changes: it is not a read.
            holds_lock: writes on the reactor could wait for it in the kernel.
            prepare: called on the reactor right before the thread starts.
            work: blocking; runs in the thread.
            conclude: called on the reactor with the result, or a `Failure`,
                before anything that waited begins; its result is the answer.
        """
        answer: Deferred[T] = Deferred()

        def begin(entry: Entry) -> None:
            if prepare is not None:
                prepare()
            self._lock_holders += holds_lock
            self._call_in_thread(work).addBoth(finish, entry)

        def finish(result: Any, entry: Entry) -> None:
            self._lock_holders -= holds_lock
            concluded: Any
            try:
                concluded = conclude(result)
            except Exception:
                concluded = Failure()
            self._in_flight.done(entry)
            answer.callback(concluded)

        self._in_flight.add(start, end, changes, begin)
        return answer

    def _sync(self) -> None:
        """Make everything durable; blocking, in a thread."""
        try:
            self._syscalls.fdatasync(self._fd)
        except OSError as error:
            raise SyncFailed(f"fdatasync: {error.strerror}") from error

    def _sync_if_dirty(self) -> None:
        if not self._flush.is_clean:
            self._sync()

    def _error(self, failure: Failure, request: str, provisioned: bool = False) -> Exception:
        """What to raise for what came out of a thread."""
        error = failure.value
        if isinstance(error, SyncFailed):
            self._flush.lose(str(error))
            return Unavailable(str(error))
        if isinstance(error, OSError):
            return storage_error(error, request, provisioned)
        assert isinstance(error, StorageError | Exception)
        return error
