"""Reads and writes on the reactor: only what the page cache takes without waiting."""

from __future__ import annotations

import errno
import mmap
import os

from backends.file.syscalls import Syscalls
from gateway.info import MIB
from gateway.interfaces import Buffer

#: Bytes that are copied at once on the reactor: a quarter of a millisecond.
INLINE_LIMIT = MIB
#: Seconds: a write into the page cache that takes longer was made to wait
#: (dirty pages over the limit, a full journal); a copy of 1 MiB takes a
#: twentieth of it.
SLOW_WRITE = 0.005
#: Seconds for which writes then go to threads: little the first time, since a
#: busy processor looks the same, twice as long each time it happens again.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
#: Where the first writes that must not wait would all have had to, so will
#: the next ones (copy-on-write files): stop asking.
MAX_REFUSED_WRITES = 16

_PAGE_MASK = mmap.PAGESIZE - 1
_ONE_BYTE = (bytearray(1),)


class PageCache:
    """
    One open file, as far as it can be read and written without waiting.

    What fails or comes short here is reported as "would have to wait": done
    again in a thread it says why.

    Args:
        syscalls: the kernel.
        fd: the file.
        in_memory: the page cache is the store, so that nothing waits.
    """

    def __init__(self, syscalls: Syscalls, fd: int, in_memory: bool) -> None:
        self._fd = fd
        self._preadv = syscalls.preadv
        self._pwrite = syscalls.pwrite
        self._pwritev = syscalls.pwritev
        self._seconds = syscalls.monotonic
        self._in_memory = in_memory
        self._can_read = True
        self._read_flags = 0 if in_memory else os.RWF_NOWAIT
        # The kernel can be told not to wait in a write (xfs; not ext4).
        self._can_refuse_writes = not in_memory
        self._refused_writes = 0
        self._slow_at = float("-inf")
        self._pause = FIRST_PAUSE

    def read(self, offset: int, buffer: memoryview) -> bool:
        """Fill the buffer; False if that would have to wait, or is too long."""
        length = len(buffer)
        if length > INLINE_LIMIT or not self._can_read:
            return False
        try:
            return self._preadv(self._fd, (buffer,), offset, self._read_flags) == length
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._can_read = False
            return False

    def write(self, offset: int, data: Buffer, length: int, is_locked: bool) -> int:
        """
        Write ``data`` if that takes no waiting.

        Args:
            offset: in the file, bytes.
            data: at most `INLINE_LIMIT` bytes.
            length: of it, bytes.
            is_locked: a thread holds the file's lock in the kernel for long.

        Returns:
            How many bytes were written: all; none, where it would or might
            have to wait; or some, which are in the file from now on.
        """
        try:
            if self._can_refuse_writes:
                return self._try_write(offset, data)
            started = self._seconds()
            if (
                is_locked
                or started < self._slow_at + self._pause
                or (
                    (offset | length) & _PAGE_MASK
                    and not (self._in_memory or self._needs_no_read(offset, offset + length))
                )
            ):
                return 0
            written = self._pwrite(self._fd, data, offset)
            now = self._seconds()
            if now - started > SLOW_WRITE:
                self._put_off_writes(now)
            return written
        except BlockingIOError:
            return 0
        except OSError as error:
            if self._can_refuse_writes and error.errno == errno.EOPNOTSUPP:
                self._can_refuse_writes = False
                return self.write(offset, data, length, is_locked)
            return 0

    def _put_off_writes(self, now: float) -> None:
        again = now - self._slow_at < self._pause + LONGEST_PAUSE
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if again else FIRST_PAUSE
        self._slow_at = now

    def _try_write(self, offset: int, data: Buffer) -> int:
        try:
            written = self._pwritev(self._fd, (data,), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            self._refused_writes += 1
            if self._refused_writes == MAX_REFUSED_WRITES:
                self._can_refuse_writes = False
            raise
        self._refused_writes = MAX_REFUSED_WRITES  # it can be done: never stop asking
        return written

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
