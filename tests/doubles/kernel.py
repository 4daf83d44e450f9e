"""System calls of the file provider that fail, refuse or come short when told."""

from __future__ import annotations

import errno
import os

from backends.file.syscalls import FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, Syscalls

EXT4_MAGIC = 0xEF53


class FakeKernel(Syscalls):
    """
    The real system calls, with the answers a test wants put before them.

    Attributes:
        calls: the names of the calls that change or persist something:
            ``punch``, ``zero``, ``allocate``, ``fdatasync``, ``pwrite``,
            ``pwritev`` (``+nowait``, ``+dsync``), ``zero_device``.
        answers: by such a name, what the next calls do: an errno, or a number
            of bytes to stop short at, negative; None for the real thing.
        always: by such a name, an errno for every call.
        limits: what sysfs says, by name; -1 for the real thing.
        magic: the file system's type; None for the real one.
        now: seconds on its clock, which stands still unless a test moves it.

    Unless told otherwise it reads and writes like ext4 wherever the file is: a read can be
    told not to wait, a write cannot.
    """

    def __init__(self, always=None, magic=EXT4_MAGIC):
        self.calls = []
        self.answers = {}
        self.always = {"pwritev+nowait": errno.EOPNOTSUPP, **(always or {})}
        self.limits = {}
        self.magic = magic
        self.now = 0.0

    def monotonic(self):
        return self.now

    def _answer(self, name):
        self.calls.append(name)
        answers = self.answers.get(name)
        answer = answers.pop(0) if answers else self.always.get(name)
        if answer is not None and answer > 0:
            raise OSError(answer, os.strerror(answer))
        return None if answer is None else -answer

    def preadv(self, fd, buffers, offset, flags=0):
        short = self._answer("preadv+nowait" if flags & os.RWF_NOWAIT else "preadv")
        if short is not None:
            buffers = [memoryview(buffers[0])[:short]] if short else [bytearray()]
        return os.preadv(fd, buffers, offset, flags & ~os.RWF_NOWAIT)

    def pwrite(self, fd, data, offset):
        short = self._answer("pwrite")
        return os.pwrite(fd, data if short is None else memoryview(data)[:short], offset)

    def pwritev(self, fd, buffers, offset, flags=0):
        name = "pwritev"
        if flags & os.RWF_NOWAIT:
            name = "pwritev+nowait"
        elif flags & os.RWF_DSYNC:
            name = "pwritev+dsync"
        short = self._answer(name)
        if short is not None:
            buffers = [memoryview(buffers[0])[:short]]
        return os.pwritev(fd, buffers, offset, flags)

    def lseek(self, fd, offset, whence):
        if self.always.get("lseek"):
            raise OSError(self.always["lseek"], os.strerror(self.always["lseek"]))
        return os.lseek(fd, offset, whence)

    def fdatasync(self, fd):
        self._answer("fdatasync")
        os.fdatasync(fd)

    def fallocate(self, fd, mode, offset, length):
        if mode & FALLOC_FL_PUNCH_HOLE:
            name = "punch"
        else:
            name = "zero" if mode & FALLOC_FL_ZERO_RANGE else "allocate"
        self._answer(name)
        super().fallocate(fd, mode, offset, length)

    def zero_device(self, fd, offset, length):
        self._answer("zero_device")
        super().zero_device(fd, offset, length)

    def filesystem_type(self, fd):
        return super().filesystem_type(fd) if self.magic is None else self.magic

    def queue_limit(self, device, name):
        if name in self.limits:
            return self.limits[name]
        return super().queue_limit(device, name)


def bare_kernel():
    """A kernel that has none of the calls one can do without."""
    names = ("punch", "zero", "allocate", "preadv+nowait", "pwritev+nowait", "zero_device")
    return FakeKernel(always=dict.fromkeys(names, errno.EOPNOTSUPP) | {"lseek": errno.EINVAL})
