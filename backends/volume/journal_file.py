"""
The journal's file: made, locked, read back after a crash, written, synced.

Every call blocks but `JournalFile.write_now`. What is opened here is what the
disk holds: pages that an earlier process left in memory are synced, dropped
and read anew before they are believed.
"""

from __future__ import annotations

import errno
import mmap
import os
import uuid
from collections.abc import Iterator, Sequence
from itertools import count

import attrs

from backends.file.page_cache import INLINE_LIMIT, PageCache
from backends.file.syscalls import RAMFS_MAGIC, TMPFS_MAGIC
from backends.volume.journal_creating import (
    JournalCalls,
    create,
    open_locked,
    reason,
    sync_directory,
)
from backends.volume.journal_index import RecordIndex
from backends.volume.journal_records import Cut, Link, Record, promised, scan
from backends.volume.journal_superblock import (
    CLEAN,
    RING,
    SLOT_BYTES,
    SLOTS,
    BadSuperblock,
    Superblock,
    decode,
    encode,
)
from gateway.errors import Corrupt, ExportUnavailable
from gateway.info import MIB
from gateway.interfaces import Buffer

#: Bytes; no journal is smaller.
LEAST = RING + 4096
_BLOCK = 4096
#: From limits.h: buffers in one pwritev(2).
_IOV_MAX = 1024
_READ_AHEAD = MIB
_ZEROES = bytes(mmap.PAGESIZE)


class JournalDamaged(ExportUnavailable):
    """The journal cannot be read although it was synced; the text says what and where."""


