"""Directories that are made when an object needs them, and go with their last object."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import ENOTDIR
from threading import Lock

from backends.objects.contract import Refused


class Directories:
    """
    The directories below ``root``, for any number of threads and processes.

    Args:
        root: an absolute path; it is not made, and never removed.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._changing = Lock()
        self._known = {root}  # made or found by us, and durable in what they lie in

    def make(self, path: bytes) -> None:
        """
        Have a directory, and every one above it, durably.

        Another process may remove it again while it is empty; whoever notices
        calls `forget`.

        Raises:
            Refused: see `sync`.
            OSError.
        """
        if path in self._known:
            return
        with self._changing:
            self._make(path)

    def _make(self, path: bytes) -> None:
        if path in self._known:
            return
        parent = os.path.dirname(path)
        self._make(parent)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(ENOTDIR, "not a directory")
        self.sync(parent)
        self._known.add(path)

    def forget(self) -> None:
        """Know nothing: some directory has disappeared."""
        self._known = {self._root}

    def sync(self, path: bytes) -> None:
        """
        Make durable what a directory holds; if it has gone, that it has.

        Raises:
            Refused: the kernel could not. It does not say so twice: a second
                attempt would succeed and prove nothing.
            OSError: it could not be opened.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if path == self._root:
                raise
            self.sync(os.path.dirname(path))
            return
        try:
            os.fsync(fd)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise Refused(
                f"fsync {os.fsdecode(path)}: {reason}; names in this directory may be lost"
                " with the next crash: look at its file system"
            ) from error
        finally:
            os.close(fd)

    def prune(self, path: bytes) -> None:
        """
        Remove a directory if it is empty, then likewise those above it.

        Raises:
            Refused: see `sync`.
        """
        with self._changing:
            while path != self._root:
                try:
                    os.rmdir(path)
                except OSError:
                    return  # in use, or somebody else's by now
                self._known.discard(path)
                path = os.path.dirname(path)
                self.sync(path)
