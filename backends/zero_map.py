"""Where a disk holds data, provisioned zeroes and holes: a map of byte ranges, without I/O.

Layout: two parallel sequences, the first byte of each run and its state. The
first run starts at 0, each ends where the next one starts, the last at
``size``; neighbours differ. A map of size 0 has no runs.

Invariants:

1. ``ZERO`` and ``HOLE`` are claims that the bytes read as zeroes; only
   `ZeroMap.set` makes them.
2. ``DATA`` and ``ZERO`` are claims that a write there needs no new space.
3. There are never more than ``max_runs`` runs. A change that would make more
   turns the runs around it into ``DATA``, smallest first: claim 1 is given up
   where it was true, never made where it is false. Claim 2 may then be made
   for what was a hole, so an export answers lack of space under ``DATA`` with
   another error than "no space".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

#: May hold anything; space is set aside.
DATA = 0
#: Reads as zeroes; space is set aside.
ZERO = 1
#: Reads as zeroes; no space is set aside.
HOLE = 2

#: An insertion moves what lies behind it: at this many runs by some tens of
#: microseconds, the price of a small write to a disk. Memory: about 10 MiB.
MAX_RUNS = 2**18


class ZeroMap:
    """
    The state of every byte from 0 to ``size``.

    Args:
        size: bytes.
        state: of all of them, to begin with.
        max_runs: at least 3; see invariant 3.
    """

    __slots__ = ("_max_runs", "_starts", "_states", "size")

    def __init__(self, size: int, state: int, max_runs: int = MAX_RUNS) -> None:
        self.size = size
        self._max_runs = max_runs
        self._starts = [0] if size else []
        self._states = bytearray((state,)) if size else bytearray()

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._starts)

    def is_data(self, start: int, end: int) -> bool:
        """Whether every byte of the range is ``DATA``; the question before each write."""
        starts = self._starts
        after = bisect_right(starts, start)
        return not self._states[after - 1] and (after == len(starts) or starts[after] >= end)

    def reads_zero(self, start: int, end: int) -> bool:
        """Whether every byte of the range is ``ZERO`` or ``HOLE``."""
        first, last = self._span(start, end)
        return 0 not in self._states[first:last]

    def has_hole(self, start: int, end: int) -> bool:
        """Whether any byte of the range is ``HOLE``."""
        first, last = self._span(start, end)
        return HOLE in self._states[first:last]

    def is_hole(self, start: int, end: int) -> bool:
        """Whether every byte of the range is ``HOLE``."""
        first, last = self._span(start, end)
        return last - first == 1 and self._states[first] == HOLE

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The range as ``(start, end, state)``, in order, without gaps, neighbours differing."""
        starts, states = self._starts, self._states
        index = bisect_right(starts, start) - 1
        while start < end:
            stop = starts[index + 1] if index + 1 < len(starts) else self.size
            yield start, min(stop, end), states[index]
            start = stop
            index += 1

    def bounds(self, start: int, end: int, limit: int) -> tuple[list[int], bytearray]:
        """
        The first ``limit`` of `runs`, for those who want many at once.

        Returns:
            Where each begins, with the end of the last one behind; and their states.
        """
        if start >= end:
            return [start], bytearray()
        first, last = self._span(start, end)
        if last - first > limit:
            last = first + limit
            end = self._starts[last]
        return [start, *self._starts[first + 1 : last], end], self._states[first:last]

    def set(self, start: int, end: int, state: int) -> None:
        """
        Give the range one state.

        Args:
            start: of the range; 0 to ``size``.
            end: behind the range; ``start`` to ``size``.
            state: ``DATA``, ``ZERO`` or ``HOLE``.
        """
        if start >= end:
            return
        self._replace(start, end, state)
        while len(self._starts) > self._max_runs:
            self._coarsen(start, end)

    def occupy(self, start: int, end: int) -> list[tuple[int, int, int]] | None:
        """Make the range ``DATA``; answers with its `runs` before, None if it was that."""
        if start >= end or self.is_data(start, end):
            return None
        before = list(self.runs(start, end))
        self.set(start, end, DATA)
        return before

    def release(self, start: int, end: int) -> None:
        """Turn ``ZERO`` into ``HOLE``: the zeroes stay, their space may be gone."""
        for run_start, run_end, state in list(self.runs(start, end)):
            if state == ZERO:
                self.set(run_start, run_end, HOLE)

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """The runs that the range touches, as indices: first, and one behind the last."""
        starts = self._starts
        first = bisect_right(starts, start) - 1
        return first, bisect_left(starts, end, first + 1)

    def _replace(self, start: int, end: int, state: int) -> None:
        starts, states = self._starts, self._states
        first = bisect_right(starts, start) - 1
        last = bisect_right(starts, end, first) - 1  # the run that holds `end`, or the last one
        if first == last and states[first] == state:
            return
        new_starts: list[int] = []
        new_states: list[int] = []
        low, high = first, last + 1
        if starts[first] < start:
            if states[first] == state:
                start = starts[first]
            else:
                new_starts.append(starts[first])
                new_states.append(states[first])
        elif first and states[first - 1] == state:
            low = first - 1
            start = starts[low]
        new_starts.append(start)
        new_states.append(state)
        if end < self.size and states[last] != state:
            new_starts.append(end)
            new_states.append(states[last])
        starts[low:high] = new_starts
        states[low:high] = bytes(new_states)

    def _coarsen(self, start: int, end: int) -> None:
        """Turn the smallest run with a claim in or beside the range into ``DATA``."""
        starts = self._starts
        first, last = self._span(start, end)
        claims = [
            (self._end(index) - starts[index], index)
            for index in range(max(first - 1, 0), min(last + 1, len(starts)))
            if self._states[index] != DATA
        ]
        _, index = min(claims)
        self._replace(starts[index], self._end(index), DATA)

    def _end(self, index: int) -> int:
        return self._starts[index + 1] if index + 1 < len(self._starts) else self.size
