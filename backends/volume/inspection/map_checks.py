"""The map of each version against the objects that it refers to, the log, and what is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.volume.inspection.findings import Findings, Span
from backends.volume.inspection.painting import Painting
from backends.volume.inspection.walking import Part, RootWalk, source_of
from backends.volume.lineage import Source
from backends.volume.names import Kind
from backends.volume.runs import Run, advanced
from backends.volume.values import ABSENT, DATA
from backends.volume.values import index as index_of
from backends.volume.values import sector as sector_of
from gateway.maintenance import Severity


class Reached:
    """
    What maps refer to.

    Attributes:
        sectors: by object, the sector behind the last of its plain data that a map needs.
        live: sectors of the head, by number of the object.
    """

    def __init__(self) -> None:
        self.sectors: dict[Source, int] = {}
        self.live: dict[int, int] = {}
        self._names: dict[int, Source] = {}

    def take(self, walk: RootWalk, runs: Sequence[Run], is_head: bool) -> list[tuple[int, Span]]:
        """
        Take note of what runs refer to.

        Returns:
            Number and range of what is in no table.
        """
        strange: list[tuple[int, Span]] = []
        for start, end, value in runs:
            if value < DATA:
                continue
            index = index_of(value)
            source = self._names.get(index)
            if source is None:
                entry = walk.entry(index)
                if entry is None:
                    strange.append((index, (start, end)))
                    continue
                source = self._names[index] = source_of(entry)
            behind = sector_of(value) + end - start
            if behind > self.sectors.get(source, 0):
                self.sectors[source] = behind
            if is_head:
                self.live[index] = self.live.get(index, 0) + end - start
        return strange

    def begin(self) -> None:
        """Numbers are those of another table from now on."""
        self._names.clear()


class LogComparison:
    """
    Holds the map of the disk against what the log tells.

    Args:
        walk: over the map.
        painting: of the version that the map is of.
        readable: the volume's own objects that count in the painting, by number.
        is_whole: all that the table names could be read.
    """

    def __init__(
        self,
        walk: RootWalk,
        painting: Painting,
        readable: Mapping[int, Source],
        is_whole: bool,
        findings: Findings,
    ) -> None:
        self._walk = walk
        self._painting = painting
        self._readable = readable
        self._is_whole = is_whole
        self._wrong: dict[str, list[Span]] = {}
        self._findings = findings

    async def compare(self, part: Part) -> None:
        """
        Take one part of the map.

        Raises:
            Corrupt, StoreError: an object cannot be read once more.
        """
        assert part.runs is not None
        for start, end in self._painting.windows(part.start, part.end):
            told = await self._painting.runs(start, end)
            for first, last, value, other in side_by_side(part.runs, told, start, end):
                if not self._agree(value, other):
                    what = "a hole or zeroes"
                    if value >= DATA:
                        what = f"data of object {index_of(value)}"
                    self._wrong.setdefault(what, []).append((first, last))

    def _agree(self, value: int, told: int) -> bool:
        if value < DATA:
            # Where something cannot be read, what hides older data may be missing.
            return told < DATA or not self._is_whole
        index = index_of(value)
        entry = self._walk.entry(index)
        if entry is None or value == told:
            return True
        if entry.volume:
            return told == ABSENT
        if index not in self._readable:
            return True
        # What was moved is in two objects, with the same bytes; either may be meant.
        moved = self._readable[index].kind == Kind.MOVED
        if told >= DATA:
            moved = moved or self._readable[index_of(told)].kind == Kind.MOVED
        return moved and told >= DATA

    def tell(self, key: str) -> None:
        """
        Say what did not agree.

        Args:
            key: of the object in which the map starts.
        """
        for what, spans in self._wrong.items():
            self._findings.add(
                Severity.DAMAGE,
                key,
                f"{key}: the map says {what}, and the log tells something else",
                spans,
            )


def side_by_side(
    runs: Sequence[Run], told: Sequence[Run], start: int, end: int
) -> list[tuple[int, int, int, int]]:
    """First sector, the one behind the last, and both values of the first."""
    found = []
    numbers = iter(told)
    low, high, other = next(numbers)
    for first, last, value in runs:
        if last <= start or first >= end:
            continue
        at, stop = max(first, start), min(last, end)
        while at < stop:
            while high <= at:
                low, high, other = next(numbers)
            until = min(stop, high)
            found.append((at, until, advanced(value, at - first), advanced(other, at - low)))
            at = until
    return found
