"""Finding the journal's file and its lock, or making it: whole under its name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os

import attrs

from backends.file.locking import lock
from backends.file.syscalls import Syscalls
from backends.volume.journal_superblock import Superblock, encode
from gateway.errors import ExportUnavailable


class JournalCalls(Syscalls):
    """The system calls of a journal; every one raises `OSError`."""

    posix_fallocate = staticmethod(os.posix_fallocate)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(os.fsync)


def open_locked(calls: JournalCalls, path: str, flags: int) -> int | None:
    """
    Returns:
        A descriptor, locked; None if there is no such file.
    """
    while True:
        try:
            fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return None
        try:
            lock(calls, fd, path, read_only=False)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # renamed between open and lock: look again


def create(calls: JournalCalls, path: str, superblock: Superblock) -> int:
    """
    Make a journal under another name, then give it its own.

    Returns:
        A descriptor, locked.
    """
    unfinished = f"{path}.unfinished"
    fd = open_locked(calls, unfinished, os.O_RDWR | os.O_CREAT)
    assert fd is not None
    try:
        if os.path.lexists(path):  # made by another process before we had the lock
            raise FileExistsError(errno.EEXIST, "made by another process just now")
        calls.ftruncate(fd, 0)
        calls.posix_fallocate(fd, 0, superblock.size)
        calls.pwrite(fd, encode(superblock), superblock.offset)
        older = attrs.evolve(superblock, sequence=superblock.sequence - 1)
        calls.pwrite(fd, encode(older), older.offset)
        calls.fsync(fd)
        os.rename(unfinished, path)
        sync_directory(calls, path)
    except OSError as error:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ExportUnavailable(
                f"journal {path}: no space for its {superblock.size} bytes: {reason(error)}"
            ) from error
        raise
    return fd


def sync_directory(calls: JournalCalls, path: str) -> None:
    """Make a change of names durable."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        calls.fsync(fd)
    finally:
        os.close(fd)


def reason(error: OSError) -> str:
    """The system's words for an error."""
    return os.strerror(error.errno) if error.errno else str(error)
