"""A journal with everything around it in the test's hands: its disk, threads and clock."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import uuid

from backends.volume.journal import Journal
from backends.volume.journal_creating import JournalCalls
from backends.volume.journal_superblock import RING
from tests.doubles.threads import SyncThreads

VOLUME = uuid.UUID(int=0xABC)
SMALL = RING + 8192


class Calls(JournalCalls):
    """
    The real system calls, and a disk that can fail and lose power.

    Attributes:
        calls: names of those that write or sync.
        failures: by name, an errno for the next call.
        fuse: calls until the power goes; None for never.
        most: bytes that one call writes; None for all.
        waits: nothing can be written without waiting.
    """

    def __init__(self):
        self.calls = []
        self.failures = {}
        self.fuse = None
        self.most = None
        self.waits = False
        self._unsynced = []

    def _enter(self, name):
        self.calls.append(name)
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise OSError(errno.EIO, "the power is gone")
        if name in self.failures:
            raise OSError(self.failures[name], os.strerror(self.failures[name]))

    def pwritev(self, fd, buffers, offset, flags=0):
        if flags and self.waits:
            raise BlockingIOError(errno.EAGAIN, "would have to wait")
        self._enter("pwritev")
        data = b"".join(buffers)[: self.most]
        for at in range(0, len(data), 512):
            self._unsynced.append((offset + at, data[at : at + 512]))
        return os.pwrite(fd, data, offset)

    def pwrite(self, fd, data, offset):
        return self.pwritev(fd, (data,), offset)

    def fdatasync(self, fd):
        self._enter("fdatasync")
        self._keep(fd)

    def fsync(self, fd):
        self._enter("fsync")
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._keep(fd)

    def posix_fallocate(self, fd, offset, length):
        self._enter("posix_fallocate")
        os.posix_fallocate(fd, offset, length)

    def posix_fadvise(self, fd, offset, length, advice):
        self.calls.append("drop")

    def _keep(self, fd):
        self._unsynced.clear()
        self._image = os.pread(fd, os.fstat(fd).st_size, 0)

    def lose_power(self, path, choose):
        """
        The file as it may be after a crash: any of the sectors that were not
        synced, written in any order, now and then torn.
        """
        image = bytearray(self._image)
        kept = choose.choice((0.2, 0.5, 0.8))
        pieces = [piece for piece in self._unsynced if choose.random() < kept]
        choose.shuffle(pieces)
        for offset, data in pieces:
            torn = choose.random() < 0.02
            image[offset : offset + len(data)] = choose.randbytes(len(data)) if torn else data
        with open(path, "r+b") as file:
            file.write(image)
        self._unsynced.clear()
        self._image = bytes(image)
        self.fuse = None


class Bench:
    """A journal with everything around it in the test's hands."""

    def __init__(self, directory, size=SMALL, threads=None):
        self.path = os.path.join(directory, "journal")
        self.size = size
        self.threads = SyncThreads() if threads is None else threads
        self.calls = Calls()
        self.now = 1000.0
        self.journal = None
        self.epoch = 0

    def open(self, volume=VOLUME, size=None):
        self.journal = Journal.open(
            self.path,
            self.size if size is None else size,
            volume,
            self.threads.call_in_thread,
            lambda: self.now,
            self.calls,
        )
        return self.journal

    def adopted(self, stored=0):
        journal = self.open()
        self.epoch = journal.epoch + 1
        journal.adopt(self.epoch, stored)
        self.calls.calls.clear()
        return journal

    def reopened(self, clean=True):
        answer(self.journal.close(clean))
        return self.open()


def answer(deferred):
    """Of a Deferred that was answered."""
    answers = []
    deferred.addBoth(answers.append)
    (result,) = answers
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def stamp(lsn, sectors=1):
    return lsn.to_bytes(8, "little") * (64 * sectors)


def seen(records):
    return [
        (record.lsn, record.kind, record.sector, record.sectors, record.data) for record in records
    ]


def survivors(bench):
    """The records that whoever comes after the death of this process finds."""
    with tempfile.TemporaryDirectory() as directory:
        other = Bench(directory)
        shutil.copy(bench.path, other.path)
        found = [record.lsn for record in other.open().replay(0)]
        answer(other.journal.close(False))
        return found
