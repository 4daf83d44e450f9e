"""What the stored map does not hold yet: the overlay, and the segments that it points into."""

from __future__ import annotations

from collections.abc import Sequence

from backends.volume.header import Extent
from backends.volume.layered import LayeredMap
from backends.volume.segment import TOUCH, Run, Segment
from backends.volume.units import MAX_SECTORS, SECTOR
from backends.volume.values import ABSENT, DATA, data, index, kind, marked
from gateway.interfaces import Buffer


class StoredSegment:
    """
    A log object found at attaching whose extents are not in the map yet.

    Attributes:
        id: carried by the overlay's values.
        slot: of the log.
    """

    __slots__ = ("id", "slot")

    cost = 0

    def __init__(self, id: int, slot: int) -> None:
        self.id = id
        self.slot = slot


class Recent:
    """
    The newest state of every sector that changed since the map was brought up to date.

    Attributes:
        overlay: a `LayeredMap`; ``ABSENT`` where the stored map holds.
        segments: by id, all that the overlay may point into.
        open: the `Segment` that takes changes.
        held: bytes of memory that changes take, those that no longer count included.
    """

    def __init__(self) -> None:
        # It may grow with the disk, and what is absent costs nothing.
        self.overlay = LayeredMap(MAX_SECTORS, ABSENT)
        self.segments: dict[int, Segment | StoredSegment] = {}
        self.held = 0
        self._last_id = 0
        self.open = self._next()

    def _next(self) -> Segment:
        self._last_id += 1
        segment = Segment(self._last_id)
        self.segments[segment.id] = segment
        return segment

    def write(self, start: int, payload: Buffer) -> None:
        """Take whole sectors of data."""
        end = start + len(payload) // SECTOR
        segment = self.open
        runs = self.overlay.runs(start, end, 2)
        if len(runs) == 1 and runs[0][2] >= DATA and index(runs[0][2]) == segment.id:
            segment.overwrite(runs[0][2], payload)
            return
        segment.most_extents += self._more(runs)
        self.overlay.set(start, end, segment.append(start, payload))
        self.held += len(payload) + TOUCH

    def mark(self, start: int, end: int, state: int) -> None:
        """Make a range ``HOLE`` or ``ZERO``."""
        self.open.most_extents += self._more(self.overlay.runs(start, end, 2))
        self.overlay.set(start, end, self.open.mark(start, end, state))
        self.held += TOUCH

    def insist(self) -> None:
        """Have the open segment stored, also if it stays without content."""
        self.open.insist()
        self.held += TOUCH

    def _more(self, runs: list[Run]) -> int:
        """How many extents a change may add where the overlay has these runs, the first two."""
        # One of its own; only in the middle of a run of the same segment it leaves two of one.
        only = runs[0][2]
        is_inside = len(runs) == 1 and kind(only) != ABSENT and index(only) == self.open.id
        return 2 if is_inside else 1

    def seal(self) -> tuple[Segment, list[Run]]:
        """
        Close the open segment and begin another.

        Returns:
            The closed one, and the runs that are its own, for `Segment.gather`.
        """
        segment = self.open
        live = segment.live(self.overlay.runs)
        self.open = self._next()
        return segment, live

    def recover(self, slot: int, extents: Sequence[Extent]) -> StoredSegment:
        """Lay a log object over what was recovered before it."""
        self._last_id += 1
        segment = StoredSegment(self._last_id, slot)
        for start, length, state, where in extents:
            value = data(segment.id, where) if state == DATA else marked(state, segment.id)
            self.overlay.set(start, start + length, value)
        self.segments[segment.id] = segment
        # The open segment is the newest.
        del self.segments[self.open.id]
        self.open = self._next()
        return segment

    def forget(self, segment: Segment | StoredSegment) -> None:
        """The map holds what the segment held, and the overlay points into it no more."""
        del self.segments[segment.id]
        self.held -= segment.cost

    def is_all(self, start: int, end: int, state: int) -> bool | None:
        """
        Whether a range is all of one kind; None where the stored map decides.
        """
        runs = self.overlay.runs(start, end, 9)
        kinds = {kind(run[2]) for run in runs}
        if kinds == {ABSENT}:
            return None
        return kinds == {state} and runs[-1][1] == end