class JournalFile:
    """
    An open, locked journal. Made by `open`.

    Attributes:
        path: its name.
        superblock: the newest that is known to be durable.
        index: the records in it.
    """

    def __init__(self, calls: JournalCalls, fd: int, path: str, superblock: Superblock) -> None:
        self.path = path
        self.superblock = superblock
        self.index = RecordIndex(superblock.tail)
        self._calls = calls
        self._fd = fd
        self._window = (0, b"")
        in_memory = calls.filesystem_type(fd) in (TMPFS_MAGIC, RAMFS_MAGIC)
        self._page_cache = PageCache(calls, fd, in_memory)

    @classmethod
    def open(
        cls, path: str, size: int, volume: uuid.UUID, milliseconds: int, calls: JournalCalls
    ) -> JournalFile:
        """
        Open the journal, or make one.

        A journal without records gets the size asked for; one with records
        keeps its own until it is opened without any.

        Args:
            size: of the file, in bytes, at least `LEAST`; rounded down to 4 KiB.
            milliseconds: since 1970.

        Raises:
            ExportBusy: another process holds it.
            JournalDamaged: it was synced and cannot be read.
            ExportUnavailable: another volume's, no space, an I/O error.
        """
        size -= size % _BLOCK
        if size < LEAST:
            raise ExportUnavailable(f"journal {path}: got {size} bytes, expected {LEAST} or more")
        try:
            fd = open_locked(calls, path, os.O_RDWR)
            if fd is None:
                first = Link(0, 1, 0)
                cut = Cut(1, 0)
                made = Superblock(1, volume, CLEAN, size, first, cut, 0, milliseconds)
                fd = create(calls, path, made)
            try:
                return cls._recover(calls, fd, path, size, volume)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise ExportUnavailable(f"journal {path}: {reason(error)}") from error

    @classmethod
    def _recover(
        cls, calls: JournalCalls, fd: int, path: str, size: int, volume: uuid.UUID
    ) -> JournalFile:
        calls.fdatasync(fd)
        calls.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        superblock = _read_superblock(calls, fd, path)
        if superblock.volume != volume:
            raise ExportUnavailable(
                f"journal {path}: belongs to volume {superblock.volume}, expected {volume}"
            )
        found = os.fstat(fd).st_size
        if found < superblock.size:
            raise JournalDamaged(
                f"journal {path}: got a file of {found} bytes, expected {superblock.size}"
            )
        file = cls(calls, fd, path, superblock)
        for record, link in file._chain():
            file.index.add(link, len(record.data), record.milliseconds)
        head = file.index.head
        synced = superblock.durable
        if superblock.state != CLEAN:
            synced = max(synced, promised(volume.bytes, file._read, head, file._end))
        if synced >= head.lsn:
            raise JournalDamaged(
                f"journal {path}: record {head.lsn} at byte {file._offset(head.position)} cannot"
                f" be read, but records up to {synced} were synced: the disk lost or changed them."
                f" Readable are {head.lsn - superblock.tail.lsn} records before it"
            )
        if head == superblock.tail and size != superblock.size:
            file._resize(size)
        return file

    @property
    def capacity(self) -> int:
        """Bytes of the ring."""
        return self.superblock.capacity

    def records(self, after: int) -> Iterator[Record]:
        """
        Every record behind ``after``, as the disk has it.

        Raises:
            Corrupt: one cannot be read that could when the journal was opened.
            OSError: the disk failed.
        """
        self._window = (0, b"")
        expected = self.index.head.lsn
        next_lsn = self.superblock.tail.lsn
        for record, link in self._chain():
            if link.lsn > expected:
                return
            next_lsn = link.lsn
            if record.lsn > after:
                yield record
        if next_lsn < expected:
            raise Corrupt(f"journal {self.path}: record {next_lsn} cannot be read any more")

    def write_now(self, position: int, parts: Sequence[bytes], free: int) -> int:
        """
        Have the page cache take bytes of the ring, as far as that needs no waiting.

        Args:
            parts: joined they are what is written.
            free: bytes of the ring behind them that nobody needs. Of these the rest
                of the last page is zeroed: what is written whole need not be read first.

        Returns:
            How many of the bytes are in the file from now on; none of more than a mebibyte.
        """
        length = sum(map(len, parts))
        filler = min(-(position + length) % mmap.PAGESIZE, free)
        if length + filler > INLINE_LIMIT:
            return 0
        block = b"".join((*parts, _ZEROES[:filler]))
        done = 0
        for offset, size in self._pieces(position, len(block)):
            piece = block if size == len(block) else memoryview(block)[done : done + size]
            written = self._page_cache.write(offset, piece, size, False)
            done += written
            if written < size:
                break
        return min(done, length)

    def write(self, position: int, buffers: Sequence[Buffer]) -> None:
        """
        Write bytes of the ring; a crash of the machine may lose them.

        Raises:
            OSError: any part may have been written.
        """
        left = [memoryview(buffer) for buffer in buffers]
        for offset, size in self._pieces(position, sum(map(len, left))):
            piece, left = _split(left, size)
            self._write(offset, piece)

    def commit(self, superblock: Superblock | None) -> None:
        """
        Make durable what was written, and a superblock.

        Args:
            superblock: its slot is the one that does not count now.

        Raises:
            OSError: any part may have been written.
        """
        if superblock is not None:
            self._write(superblock.offset, [memoryview(encode(superblock))])
        self._calls.fdatasync(self._fd)
        if superblock is not None:
            self.superblock = superblock

    def put_superblocks(self, superblock: Superblock) -> None:
        """
        Make both slots durable, one after the other: an older one may no longer count.

        Args:
            superblock: its ``sequence`` is not looked at.
        """
        for _ in SLOTS:
            sequence = self.superblock.sequence + 1
            self.commit(attrs.evolve(superblock, sequence=sequence))

    def set_aside(self) -> str:
        """
        Give the file another name, durably, and close it.

        Returns:
            The name: the journal's own with the epoch and a number behind it.
        """
        for number in count(1):
            kept = f"{self.path}.epoch-{self.superblock.cut.epoch}.{number}"
            if not os.path.lexists(kept):  # nobody makes it now: that needs this journal's lock
                break
        os.rename(self.path, kept)
        sync_directory(self._calls, self.path)
        self.close()
        return kept

    def close(self) -> None:
        """Release descriptor and lock; nothing is written. Again: no effect."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def _end(self) -> int:
        return self.superblock.tail.position + self.capacity

    def _chain(self) -> Iterator[tuple[Record, Link]]:
        superblock = self.superblock
        volume = superblock.volume.bytes
        return scan(volume, self._read, superblock.tail, superblock.cut, self._end)

    def _offset(self, position: int) -> int:
        """Where a position of the ring lies, in bytes of the file."""
        return RING + position % self.capacity

    def _read(self, position: int, length: int) -> bytes:
        """Bytes of the ring, from a window that is read ahead."""
        start, window = self._window
        if not start <= position <= position + length <= start + len(window):
            wanted = max(length, min(_READ_AHEAD, self.capacity))
            window = b"".join(
                _read_all(self._calls, self._fd, offset, size)
                for offset, size in self._pieces(position, wanted)
            )
            start = position
            self._window = (start, window)
        return window[position - start : position - start + length]

    def _pieces(self, position: int, length: int) -> Iterator[tuple[int, int]]:
        """Offset and length of the parts of a range of the ring, at most two."""
        offset = self._offset(position)
        first = min(length, self.superblock.size - offset)
        yield offset, first
        if length > first:
            yield RING, length - first

    def _write(self, offset: int, views: list[memoryview]) -> None:
        while views:
            written = self._calls.pwritev(self._fd, views[:_IOV_MAX], offset)
            if written <= 0:
                raise OSError(errno.EIO, f"got {written} from pwritev, expected some bytes")
            offset += written
            _, views = _split(views, written)

    def _resize(self, size: int) -> None:
        """
        Change the size of a journal without records.

        A crash in between leaves a file that is longer than its superblocks say.
        """
        if size > self.superblock.size:
            self._calls.posix_fallocate(self._fd, 0, size)
        self.put_superblocks(attrs.evolve(self.superblock, size=size))
        self._calls.ftruncate(self._fd, size)
        self._calls.fsync(self._fd)


def _split(views: list[memoryview], size: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first ``size`` bytes, and the rest."""
    for at, view in enumerate(views):
        if size < len(view):
            before = [*views[:at], view[:size]] if size else views[:at]
            return before, [view[size:], *views[at + 1 :]]
        size -= len(view)
    return views, []


def _read_all(calls: JournalCalls, fd: int, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    view = memoryview(buffer)
    done = 0
    while done < length:
        read = calls.preadv(fd, [view[done:]], offset + done)
        if read <= 0:
            raise OSError(errno.EIO, f"the file ends at byte {offset + done}")
        done += read
    return bytes(buffer)


def _read_superblock(calls: JournalCalls, fd: int, path: str) -> Superblock:
    """
    The newer of the two slots.

    Raises:
        JournalDamaged: neither is one.
    """
    found: list[Superblock] = []
    wrong: list[str] = []
    for offset in SLOTS:
        try:
            found.append(decode(_read_all(calls, fd, offset, SLOT_BYTES)))
        except (BadSuperblock, OSError) as error:
            wrong.append(f"byte {offset}: {error}")
    if not found:
        raise JournalDamaged(
            f"journal {path}: no superblock; {'; '.join(wrong)}. Records that are in it cannot be"
            " told from old ones: move the file away to go on without them"
        )
    return max(found, key=lambda superblock: superblock.sequence)
