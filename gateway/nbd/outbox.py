"""
Reply bytes on their way out: one buffer filled in place, and long pieces beside it.

Short replies are packed straight into a buffer, payload behind header, so
that one send carries everything that one wake-up answered. The buffer starts
over when it has drained; a reply that finds no room waits for that, which is
the back-pressure. Payloads that exist already (answers that came later) are
queued as they are, never copied.
"""

from __future__ import annotations

import mmap
from collections import deque

from gateway.info import KIB
from gateway.nbd.limits import READ_CHUNK
from gateway.nbd.payloads import PayloadMemory

#: Bytes of replies. Room for one READ chunk behind half a buffer of small replies.
CAPACITY = 2 * READ_CHUNK + 4 * KIB

#: Where the first reply is packed. At 0 its data, copied by the kernel from
#: the start of a page, would lie 16 or 28 bytes behind the start of another:
#: up to 31 bytes, some processors copy at a fifth of their speed
#: (docs/decisions/0013-data-lies-clear-of-page-starts.md).
FIRST = 64


class Outbox:
    """
    Bytes to send, in order.

    Args:
        memory: told of what is queued.

    Attributes:
        buffer: where replies are packed; only between `reserve` and `commit`.
        full: nothing further should be served until the bytes drain.
        abandoned: nobody takes any more.
    """

    def __init__(self, memory: PayloadMemory) -> None:
        # Anonymous memory costs only the pages that replies have touched.
        self.buffer = memoryview(mmap.mmap(-1, FIRST + CAPACITY))
        self._start = FIRST
        self._end = FIRST
        self._pieces: deque[memoryview] = deque()
        self._queued = 0
        self._memory = memory
        self.abandoned = False

    @property
    def full(self) -> bool:
        return self._end > FIRST + READ_CHUNK or self._queued > 0

    @property
    def pending(self) -> int:
        """Bytes not taken yet."""
        return self._queued + self._end - self._start

    def reserve(self, count: int) -> int:
        """
        The position in `buffer` where the next ``count`` bytes may be packed,
        or -1 if there is no room. Nothing is taken until `commit`.
        """
        end = self._end
        return end if end + count <= FIRST + CAPACITY else -1

    def commit(self, count: int) -> None:
        """The next ``count`` bytes of the buffer are a reply."""
        self._end += count

    def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Queue bytes that exist already; they must not change until taken."""
        if self.abandoned:
            return
        queued = self._queued
        if self._end > self._start:
            self._pieces.append(self.buffer[self._start : self._end])
            self._queued += self._end - self._start
            self._start = self._end
        for piece in pieces:
            if piece:
                self._pieces.append(memoryview(piece).cast("B"))
                self._queued += len(self._pieces[-1])
        self._memory.hold(self._queued - queued)

    def head(self) -> list[memoryview]:
        """The next bytes to send, as up to 16 pieces; empty if there are none."""
        if self._pieces:
            pieces = [self._pieces[i] for i in range(min(16, len(self._pieces)))]
            return pieces
        if self._end > self._start:
            return [self.buffer[self._start : self._end]]
        return []

    def taken(self, count: int) -> None:
        """The first ``count`` bytes were sent."""
        while self._pieces and count:
            piece = self._pieces[0]
            taken = min(count, len(piece))
            self._queued -= taken
            self._memory.hold(-taken)
            if count < len(piece):
                self._pieces[0] = piece[count:]
                return
            count -= len(piece)
            self._pieces.popleft()
        self._start += count
        if self._start == self._end and not self._pieces:
            self._start = self._end = FIRST

    def abandon(self) -> None:
        """Nobody takes any more: what is queued, or would be, is not held."""
        self.abandoned = True
        self._pieces.clear()
        self._memory.hold(-self._queued)
        self._queued = 0
