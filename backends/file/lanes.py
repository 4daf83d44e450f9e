"""How much of the threads one export may take, and the queue for those lanes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

#: Requests of one export in threads at once. All exports share the threads, 16
#: unless the operator says otherwise: a disk that hangs keeps these eight and
#: one for a flush, and leaves as good as half to the others. More than eight
#: at once gain little: what is long is copied under one lock of the file, and
#: what is short is done faster than the reactor hands it out.
WIDTH = 8


class Lanes:
    """
    A fixed number of lanes; who finds none free waits, first in, first out.

    Args:
        width: how many.
    """

    __slots__ = ("_free", "_waiting")

    def __init__(self, width: int = WIDTH) -> None:
        self._free = width
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, begin: Callable[[], None]) -> None:
        """Call ``begin`` on a lane: now, or when one is free. `leave` is due once it is done."""
        if self._free:
            self._free -= 1
            begin()
        else:
            self._waiting.append(begin)

    def leave(self) -> None:
        """Give a lane up, to whoever waits longest."""
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1
