"""Plain frames in memory: the least recently used go when there are too many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeAlias

from backends.volume.neighbours import Neighbours
from backends.volume.units import FRAME

#: Pieces that there is room for, at least, however much is brought along.
_PIECES = 32

#: What was written and not read since has one part of so many.
_WRITTEN = 4

_Place: TypeAlias = "tuple[FrameCache, Hashable]"
_Frames: TypeAlias = "OrderedDict[_Place, bytes]"


class FrameMemory:
    """
    What several caches share: of all their frames the least recently used go.

    What was written and not read since has a share of it. Guests keep what they write
    themselves; without the share, a disk that is written to would drive out what is read.

    Args:
        limit: bytes of data that are kept at most; 0 keeps nothing.

    Attributes:
        bytes: of data in it.
        neighbours: learns from what becomes of frames that were not asked for.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.neighbours = Neighbours()
        self._frames: _Frames = OrderedDict()  # the least recently used first
        self._unasked: set[_Place] = set()
        self._written: _Frames = OrderedDict()  # and not read since; the oldest first
        self._written_bytes = 0

    def resize(self, limit: int) -> None:
        """Have another limit from now on."""
        self.limit = limit
        self._make_room()

    def width(self, gets: int) -> int:
        """As `Neighbours.width`, and less where there is little room."""
        room = self.limit // FRAME // _PIECES
        return min(self.neighbours.width(gets), 1 << max(room.bit_length() - 1, 0))

    def holds(self, place: _Place) -> bool:
        """For caches; no use of the frame."""
        return place in self._frames or place in self._written

    def get(self, place: _Place) -> bytes | None:
        """For caches."""
        frame = self._frames.get(place)
        if frame is None:
            frame = self._written.pop(place, None)
            if frame is not None:
                self._written_bytes -= len(frame)
                self._frames[place] = frame
            return frame
        self._frames.move_to_end(place)
        if place in self._unasked:
            self._unasked.remove(place)
            self.neighbours.used()
        return frame

    def put(self, place: _Place, frame: bytes, asked: bool) -> None:
        """For caches."""
        self._remove(place)
        self._frames[place] = frame
        self._count(place, len(frame))
        if not asked:
            self._unasked.add(place)
        self._make_room()

    def put_written(self, place: _Place, frame: bytes) -> None:
        """For caches."""
        self._remove(place)
        self._written[place] = frame
        self._written_bytes += len(frame)
        self._count(place, len(frame))
        self._make_room()

    def drop(self, cache: FrameCache) -> None:
        """Forget all that is in a cache."""
        for frames in (self._frames, self._written):
            for place in [place for place in frames if place[0] is cache]:
                self._remove(place)

    def _make_room(self) -> None:
        while self._written_bytes * _WRITTEN > self.limit:
            self._remove(next(iter(self._written)))
        while self.bytes > self.limit:
            place = next(iter(self._frames))
            if place in self._unasked:
                self.neighbours.wasted()
            self._remove(place)

    def _remove(self, place: _Place) -> None:
        frame = self._frames.pop(place, None)
        if frame is not None:
            self._unasked.discard(place)
        else:
            frame = self._written.pop(place, None)
            if frame is None:
                return
            self._written_bytes -= len(frame)
        self._count(place, -len(frame))

    def _count(self, place: _Place, change: int) -> None:
        self.bytes += change
        place[0].bytes += change


class FrameCache:
    """
    The frames of one volume. Every call takes the same time, whatever the number of frames.

    Args:
        memory: where they are kept, perhaps beside those of other volumes.

    Attributes:
        memory: the same.
        bytes: of data in it.
        hits, misses: answers of `get` so far.
    """

    def __init__(self, memory: FrameMemory) -> None:
        self.memory = memory
        self._is_closed = False
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether a frame is here; it does not count as used."""
        return self.memory.holds((self, key))

    def get(self, key: Hashable) -> bytes | None:
        """The frame, which counts as used now; None if it is not here."""
        frame = self.memory.get((self, key))
        if frame is None:
            self.misses += 1
        else:
            self.hits += 1
        return frame

    def put(self, key: Hashable, frame: bytes, asked: bool = True) -> None:
        """
        Keep a frame, in the place of an earlier one; one larger than the limit is not kept.

        Args:
            asked: whether anybody wants it, or it was brought along.
        """
        if not self._is_closed:
            self.memory.put((self, key), frame, asked)

    def put_written(self, key: Hashable, frame: bytes) -> None:
        """Keep a frame that was written, in the place of an earlier one; see `FrameMemory`."""
        if not self._is_closed:
            self.memory.put_written((self, key), frame)

    def drop(self) -> None:
        """Forget everything."""
        self.memory.drop(self)

    def close(self) -> None:
        """Forget everything, and keep nothing more: what is on its way may come yet."""
        self._is_closed = True
        self.drop()
