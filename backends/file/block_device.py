"""How a block device is zeroed: by offload where sysfs promises it, never by trying.

A hole punched into a block device drops what the page cache holds of it,
dirty or not, *before* the device is asked; where the device then refuses,
acknowledged writes are gone. So:

1. PUNCH_HOLE is called only while ``write_zeroes_max_bytes`` is above 0, and
   after an fdatasync, so that what it drops can be read again.
2. Ranges are cut to whole pages: of a page that is in the range only in part
   the kernel zeroes that part in the cache, refusal or not.
3. BLKZEROOUT keeps space set aside but may write, which no flag forbids: it
   never answers a fast request.

BLKDISCARD is not used: what a device returns afterwards is undefined, and what
is trimmed here has to read as zeroes.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

from backends.file.failures import UNSUPPORTED
from backends.file.syscalls import Syscalls
from backends.file.zeroing import PUNCH, Run, Way, pieces, refusal, write_zeroes
from backends.zero_map import HOLE, ZERO

_PAGE = mmap.PAGESIZE


class DeviceZeroing:
    """
    Zeroing of a block device.

    Args:
        syscalls: the kernel.
        fd: open for writing.
        device: its number, as ``st_rdev`` gives it.
        sync: a blocking fdatasync, skipped when nothing is dirty; set by the
            export that owns ``fd``.
    """

    def __init__(
        self, syscalls: Syscalls, fd: int, size: int, device: int, sync: Callable[[], None]
    ) -> None:
        self._syscalls = syscalls
        self._fd = fd
        self._size = size
        self._device = device
        self.sync = sync
        self._offload = self._has_offload()
        self.can_trim = self._offload

    def way(self, start: int, end: int, may_trim: bool, fast: bool) -> Way | None:
        first, last = self._whole_pages(start, end)
        if may_trim and self._offload and (not fast or (first == start and last == end)):
            return self._punch
        return None if fast else self._zero_out

    def trim_way(self) -> Way | None:
        return self._trim if self._offload else None

    def _has_offload(self) -> bool:
        try:
            return self._syscalls.queue_limit(self._device, "write_zeroes_max_bytes") > 0
        except (OSError, ValueError):
            return False

    def _whole_pages(self, start: int, end: int) -> tuple[int, int]:
        """The whole pages in a range; the device's last one counts even if it is cut."""
        first = -(-start // _PAGE) * _PAGE
        last = end if end == self._size else end // _PAGE * _PAGE
        return min(first, end), max(last, min(first, end))

    def _punch(self, start: int, end: int) -> list[Run]:
        first, last = self._edges(start, end)
        self._punch_pages(first, last)
        return [(start, first, ZERO), (first, last, HOLE), (last, end, ZERO)]

    def _zero_out(self, start: int, end: int) -> list[Run]:
        first, last = self._edges(start, end)
        reached = first
        try:
            for reached, stop in pieces(first, last):
                self._syscalls.zero_device(self._fd, reached, stop - reached)
        except OSError as error:
            raise refusal(error, first, reached, ZERO) from error
        return [(start, end, ZERO)]

    def _trim(self, start: int, end: int) -> list[Run]:
        first, last = self._whole_pages(start, end)
        self._punch_pages(first, last)
        return [(first, last, HOLE)]

    def _edges(self, start: int, end: int) -> tuple[int, int]:
        """Write zeroes outside the whole pages; answers with those."""
        first, last = self._whole_pages(start, end)
        write_zeroes(self._syscalls, self._fd, start, first)
        write_zeroes(self._syscalls, self._fd, last, end)
        return first, last

    def _punch_pages(self, first: int, last: int) -> None:
        if first == last:
            return
        self.sync()
        reached = first
        try:
            for reached, stop in pieces(first, last):
                self._syscalls.fallocate(self._fd, PUNCH, reached, stop - reached)
        except OSError as error:
            # The kernel lowers the limit when a device rejects the command.
            if error.errno in UNSUPPORTED:
                self._offload = False
            raise refusal(error, first, reached, HOLE) from error
