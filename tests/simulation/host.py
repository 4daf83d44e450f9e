"""A machine: processes come and go, its disk stays, unless power or the disk itself is lost."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

from backends.file.page_cache import SLOW_WRITE
from backends.file.syscalls import TMPFS_MAGIC
from backends.volume.disk_cache import DiskCache
from backends.volume.journal_creating import JournalCalls

SECTOR = 512

#: Where there is room in memory, disks of simulated machines are quick.
_MEMORY = "/dev/shm"


class Died(BaseException):
    """The process ended within a system call; nothing may catch it."""


class Host:
    """
    Args:
        name: in superblocks.
        random: decides what a crash leaves.

    Attributes:
        generation: how often its disk was replaced.
        outages: how often it lost its power or its disk.
        processes: that were ever started here.
    """

    def __init__(self, name, random):
        self.name = name
        self.generation = self.outages = 0
        self.processes = []
        self._random = random
        self._root = None
        self._durable = {}  # by inode: the bytes as of the last sync
        self._unsynced = {}  # by inode: (offset, bytes) of a sector each, in order

    @property
    def directory(self):
        """Of everything on its disk."""
        if self._root is None:
            self._root = tempfile.mkdtemp(
                prefix="simulated-", dir=_MEMORY if os.path.isdir(_MEMORY) else None
            )
        return self._root

    @property
    def journals(self):
        """The directory of journals."""
        return os.path.join(self.directory, "journals")

    def kept_aside(self):
        """Names of the journals that volumes have outlived."""
        if not os.path.isdir(self.journals):
            return []
        return sorted(name for name in os.listdir(self.journals) if ".epoch-" in name)

    def in_use(self):
        """Whether a process on it is alive."""
        return any(process.alive for process in self.processes)

    def lose_power(self):
        """What was not synced is lost, sector by sector, or torn; in any order."""
        self.outages += 1
        for process in self.processes:
            process.kill()
        random = self._random
        for place, inode in self._files():
            if inode not in self._unsynced:
                continue
            image = self._durable.setdefault(inode, bytearray())
            pieces = self._unsynced.pop(inode)
            kept = random.choice((0.0, 0.2, 0.5, 0.8, 1.0))
            pieces = [piece for piece in pieces if random.random() < kept]
            if random.random() < 0.5:
                random.shuffle(pieces)
            for offset, data in pieces:
                if random.random() < 0.02:
                    data = random.randbytes(len(data))
                _lay(image, offset, data)
            with open(place, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                file.write(image.ljust(size, b"\0")[:size])
        self._garble_cache()

    def lose_disk(self):
        """A new disk, with nothing on it."""
        self.outages += 1
        for process in self.processes:
            process.kill()
        self.remove()
        self.generation += 1

    def remove(self):
        """Nothing is left on this machine's disk."""
        if self._root is not None:
            shutil.rmtree(self._root)
        self._root = None
        self._durable.clear()
        self._unsynced.clear()

    def wrote(self, inode, offset, data):
        """Bytes are in the page cache."""
        pieces = self._unsynced.setdefault(inode, [])
        for at in range(0, len(data), SECTOR):
            pieces.append((offset + at, data[at : at + SECTOR]))

    def synced(self, fd):
        """Everything in a file is durable."""
        inode = os.fstat(fd).st_ino
        image = self._durable.setdefault(inode, bytearray())
        for offset, data in self._unsynced.pop(inode, ()):
            _lay(image, offset, data)

    def cache(self, process, limit):
        """The disk cache, for one process."""
        cache = DiskCache.open(os.path.join(self.directory, "cache"), limit)
        # Not closed, as that would write: the process is gone, and its files with it.
        process.when_killed(lambda: (setattr(cache, "is_on", False), cache._close_files()))
        return cache

    def _files(self):
        if self._root is not None and os.path.isdir(self.journals):
            for entry in sorted(os.scandir(self.journals), key=lambda entry: entry.name):
                yield entry.path, entry.inode()

    def _garble_cache(self):
        """A cache is never synced: after a crash any of its pages may be anything."""
        random = self._random
        if self._root is None:
            return
        for name in ("index", "frames"):
            place = os.path.join(self._root, "cache", name)
            if not os.path.exists(place):
                continue
            with open(place, "r+b") as file:
                pages = min(os.fstat(file.fileno()).st_size // 4096, 32)
                for page in range(pages):
                    if random.random() < 0.2:
                        file.seek(page * 4096)
                        file.write(random.choice((bytes(4096), random.randbytes(4096))))


def _lay(image, offset, data):
    """Write into an image, which grows as a file does."""
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data


class HostCalls(JournalCalls):
    """
    System calls of one process on a machine; it may be killed ahead of each, or within a write.

    Now and then a write takes long, so that the next ones go to threads; or, on another kind of
    file system, it is refused where it would have to wait. What
    is called on the reactor seems to go on when the process is dead, as nobody
    will see what becomes of it; in a thread, `Died` ends it.

    Args:
        host: the `Host`.
        process: a `Process`.
    """

    def __init__(self, host, process):
        self._host = host
        self._process = process
        self._locked = {}
        self._late = 0.0
        self._refuses = process.kernel.random() < 0.5
        process.when_killed(self._close)

    def pwrite(self, fd, data, offset):
        return self.pwritev(fd, (data,), offset)

    def pwritev(self, fd, buffers, offset, flags=0):
        data = b"".join(buffers)
        random = self._process.kernel
        if flags and random.random() < 0.15:
            raise BlockingIOError(errno.EAGAIN, "it would have to wait")
        if self._process.alive and not self._step():
            # The kernel looks for signals between two pages.
            ends = range(-offset % 4096, len(data), 4096)
            self._write(fd, data[: random.choice((0, *ends))], offset)
        elif self._process.alive:
            self._write(fd, data, offset)
            if random.random() < 0.1:
                self._late += 2 * SLOW_WRITE
        if not self._process.alive and self._process.in_thread:
            raise Died
        return len(data)

    def _write(self, fd, data, offset):
        self._host.wrote(os.fstat(fd).st_ino, offset, data)
        os.pwrite(fd, data, offset)

    def filesystem_type(self, fd):
        return 0 if self._refuses else TMPFS_MAGIC

    def monotonic(self):
        return self._process.clock.seconds() + self._late

    def fdatasync(self, fd):
        self._live()
        self._host.synced(fd)

    def fsync(self, fd):
        self._live()
        if os.path.isfile(f"/proc/self/fd/{fd}"):
            self._host.synced(fd)

    def ftruncate(self, fd, size):
        self._live()
        os.ftruncate(fd, size)

    def posix_fallocate(self, fd, offset, length):
        self._live()
        os.posix_fallocate(fd, offset, length)

    def posix_fadvise(self, fd, offset, length, advice):
        """The page cache is the file."""

    def lock(self, fd, kind, start, length):
        super().lock(fd, kind, start, length)
        self._locked[fd] = os.fstat(fd).st_ino

    def _live(self):
        if not self._step():
            raise Died

    def _step(self):
        """Whether the process lives to make its next call."""
        self._process.client.before_step()
        return self._process.alive

    def _close(self):
        """The kernel closes what the dead had open."""
        for journal in self._process.journals:
            journal._file.close()  # and its number is forgotten: another file may get it
        for fd, inode in self._locked.items():
            try:
                if os.fstat(fd).st_ino == inode:
                    os.close(fd)
            except OSError:
                pass
