"""Memory for long payloads, kept for the next one."""

from __future__ import annotations

import mmap

from gateway.info import MIB

#: Bytes. Longer payloads are rare, and get memory of their own.
_SIZE = 2 * MIB

#: Buffers kept when nobody uses them, for all connections together.
_KEPT = 4


class PayloadMemory:
    """
    Lends buffers.

    Fresh memory costs as much in page faults as receiving into it does, so a
    few buffers are kept. What is handed out fresh is anonymous memory: it is
    used only as far as bytes have come for it, however much a request header
    of 28 bytes announced.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self, length: int) -> memoryview:
        """A buffer of ``length`` bytes, holding anything."""
        if length > _SIZE:
            return memoryview(mmap.mmap(-1, length))
        whole = self._free.pop() if self._free else mmap.mmap(-1, _SIZE)
        return memoryview(whole)[:length]

    def give_back(self, payload: bytes | memoryview) -> None:
        """Nobody looks at a payload any more; those that were not taken here are ignored."""
        if isinstance(payload, memoryview) and len(self._free) < _KEPT:
            whole = payload.obj
            if isinstance(whole, mmap.mmap) and len(whole) == _SIZE:
                self._free.append(whole)
