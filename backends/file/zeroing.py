"""How a regular file is zeroed without writing: which fallocate call, found out at open.

A *way* is a blocking function of a range that makes it read as zeroes and
answers with the runs it left, as `ZeroMap.set` takes them. It raises
`Refused` where the kernel has no such call, and `OSError`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from backends.file.failures import NO_SPACE, UNSUPPORTED, Refused
from backends.file.syscalls import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    Syscalls,
)
from backends.zero_map import HOLE, ZERO
from gateway.errors import NotFast, Unavailable
from gateway.info import MIB

Run: TypeAlias = tuple[int, int, int]
Way: TypeAlias = Callable[[int, int], list[Run]]

PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
ZERO_OUT = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE

#: Bytes per call, so that a call over data does not hold the file's lock, and
#: with it every other change of the file, for seconds.
PIECE = 256 * MIB

_ZEROES = bytes(MIB)


class Zeroing(Protocol):
    """
    What can be done instead of writing zeroes, for one open file.

    Attributes:
        can_trim: `trim_way` may release space.
    """

    can_trim: bool

    def way(self, start: int, end: int, may_trim: bool, fast: bool) -> Way | None:
        """The way for a request, without any I/O; None if only writing is left."""

    def trim_way(self) -> Way | None:
        """The way to release what lies wholly inside a range; None if there is none."""


class FileZeroing:
    """
    Zeroing of a regular file.

    Args:
        syscalls: the kernel.
        fd: open for writing.
        punches: the file system punches holes.
        zeroes: it has ZERO_RANGE.
        in_memory: its pages are the store: allocating zeroes them.
    """

    def __init__(
        self, syscalls: Syscalls, fd: int, punches: bool, zeroes: bool, in_memory: bool
    ) -> None:
        self._syscalls = syscalls
        self._fd = fd
        self._punches = punches
        self._zeroes = zeroes
        self._in_memory = in_memory
        self.can_trim = punches

    def way(self, start: int, end: int, may_trim: bool, fast: bool) -> Way | None:
        if may_trim and self._punches:
            return self._punch
        if self._zeroes:
            return self._zero_range
        if fast or not self._punches:
            return None
        # On tmpfs fallocate(0) clears page by page: eight times slower than
        # writing zeroes, which also never gives up space it already has.
        return self._write if self._in_memory else self._punch_then_allocate

    def trim_way(self) -> Way | None:
        return self._punch if self._punches else None

    def _punch(self, start: int, end: int) -> list[Run]:
        reached = start
        try:
            for reached, stop in pieces(start, end):
                self._syscalls.fallocate(self._fd, PUNCH, reached, stop - reached)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                self._punches = False
            raise refusal(error, start, reached, HOLE) from error
        return [(start, end, HOLE)]

    def _zero_range(self, start: int, end: int) -> list[Run]:
        reached = start
        try:
            for reached, stop in pieces(start, end):
                self._syscalls.fallocate(self._fd, ZERO_OUT, reached, stop - reached)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                self._zeroes = False
            raise refusal(error, start, reached, ZERO) from error
        return [(start, end, ZERO)]

    def _punch_then_allocate(self, start: int, end: int) -> list[Run]:
        reached = start
        try:
            for reached, stop in pieces(start, end):
                self._syscalls.fallocate(self._fd, PUNCH, reached, stop - reached)
                self._syscalls.fallocate(self._fd, FALLOC_FL_KEEP_SIZE, reached, stop - reached)
        except OSError as error:
            raise refusal(error, start, reached, ZERO) from error
        return [(start, end, ZERO)]

    def _write(self, start: int, end: int) -> list[Run]:
        write_zeroes(self._syscalls, self._fd, start, end)
        return [(start, end, ZERO)]


def probe(syscalls: Syscalls, fd: int, size: int, in_memory: bool) -> FileZeroing:
    """
    Find out what the file system can do, by trying it behind the file's end.

    Contents and size stay as they are. The page that ZERO_RANGE sets aside is
    punched away again, so it is only tried where holes can be punched; ext4
    does not punch behind the end and keeps it, the same one every time.
    """
    beyond = -(-size // 4096) * 4096

    def accepts(mode: int) -> bool:
        try:
            syscalls.fallocate(fd, mode, beyond, 4096)
        except OSError as error:
            return error.errno in NO_SPACE and error.errno != errno.EFBIG
        return True

    punches = accepts(PUNCH)
    zeroes = punches and accepts(ZERO_OUT)
    if zeroes:
        accepts(PUNCH)
    return FileZeroing(syscalls, fd, punches, zeroes, in_memory)


def zero(syscalls: Syscalls, fd: int, way: Way, start: int, end: int, fast: bool) -> list[Run]:
    """
    Zero a range by ``way``; what that refuses is written. Blocking.

    Raises:
        NotFast: ``fast`` and refused at the first piece: nothing was changed.
            The probe said otherwise: only here is a fast request refused late.
        Unavailable: ``fast`` and refused behind a piece that was zeroed:
            neither refusing nor writing is lawful then.
        OSError: also `SyncFailed`; the range may be zeroed in part.
    """
    try:
        return way(start, end)
    except Refused as refused:
        _, reached, _ = refused.done
        if fast:
            if reached == start:
                raise NotFast(f"zero at {start}: the store refused to") from refused
            raise Unavailable(f"zero at {start}: the store stopped at {reached}") from refused
        write_zeroes(syscalls, fd, reached, end)
        return [refused.done, (reached, end, ZERO)]


def trim(way: Way, start: int, end: int) -> list[Run]:
    """Release a range by ``way``; what that refuses stays. Blocking."""
    try:
        return way(start, end)
    except Refused as refused:
        return [refused.done]


def write_zeroes(syscalls: Syscalls, fd: int, start: int, end: int) -> None:
    """Write zeroes in pieces of at most 1 MiB; blocking."""
    zeroes = memoryview(_ZEROES)
    while start < end:
        start += syscalls.pwrite(fd, zeroes[: end - start], start)


def pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The range cut into parts of at most `PIECE` bytes, as start and end."""
    while start < end:
        stop = min(start + PIECE, end)
        yield start, stop
        start = stop


def refusal(error: OSError, start: int, reached: int, state: int) -> Exception:
    """What to raise for ``error``: EINVAL says "not this range" and is a refusal, too."""
    if error.errno in UNSUPPORTED or error.errno == errno.EINVAL:
        return Refused(start, reached, state)
    return error
