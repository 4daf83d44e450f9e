"""
Files that become objects when they are complete.

They lie in a directory of their own. Their maker holds a lock on each
(flock(2)), which ends with the process, however that ends: a file that can be
locked is a leftover.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def unfinished(directory: bytes) -> Iterator[tuple[int, bytes]]:
    """
    A new file, removed at the end under the name that it has here.

    Args:
        directory: made when it is missing.

    Yields:
        A descriptor for writing, and the file's path.

    Raises:
        OSError.
    """
    fd, path = _create(directory)
    try:
        yield fd, path
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)  # last: until then nobody takes the file for a leftover


def sweep(directory: bytes) -> None:
    """
    Remove the files whose makers are gone.

    Raises:
        OSError: the directory cannot be read; a missing one is empty.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        with suppress(OSError):  # in use, gone by now, or not of our making
            _remove_leftover(os.path.join(directory, name))


def _create(directory: bytes) -> tuple[int, bytes]:
    while True:
        path = os.path.join(directory, secrets.token_hex(16).encode())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            continue
        if _lock(fd) and os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)  # a sweep got hold of it between two of the lines above


def _lock(fd: int) -> bool:
    """Where the file system knows no locks there are no sweeps either, and all is well."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _remove_leftover(path: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(fd)
