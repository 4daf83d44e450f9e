"""Guessing what will be read next, in bytes of the disk."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from gateway.info import KIB, MIB

#: The first guess, what each further one is multiplied by, and the most.
_FIRST, _FACTOR, _MOST = 128 * KIB, 4, 8 * MIB

#: Streams that are followed at once.
_STREAMS = 32

#: Reads in a row before anything is guessed: two by chance are common.
_PROOF = 3

#: A read may start this far before or behind the end of the last one and still
#: belong to its stream: requests of one client overtake each other.
_SLACK = MIB


@attrs.define
class _Stream:
    reached: int  # the end of the furthest read
    ahead: int  # where the last guess ended
    window: int
    reads: int = 1


class ReadAhead:
    """
    Follows sequential readers.

    Args:
        size: of the disk in bytes.
        most: bytes of the largest guess.
    """

    def __init__(self, size: int, most: int = _MOST) -> None:
        self._size = size
        self._most = most
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self._names = 0

    def after(self, offset: int, length: int) -> tuple[int, int] | None:
        """
        Take note of a read.

        Returns:
            Start and end of what should be got ready now; None for nothing.
        """
        end = offset + length
        for name in reversed(self._streams):
            stream = self._streams[name]
            if stream.reached - _SLACK <= offset <= stream.reached + _SLACK // 4:
                self._streams.move_to_end(name)
                return self._follow(stream, end)
        self._names += 1
        self._streams[self._names] = _Stream(end, end, 0)
        if len(self._streams) > _STREAMS:
            self._streams.popitem(last=False)
        return None

    def _follow(self, stream: _Stream, end: int) -> tuple[int, int] | None:
        stream.reads += 1
        stream.reached = max(stream.reached, end)
        if stream.reads < _PROOF:
            return None
        # Half a window in hand is enough to go on without a pause.
        if stream.ahead - stream.reached > stream.window // 2:
            return None
        stream.window = min(max(stream.window * _FACTOR, _FIRST), self._most)
        start = max(stream.ahead, stream.reached)
        stream.ahead = min(start + stream.window, self._size)
        return (start, stream.ahead) if start < stream.ahead else None
