"""The system calls of the file provider, as one object, so that tests can lend others."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time

FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02
FALLOC_FL_ZERO_RANGE = 0x10

#: From linux/fs.h: zero a range of a block device; the kernel may write.
BLKZEROOUT = 0x127F
#: From linux/magic.h: file systems whose pages are the store itself.
TMPFS_MAGIC = 0x01021994
RAMFS_MAGIC = 0x858458F6

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)

_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid (0 for OFD locks)


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class Syscalls:
    """
    What the kernel offers; every method raises `OSError`.

    The attributes are the functions themselves: a call through them costs no
    frame of Python.
    """

    preadv = staticmethod(os.preadv)
    pwrite = staticmethod(os.pwrite)
    pwritev = staticmethod(os.pwritev)
    lseek = staticmethod(os.lseek)
    fdatasync = staticmethod(os.fdatasync)
    posix_fadvise = staticmethod(os.posix_fadvise)
    #: Seconds that nobody sets back; a reactor's clock is the time of day.
    monotonic = staticmethod(time.monotonic)

    def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        """fallocate(2); repeated when a signal interrupts it."""
        while _libc.fallocate(fd, mode, offset, length) != 0:
            error = _failed()
            if not isinstance(error, InterruptedError):
                raise error

    def zero_device(self, fd: int, offset: int, length: int) -> None:
        """The BLKZEROOUT request of ioctl(2) on a block device."""
        fcntl.ioctl(fd, BLKZEROOUT, struct.pack("QQ", offset, length))

    def filesystem_type(self, fd: int) -> int:
        """The magic number that fstatfs(2) reports."""
        buffer = ctypes.create_string_buffer(256)
        if _libc.fstatfs(fd, buffer) != 0:
            raise _failed()
        return int(ctypes.c_long.from_buffer(buffer).value) & 0xFFFFFFFF

    def queue_limit(self, device: int, name: str) -> int:
        """
        A number from the request queue of a block device, in sysfs.

        Args:
            device: its number, as ``st_rdev`` or ``st_dev`` give it.
            name: such as ``write_zeroes_max_bytes``.
        """
        place = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
        try:
            with open(f"{place}/queue/{name}") as file:
                return int(file.read())
        except FileNotFoundError:  # a partition has its disk's queue
            with open(f"{place}/../queue/{name}") as file:
                return int(file.read())

    def lock(self, fd: int, kind: int, start: int, length: int) -> None:
        """
        Take a lock of the open file description, or fail at once.

        Args:
            fd: open for writing if ``kind`` is `fcntl.F_WRLCK`.
            kind: `fcntl.F_RDLCK` or `fcntl.F_WRLCK`.
            start: first byte.
            length: bytes; 0 means to the end of all files.
        """
        request = struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)

    def is_locked(self, fd: int, start: int, length: int) -> bool:
        """Whether another open file description holds any lock in the range."""
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, request)
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
