"""Opening a disk: everything that may block before the export exists, done in a thread."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

from backends.file.creating import create, forget_unfinished
from backends.file.locking import lock
from backends.file.syscalls import RAMFS_MAGIC, TMPFS_MAGIC, Syscalls
from backends.file.zeroing import FileZeroing, probe
from backends.zero_map import DATA, HOLE, ZeroMap
from gateway.errors import ExportBusy, ExportUnavailable

#: Runs that are looked up at open; what lies behind them counts as data.
#: SEEK_HOLE takes some microseconds each, so this is about a second.
MAX_SCAN = 2**17


@dataclass
class OpenDisk:
    """
    A disk that is open, locked and looked over; the export takes it from here.

    Attributes:
        fd: its descriptor.
        size: bytes.
        zero_map: what is known of it.
        in_memory: the page cache is the store (tmpfs, ramfs).
        zeroing: how a regular file is zeroed; None when it is read-only or a
            block device.
        device: the number of a block device; None for a regular file.
        block_size: what the file system prefers, in bytes.
        rotational: seeking costs.
    """

    fd: int
    size: int
    zero_map: ZeroMap = field(repr=False)
    in_memory: bool
    zeroing: FileZeroing | None
    device: int | None
    block_size: int
    rotational: bool


def open_disk(syscalls: Syscalls, path: str, size: int | None, read_only: bool) -> OpenDisk:
    """
    Args:
        syscalls: the kernel.
        path: of a regular file or a block device.
        size: bytes; a missing file is created with that many, an existing
            one must have them. None takes an existing file as it is.
        read_only: change nothing.

    Raises:
        ExportBusy: someone else uses it.
        ExportUnavailable: with the reason.
    """
    try:
        fd, is_new = _open(syscalls, path, size, read_only)
        try:
            return _look_over(syscalls, fd, path, size, read_only, is_new)
        except BaseException:
            os.close(fd)
            if is_new:
                os.unlink(path)
            raise
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise ExportBusy(f"{path}: the device is mounted or in use") from error
        raise ExportUnavailable(f"{path}: {error.strerror or error}") from error


def _open(syscalls: Syscalls, path: str, size: int | None, read_only: bool) -> tuple[int, bool]:
    """A descriptor, and whether the file was made."""
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC
    try:
        if stat.S_ISBLK(os.stat(path).st_mode):
            flags |= os.O_EXCL  # for a device: nobody else holds or mounts it
        # A pipe put in the file's place must not make us wait for its writer.
        return os.open(path, flags | os.O_NONBLOCK), False
    except FileNotFoundError:
        if size is None or read_only:
            raise
        return create(syscalls, path, size), True


def _look_over(
    syscalls: Syscalls, fd: int, path: str, size: int | None, read_only: bool, is_new: bool
) -> OpenDisk:
    status = os.fstat(fd)
    device = status.st_rdev if stat.S_ISBLK(status.st_mode) else None
    if device is None and not stat.S_ISREG(status.st_mode):
        raise ExportUnavailable(f"{path}: neither a regular file nor a block device")
    lock(syscalls, fd, path, read_only)
    if device is None and not read_only:
        forget_unfinished(path, fd)
    actual = os.lseek(fd, 0, os.SEEK_END)
    if size is not None and actual != size:
        raise ExportUnavailable(f"{path}: it has {actual} bytes, expected {size}")
    in_memory = syscalls.filesystem_type(fd) in (TMPFS_MAGIC, RAMFS_MAGIC) and device is None
    zeroing = None
    if not read_only and device is None:
        zeroing = probe(syscalls, fd, actual, in_memory)
    if is_new:
        zero_map = ZeroMap(actual, HOLE)
    elif device is not None:
        zero_map = ZeroMap(actual, DATA)
    else:
        zero_map = scan(syscalls, fd, actual)
    return OpenDisk(
        fd,
        actual,
        zero_map,
        in_memory,
        zeroing,
        device,
        status.st_blksize,
        _is_rotational(syscalls, status.st_dev if device is None else device),
    )


def scan(syscalls: Syscalls, fd: int, size: int, max_runs: int = MAX_SCAN) -> ZeroMap:
    """
    What the file system says about holes, taken as proof of zeroes only.

    Args:
        syscalls: the kernel.
        fd: a regular file; its file offset is moved.
        size: bytes.
        max_runs: of data, after which the rest counts as data.
    """
    zero_map = ZeroMap(size, HOLE)
    start = end = 0
    try:
        for _ in range(max_runs):
            start = syscalls.lseek(fd, end, os.SEEK_DATA)
            end = syscalls.lseek(fd, start, os.SEEK_HOLE)
            zero_map.set(start, min(end, size), DATA)
            if end >= size:
                return zero_map
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data from here on
            return zero_map
    zero_map.set(end, size, DATA)
    return zero_map


def _is_rotational(syscalls: Syscalls, device: int) -> bool:
    try:
        return syscalls.queue_limit(device, "rotational") == 1
    except (OSError, ValueError):
        return False  # no device of its own: tmpfs, btrfs, a network
