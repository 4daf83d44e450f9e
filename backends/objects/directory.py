"""Objects as files below a directory, each made at once and for good."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from threading import Lock

from zope.interface import implementer

from backends.objects.contract import (
    PAGE,
    Exists,
    Garbled,
    IBlockingStore,
    Listed,
    NotFound,
    Refused,
    Transient,
)
from backends.objects.directories import Directories
from backends.objects.keys import encoded
from backends.objects.os_failures import store_error
from backends.objects.unfinished import sweep, unfinished
from backends.objects.walking import walk
from gateway.interfaces import Buffer

#: Below the root, for what is not finished.
UNFINISHED = b".tmp"
#: No object's key starts with one of these; the second is the file system's own.
RESERVED = frozenset({UNFINISHED, b"lost+found"})

#: How often deletes elsewhere may take a put's directory away before that is a failure.
_VANISHINGS = 100


@implementer(IBlockingStore)
class DirectoryStore:
    """
    The key's segments are a path below ``root``.

    Safe between processes, also on a shared file system with link(2): an
    object is written under another name, and linked to its own when it is
    durable. Unlike elsewhere, an object cannot have a key that another's
    continues after a slash.

    Args:
        root: exists; made absolute now. The file system should be trusted
            with nothing else that adds files to it.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(os.fsencode(root))
        self._unfinished = os.path.join(self._root, UNFINISHED)
        self._directories = Directories(self._root)
        self._sweeping = Lock()
        self._swept = False

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        path = self._path(key)
        with self._failures("put", path):
            self._sweep()
            with unfinished(self._unfinished) as (fd, source):
                for part in parts:
                    _write(fd, part)
                os.fsync(fd)
                self._place(source, path, if_absent)

    def get(self, key: str, start: int, length: int) -> bytes:
        path = self._path(key)
        with self._failures("get", path), _opened(path) as (fd, size):
            wanted = max(0, min(length, size - start))
            data = _read(fd, start, wanted)
            if len(data) < wanted:
                raise Garbled(
                    f"get {os.fsdecode(path)}: got {len(data)} bytes from {start} on,"
                    f" expected {wanted} of {size}"
                )
            return data

    def head(self, key: str) -> Listed:
        path = self._path(key)
        with self._failures("head", path):
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                raise _not_a_file()
            return Listed(key, status.st_size, status.st_mtime)

    def delete(self, keys: Sequence[str]) -> None:
        assert len(keys) <= PAGE, len(keys)
        parents = set()
        for path in [self._path(key) for key in keys]:
            with self._failures("delete", path):
                if _unlink(path):
                    parents.add(os.path.dirname(path))
        for parent in sorted(parents):
            with self._failures("delete", parent):
                self._directories.sync(parent)
                self._directories.prune(parent)
        if not parents:
            self._check_root("delete")

    def describe(self) -> str:
        return f"directory {os.fsdecode(self._root)}"

    def close(self) -> None:
        pass

    def list(self, prefix: str, after: str) -> list[Listed]:
        start = prefix.encode(errors="surrogatepass")
        behind = after.encode(errors="surrogatepass")
        with self._failures("list", self._root):
            return [*islice(walk(self._root, start, behind, RESERVED), PAGE)]

    def _path(self, key: str) -> bytes:
        name = encoded(key)
        if name.split(b"/", 1)[0] in RESERVED:
            raise Refused(
                f"key {key!r}: got a first segment that {self.describe()} keeps for itself,"
                f" expected none of {', '.join(sorted(map(bytes.decode, RESERVED)))}"
            )
        return os.path.join(self._root, name)

    @contextmanager
    def _failures(self, request: str, path: bytes) -> Iterator[None]:
        """Turn an `OSError` into a `StoreError`."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            self._check_root(request)
            if request in ("get", "head"):
                raise NotFound(f"{request} {os.fsdecode(path)}: no such object") from error
            raise store_error(error, request, path) from error
        except OSError as error:
            raise store_error(error, request, path) from error

    def _check_root(self, request: str) -> None:
        """A store that has gone is no empty store."""
        if not os.path.isdir(self._root):
            raise Refused(
                f"{request}: there is no {self.describe()}; look at whether its file system"
                " is mounted"
            )

    def _sweep(self) -> None:
        """Once, and not before something is put: then this process is what it will be."""
        with self._sweeping:
            if not self._swept:
                sweep(self._unfinished)
                self._swept = True

    def _place(self, source: bytes, path: bytes, if_absent: bool) -> None:
        """Give a complete file its name, durably."""
        parent = os.path.dirname(path)
        for _ in range(_VANISHINGS):
            try:
                self._directories.make(parent)
                if if_absent:
                    os.link(source, path)
                else:
                    os.rename(source, path)
            except FileExistsError:
                self._check_taken(path)
            except FileNotFoundError:
                self._directories.forget()
            else:
                self._directories.sync(parent)
                return
        self._check_root("put")
        raise Transient(f"put {os.fsdecode(path)}: it came and went {_VANISHINGS} times")

    def _check_taken(self, path: bytes) -> None:
        """
        Raises:
            Exists: there is an object, and it is durable: it may be our own.
            Refused: there is something else.
        """
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return  # it has gone
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"put {os.fsdecode(path)}: got something there that is not a file")
        self._directories.sync(os.path.dirname(path))
        raise Exists(f"put {os.fsdecode(path)}: there is an object of {status.st_size} bytes")


@contextmanager
def _opened(path: bytes) -> Iterator[tuple[int, int]]:
    """A descriptor of the file, and its size in bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket
            raise _not_a_file() from error
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_file()
        yield fd, status.st_size
    finally:
        os.close(fd)


def _not_a_file() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "not a file")


def _read(fd: int, start: int, length: int) -> bytes:
    """Fewer bytes only at the end; the kernel gives no more than 2 GiB at once."""
    data = os.pread(fd, length, start)
    if len(data) == length:
        return data
    pieces = [data]
    while data:
        start += len(data)
        length -= len(data)
        data = os.pread(fd, length, start)
        pieces.append(data)
    return b"".join(pieces)


def _write(fd: int, part: Buffer) -> None:
    view = memoryview(part).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _unlink(path: bytes) -> bool:
    """Whether there was a file to remove."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    return True
