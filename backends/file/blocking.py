"""Whole reads, writes and syncs of a file, for threads."""

from __future__ import annotations

import os
from collections.abc import Callable

from backends.file.failures import NO_SPACE, SyncFailed
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
        SyncFailed: making it durable failed, or may have.
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
        if error.errno in NO_SPACE:
            # Not written, or written and no space to make it durable? Only the
            # latter loses changes, and earlier ones with it: write once more.
            try:
                _write(syscalls, fd, data, offset)
            except OSError as again:
                if again.errno in NO_SPACE:
                    raise
        # Any other error may be the write-back of earlier writes, of which the
        # kernel tells once; what a second attempt says does not undo it.
        raise SyncFailed(f"write at {offset}: {error.strerror}") from error
