"""Whole reads, writes and syncs of a file, for threads."""

from __future__ import annotations

import os
from collections.abc import Callable

from backends.file.failures import SyncFailed
from backends.file.syscalls import Syscalls
from gateway.errors import Unavailable
from gateway.interfaces import Buffer


def read(syscalls: Syscalls, fd: int, offset: int, length: int) -> bytearray:
    """
    Raises:
        Unavailable: the file ends inside the range.
        OSError: it cannot be read.
    """
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        got = syscalls.preadv(fd, (rest,), offset + length - len(rest))
        if not got:
            raise Unavailable(
                f"read at {offset}: got {length - len(rest)} bytes, expected {length}"
            )
        rest = rest[got:]
    return data


def write(
    syscalls: Syscalls, fd: int, offset: int, data: Buffer, fua: bool
) -> tuple[int, OSError | None]:
    """
    Returns:
        Where the part that was written ends, and why it ends there; None if
        that is the end of the data.

    Raises:
        SyncFailed: it was written but not made durable.
    """
    piece: Callable[[Syscalls, int, memoryview, int], int] = _write_durably if fua else _write
    rest = memoryview(data)
    while rest:
        try:
            written = piece(syscalls, fd, rest, offset)
        except OSError as error:
            return offset, error
        rest = rest[written:]
        offset += written
    return offset, None


def sync(syscalls: Syscalls, fd: int) -> None:
    """
    Raises:
        SyncFailed: what was written may be lost.
    """
    try:
        syscalls.fdatasync(fd)
    except OSError as error:
        raise SyncFailed(f"fdatasync: {error.strerror}") from error


def _write(syscalls: Syscalls, fd: int, data: memoryview, offset: int) -> int:
    return syscalls.pwritev(fd, (data,), offset, 0)


def _write_durably(syscalls: Syscalls, fd: int, data: memoryview, offset: int) -> int:
    try:
        return syscalls.pwritev(fd, (data,), offset, os.RWF_DSYNC)
    except OSError as error:
        # Not written, or written and not made durable? Only the latter loses
        # changes, and earlier ones with it; writing once more tells.
        _write(syscalls, fd, data, offset)
        raise SyncFailed(f"write at {offset}: {error.strerror}") from error
