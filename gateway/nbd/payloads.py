"""
Memory for payloads: lent for long WRITEs, and counted for all connections together.

What is counted is what requests hold for longer than a turn: buffers of long
WRITEs, from their header to their answer; data that storage is asked for or
is given and has not answered; READ data that a client does not take. While
that is more than `PAYLOAD_MEMORY`, each connection goes on with little: long
WRITEs come in parts, long READs go out in pieces, and few bytes are in flight.
Nobody waits for what another connection holds.
"""

from __future__ import annotations

import mmap

from gateway.info import MIB
from gateway.nbd.limits import PAYLOAD_MEMORY

#: Bytes. Longer payloads are rare, and get memory of their own.
_SIZE = 2 * MIB

#: Buffers kept when nobody uses them, for all connections together.
_KEPT = 4


class PayloadMemory:
    """
    Lends buffers, and knows how much is held.

    Fresh memory costs as much in page faults as receiving into it does, so a
    few buffers are kept. What is handed out fresh is anonymous memory: it is
    used only as far as bytes have come for it, however much a request header
    of 28 bytes announced.

    Attributes:
        held: bytes, lent ones included.
    """

    __slots__ = ("_free", "_limit", "held")

    def __init__(self, limit: int = PAYLOAD_MEMORY) -> None:
        self._limit = limit
        self._free: list[mmap.mmap] = []
        self.held = 0

    @property
    def short(self) -> bool:
        """Whether so much is held that nobody should hold more than it must."""
        return self.held >= self._limit

    def fits(self, length: int) -> bool:
        """Whether ``length`` bytes more may be held. What is longer than all may be, alone."""
        return self.held + length <= self._limit or not self.held

    def take(self, length: int) -> memoryview | None:
        """A buffer of ``length`` bytes, holding anything; None if so much is not left."""
        if self.held + length > self._limit:
            return None
        self.held += length
        if length > _SIZE:
            return memoryview(_fresh(length))
        whole = self._free.pop() if self._free else _fresh(_SIZE)
        return memoryview(whole)[:length]

    def give_back(self, payload: memoryview) -> None:
        """Nobody looks at a buffer any more that was taken here; once for each."""
        self.held -= len(payload)
        whole = payload.obj
        assert isinstance(whole, mmap.mmap), "not from here"
        if len(whole) == _SIZE and len(self._free) < _KEPT:
            self._free.append(whole)

    def hold(self, count: int) -> None:
        """``count`` bytes more are held outside of what is lent; less, if it is negative."""
        self.held += count


def _fresh(length: int) -> mmap.mmap:
    # Shared memory, which is the default, takes twice as long to come about.
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
