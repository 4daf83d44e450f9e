"""What a look at a volume brings to light, each thing once, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backends.volume.units import SECTOR
from gateway.maintenance import Finding, Severity

#: Ranges of the disk that one finding tells; what is more becomes part of the last one.
MOST_RANGES = 1000

_ORDER = list(Severity)

#: First sector of the disk, and the sector behind the last.
Span = tuple[int, int]


def ranges(spans: Iterable[Span]) -> tuple[tuple[int, int], ...]:
    """
    Spans of sectors as a finding tells them: offset and length in bytes, in order, merged.

    Of more than `MOST_RANGES` the last one reaches to the end of them all.
    """
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    if len(merged) > MOST_RANGES:
        merged[MOST_RANGES - 1][1] = merged[-1][1]
        del merged[MOST_RANGES:]
    return tuple((start * SECTOR, (end - start) * SECTOR) for start, end in merged)


class Findings:
    """What was found so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str | None], Finding] = {}

    def add(
        self,
        severity: Severity,
        key: str,
        what: str,
        spans: Iterable[Span] = (),
        snapshot: str | None = None,
    ) -> None:
        """Take note; the same of the same object once. ``spans`` are in sectors of the disk."""
        name = (key, what, snapshot)
        if name not in self._found:
            self._found[name] = Finding(severity, key, what, ranges(spans), snapshot)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Take what was found elsewhere."""
        for one in findings:
            self._found.setdefault((one.object, one.what, one.snapshot), one)

    def all(self) -> tuple[Finding, ...]:
        """The worst first, then by object."""
        return ordered(self._found.values())


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, then by object, and the disk as it is now before its snapshots."""
    return tuple(
        sorted(
            findings,
            key=lambda one: (_ORDER.index(one.severity), one.object, one.snapshot or ""),
        )
    )


def confirmed(now: Sequence[Finding], before: Sequence[Finding]) -> tuple[Finding, ...]:
    """
    Of what was found now, that which had been found before in an older state of the volume.

    A name is used once, and a writer deletes nothing that a later superblock refers to. So what
    is wrong with an object in two states, one after the other, was not just being replaced.
    """
    known = {one.object for one in before}
    return tuple(one for one in now if one.severity is Severity.NOTE or one.object in known)
