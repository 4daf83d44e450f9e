"""
Guessing what will be read next, in bytes of the disk.

Holes and zeroes cost nothing to read, and who copies a disk out leaves them
out. So a stream goes on behind a hole, and guesses are counted in bytes of data.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs

from gateway.info import KIB, MIB

#: The first guess, unless reads are longer; what each further one is multiplied by; the most.
#: A store gives some 100 MB a second to one request, and several requests at once get more.
_FIRST, _FACTOR, MOST = 128 * KIB, 4, 32 * MIB

#: From here on a guess is only doubled: it is in vain if reading ends here.
_MUCH = 2 * MIB

#: Streams that are followed at once.
_STREAMS = 32

#: Reads in a row before anything is guessed: two by chance are common, but not of this many bytes.
_PROOF, _LONG = 3, 128 * KIB

#: A read may start this far before or behind the end of the last one and still
#: belong to its stream: requests of one client overtake each other.
_SLACK = MIB

#: The position, in bytes, behind so many bytes of data from a position on, and
#: behind the zeroes that follow them; what is unknown counts as data. Never behind the disk's
#: end, wherever that is just now.
Beyond = Callable[[int, int], int]

#: Whether data begins at a position, in bytes: there is none just before it. False if unknown.
Begins = Callable[[int], bool]


def _unknown(position: int) -> bool:
    return False


@attrs.define
class _Stream:
    begun: int  # where its first read began
    reached: int  # the end of the furthest read
    ahead: int  # where the last guess ended
    window: int = 0
    in_hand: int = 0  # bytes of data that were guessed and not read yet
    reads: int = 1
    resumes: int | None = None  # where data goes on behind `reached`, once that was asked


class ReadAhead:
    """
    Follows sequential readers.

    Args:
        most: bytes of the largest guess.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self._names = 0
        #: Streams by where they have got to, in units of `_SLACK`; of several the newest.
        self._places: dict[int, int] = {}

    def after(
        self, offset: int, length: int, beyond: Beyond, begins: Begins = _unknown
    ) -> tuple[int, int] | None:
        """
        Take note of a read, before it asks for anything.

        Args:
            beyond: see `Beyond`; asked about what lies ahead of streams.
            begins: see `Begins`; asked about long reads that belong to no stream.

        Returns:
            Start and end of what should be got ready now; None for nothing. It holds the
            read itself where one request is better than two.
        """
        name = self._stream_of(offset, length, beyond)
        if name is not None:
            self._streams.move_to_end(name)
            stream = self._streams[name]
            self._leave(name, stream)
            guess = self._follow(stream, offset + length, length, beyond)
            self._places[stream.reached // _SLACK] = name
            return guess
        self._names += 1
        stream = _Stream(offset, offset + length, offset + length)
        self._streams[self._names] = stream
        self._places[(offset + length) // _SLACK] = self._names
        if len(self._streams) > _STREAMS:
            self._leave(*self._streams.popitem(last=False))
        # Whoever asks for much, from just where data begins, knows where that is: it copies.
        if length < _LONG or not begins(offset):
            return None
        guess = self._guess(stream, length, beyond)
        return None if guess is None else (offset, guess[1])

    def _leave(self, name: int, stream: _Stream) -> None:
        place = stream.reached // _SLACK
        if self._places.get(place) == name:
            del self._places[place]

    def _stream_of(self, offset: int, length: int, beyond: Beyond) -> int | None:
        """The name of the stream that a read belongs to."""
        place = offset // _SLACK
        for near in (place, place + 1, place - 1):
            there = self._places.get(near)
            if there is not None and _near(self._streams[there].reached, offset):
                return there
        for name in reversed(self._streams):
            stream = self._streams[name]
            if stream.window:
                # Who copies with many requests under way begins many places before it ends one.
                if length >= _LONG and stream.begun <= offset <= stream.ahead:
                    return name
                if stream.resumes is None:
                    stream.resumes = beyond(stream.reached, 0)
                if _near(stream.resumes, offset):
                    return name
        return None

    def _follow(
        self, stream: _Stream, end: int, length: int, beyond: Beyond
    ) -> tuple[int, int] | None:
        stream.reads += 1
        if end > stream.reached:
            stream.reached, stream.resumes = end, None
        stream.in_hand = max(stream.in_hand - length, 0) if stream.ahead > end else 0
        if stream.reads < _PROOF and length < _LONG:
            return None
        # Half a window in hand is enough to go on without a pause.
        if stream.in_hand > stream.window // 2:
            return None
        return self._guess(stream, length, beyond)

    def _guess(self, stream: _Stream, length: int, beyond: Beyond) -> tuple[int, int] | None:
        """What lies ahead of a stream, more than the last time."""
        last = max(stream.window, length, _FIRST // _FACTOR)
        stream.window = min(last * (_FACTOR if last < _MUCH else 2), self._most)
        start = max(stream.ahead, stream.reached)
        stream.ahead = beyond(start, stream.window)
        stream.in_hand += stream.window
        return (start, stream.ahead) if start < stream.ahead else None


def _near(reached: int, offset: int) -> bool:
    return reached - _SLACK <= offset <= reached + _SLACK // 4
