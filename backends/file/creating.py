"""Making a new disk file: under its name with all its bytes, or not at all.

It is made and sized under another name in the same directory, then linked to
its own, which fails where that is taken (and where the file system has no hard
links: there the operator makes the file). What a killed process leaves behind
is that other name, one for each disk; the next one to come along removes it,
never what it stands for elsewhere.
"""

from __future__ import annotations

import contextlib
import os

from backends.file.locking import lock
from backends.file.syscalls import Syscalls


def create(syscalls: Syscalls, path: str, size: int) -> int:
    """
    Make a sparse file, durably.

    Returns:
        A descriptor, open for reading and writing and locked.

    Raises:
        ExportBusy: another process is making it.
        FileExistsError: there is a file of that name.
        OSError: it cannot be made; nothing is left behind.
    """
    unfinished = _unfinished(path)
    _remove_stale(syscalls, unfinished)
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            lock(syscalls, fd, path, read_only=False)
            os.ftruncate(fd, size)
            os.fsync(fd)
            os.link(unfinished, path, follow_symlinks=False)
        finally:
            os.unlink(unfinished)
        _sync_directory(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def forget_unfinished(path: str, fd: int) -> None:
    """Remove the other name of a disk whose maker was killed when it had both."""
    status = os.fstat(fd)
    if status.st_nlink > 1:
        unfinished = _unfinished(path)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(unfinished), status):
                os.unlink(unfinished)


def _unfinished(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.unfinished")


def _remove_stale(syscalls: Syscalls, unfinished: str) -> None:
    """
    Raises:
        ExportBusy: it is not stale: who makes it holds its lock.
    """
    try:
        fd = os.open(unfinished, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        lock(syscalls, fd, unfinished, read_only=False)
        os.unlink(unfinished)
    finally:
        os.close(fd)


def _sync_directory(path: str) -> None:
    """Make the new name durable: a later fdatasync covers the file alone."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
