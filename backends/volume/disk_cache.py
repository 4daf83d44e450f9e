"""
Stored frames on a local disk, for all volumes and clones of one process, across restarts.

Frames are appended to a ring in one file; a table in another says where each
lies (`backends.volume.cache_table`). What the ring overwrites is gone; a
frame that is used shortly before that is appended once more, so what stays
is about what was used last. Every frame carries its own identity and
checksum: whatever table and ring say after a crash, wrong bytes are a miss.

The cache is never a reason for a request to fail: when its disk does, it
turns itself off.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import threading
from collections.abc import Iterator

import google_crc32c
from twisted.logger import Logger

from backends.file.locking import lock
from backends.file.syscalls import Syscalls
from backends.volume.cache_table import DIGEST, FRAMES, CacheTable, Entry, size_of_table
from backends.volume.units import FRAME
from gateway.errors import ExportBusy
from gateway.info import KIB, MIB

#: Bytes; longer frames are not kept.
LARGEST = FRAME + 64
#: Bytes; the smallest limit.
LEAST = 4 * MIB

_PAGE = 4096  # frames start at pages: the kernel never reads to complete one
_FRONT = struct.Struct("<4sI")  # magic, checksum of all that follows
_BODY = struct.Struct("<16sII")  # digest, frame, length
_HEAD_BYTES = _FRONT.size + _BODY.size
_MAGIC = b"nbdF"
#: Of the ring, that are given to one write of the table's head.
_STRIDE = 256 * KIB
#: Bytes of frames for each set of the table: eight frames that shrank to a quarter.
_BYTES_PER_SET = 8 * 16 * KIB
#: Positions are this far from the end of what 8 bytes hold.
_POSITIONS = 1 << 60


class DiskCache:
    """
    Made by `open`. Every method blocks and may be called in any thread.

    Attributes:
        directory: where it lies.
        is_on: whether it keeps anything.
        hits, misses: answers of `get` so far.
    """

    _log = Logger()

    def __init__(self, directory: str, limit: int, calls: Syscalls) -> None:
        if limit < LEAST:
            raise ValueError(f"got a disk cache of {limit} bytes, expected {LEAST} or more")
        self.directory = directory
        self.is_on = False
        self.hits = 0
        self.misses = 0
        self._calls = calls
        sets = limit // _BYTES_PER_SET
        self._ring = (limit - size_of_table(sets)) // _PAGE * _PAGE
        self._sets = sets
        self._head = self._kept_head = 0
        self._fds: list[int] = []
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._busy = 0

    @classmethod
    def open(cls, directory: str, limit: int, calls: Syscalls | None = None) -> DiskCache:
        """
        Open the cache in ``directory``, or make it. It is off, with a line in
        the log, if another process uses it or the disk fails.

        Args:
            limit: bytes on disk, at least `LEAST`. Another one than last time
                starts with an empty cache.
        """
        cache = cls(directory, limit, Syscalls() if calls is None else calls)
        try:
            cache._open()
        except (OSError, ExportBusy) as error:
            cache._close_files()
            cache._log.warn(
                "disk cache {directory} is not used: {why}", directory=directory, why=str(error)
            )
        return cache

    def get(self, identity: str, frame: int) -> bytes | None:
        """
        Args:
            identity: of the object, in full: what no other object of any volume has.

        Returns:
            The bytes that were put; None if they are not here, or not any more.
        """
        digest = _digest(identity)
        data = None
        with self._in_use() as is_on:
            if is_on:
                data = self._get(digest, frame)
        with self._lock:
            self.hits += data is not None
            self.misses += data is None
        return data

    def put(self, identity: str, frame: int, data: bytes) -> None:
        """Keep a frame, at most `LARGEST` bytes; a longer or an empty one is not kept."""
        if not 0 < len(data) <= LARGEST or not 0 <= frame < FRAMES:
            return
        with self._in_use() as is_on:
            if is_on:
                self._put(_digest(identity), frame, data, False)

    def forget(self, identity: str) -> None:
        """The object is deleted: its frames need no place any more."""
        with self._in_use() as is_on:
            if is_on:
                with self._lock:
                    self._table.forget(_digest(identity)[:DIGEST])

    def close(self) -> None:
        """Wait for calls under way, then release files and lock. Again: no effect."""
        with self._idle:
            was_on, self.is_on = self.is_on, False
            self._idle.wait_for(lambda: not self._busy)
            if was_on:
                with contextlib.suppress(OSError):
                    self._table.write_head(self._head)
            self._close_files()

    def _open(self) -> None:
        os.makedirs(self.directory, 0o700, exist_ok=True)
        for name in ("index", "frames"):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fds.append(os.open(os.path.join(self.directory, name), flags, 0o600))
        index, frames = self._fds
        lock(self._calls, index, self.directory, read_only=False)
        self._table = CacheTable(self._calls, index, self._sets, self._ring)
        sizes = (os.fstat(index).st_size, os.fstat(frames).st_size)
        head = self._table.read_head()
        if head is None or head >= _POSITIONS or sizes != (self._table.size, self._ring):
            for fd, size in ((index, self._table.size), (frames, self._ring)):
                os.ftruncate(fd, 0)
                os.ftruncate(fd, size)
            head = 0
            self._table.write_head(head)
        self._head = self._kept_head = head
        self.is_on = True

    def _close_files(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[bool]:
        """Keeps the files open; a failure of the disk ends here."""
        with self._lock:
            is_on = self.is_on
            self._busy += is_on
        try:
            yield is_on
        except OSError as error:
            with self._lock:
                was_on, self.is_on = self.is_on, False
            if was_on:
                self._log.warn(
                    "disk cache {directory} is turned off: {why}",
                    directory=self.directory,
                    why=str(error),
                )
        finally:
            with self._idle:
                self._busy -= is_on
                self._idle.notify_all()

    def _get(self, digest: bytes, frame: int) -> bytes | None:
        with self._lock:
            entry = self._current(digest, frame)
        if entry is None:
            return None
        front, body = bytearray(_HEAD_BYTES), bytearray(entry.length)
        self._calls.preadv(self._fds[1], [front, body], entry.position % self._ring)
        data = _checked(front, bytes(body), digest, frame)
        with self._lock:
            age = self._head - entry.position
            if data is None:
                self._table.drop(entry)
        if data is not None and self._ring // 4 * 3 < age:
            self._put(digest, frame, data, True)
        return data

    def _put(self, digest: bytes, frame: int, data: bytes, again: bool) -> None:
        body = _BODY.pack(digest, frame, len(data))
        crc = google_crc32c.extend(google_crc32c.value(body), data)
        size = -(-(_HEAD_BYTES + len(data)) // _PAGE) * _PAGE
        with self._lock:
            known = None if again else self._current(digest, frame)
            if known is not None and (known.crc, known.length) == (crc, len(data)):
                return
            position = self._reserve(size)
        padding = bytes(size - _HEAD_BYTES - len(data))
        self._write(position % self._ring, _FRONT.pack(_MAGIC, crc) + body + data + padding)
        with self._lock:
            if self._is_there(position):
                self._table.store(Entry(digest[:DIGEST], frame, len(data), crc, position))

    def _current(self, digest: bytes, frame: int) -> Entry | None:
        """The entry of a frame that lies in the ring."""
        entry = self._table.find(digest[:DIGEST], frame)
        if entry is None or entry.length > LARGEST or not self._is_there(entry.position):
            return None
        return entry

    def _is_there(self, position: int) -> bool:
        return self._head - self._ring <= position < self._head and position % _PAGE == 0

    def _reserve(self, size: int) -> int:
        """The position of that many bytes in one piece; what lay there is gone."""
        left = self._ring - self._head % self._ring
        position = self._head + (left if left < size else 0)
        self._head = position + size
        if self._head > self._kept_head:
            self._kept_head = self._head + _STRIDE
            self._table.write_head(self._kept_head)
        return position

    def _write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._calls.pwrite(self._fds[1], view, offset)
            if written <= 0:
                raise OSError(errno.EIO, f"got {written} from pwrite, expected some bytes")
            view = view[written:]
            offset += written


def _digest(identity: str) -> bytes:
    return hashlib.blake2b(identity.encode(), digest_size=16).digest()


def _checked(front: bytearray, data: bytes, digest: bytes, frame: int) -> bytes | None:
    """The data if it is whole and that frame's."""
    magic, crc = _FRONT.unpack_from(front)
    body = bytes(front[_FRONT.size :])
    if magic != _MAGIC or body != _BODY.pack(digest, frame, len(data)):
        return None
    return data if google_crc32c.extend(google_crc32c.value(body), data) == crc else None
