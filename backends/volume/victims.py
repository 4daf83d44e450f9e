"""
Which objects the collector empties next, by the costs and benefits of log-structured file systems.

An object whose share ``u`` is live gives back ``1 - u`` for reading it and
writing ``u`` elsewhere; the older its data, the longer that lasts. So objects
are ranked by ``(1 - u) * age / (1 + u)`` (Rosenblum and Ousterhout, "The
design and implementation of a log-structured file system", 1992, section 3.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import Protocol

from backends.volume.table_page import NOBODY
from backends.volume.units import SECTOR
from gateway.info import MIB


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    When the collector works, and on how much.

    Attributes:
        start: it begins when less than this share of all sectors is live,
        stop: and goes on until this share is.
        round: most objects to empty at once.
        small: bytes; objects of less data than this are small.
        gathered: small ones, or ones that only carry holes and zeroes, are
            merged when there are more than so many.
    """

    start: float = 0.75
    stop: float = 0.80
    round: int = 16
    small: int = MIB
    gathered: int = 64


class Candidate(Protocol):
    """What is asked of an entry of the object table; see there."""

    @property
    def volume(self) -> int: ...

    @property
    def sectors(self) -> int: ...

    @property
    def live(self) -> int: ...

    @property
    def birth(self) -> int: ...

    @property
    def carries(self) -> bool: ...

    @property
    def held_by(self) -> int: ...


def collectable(entry: Candidate, newest_snapshot: int | None) -> bool:
    """Whether freeing what is dead in an object is for the collector of this volume, and of use."""
    oldest = 0 if newest_snapshot is None else newest_snapshot + 1
    return not entry.volume and entry.held_by == NOBODY and entry.birth >= oldest


def victims(
    entries: Iterable[tuple[int, Candidate]],
    newest_snapshot: int | None,
    checkpoint: int,
    running: bool = False,
    thresholds: Thresholds | None = None,
) -> list[int]:
    """
    The objects whose live data, holes and zeroes are to be moved now.

    Objects that only carry holes and zeroes are also chosen as soon as no
    older object has data that these could hide.

    Objects that a snapshot may hold are left alone, as moving their data would
    free nothing; so are those of ancestors, and those that the log still
    needs for recovery.

    Args:
        entries: index and entry of every object.
        newest_snapshot: its version; None without snapshots.
        checkpoint: version of the checkpoint that was committed last.
        running: a round has just ended, so that `Thresholds.stop` counts.

    Returns:
        Indexes, the most worthwhile first; empty if there is nothing to do.
    """
    limits = thresholds or Thresholds()
    small_sectors = limits.small // SECTOR
    total = live = 0
    first_data = checkpoint + 1
    sparse: list[tuple[float, int]] = []
    small: list[tuple[int, int]] = []
    carriers: list[tuple[int, int]] = []
    for index, entry in entries:
        if entry.sectors and entry.birth < first_data:
            first_data = entry.birth
        if not collectable(entry, newest_snapshot):
            continue
        total += entry.sectors
        live += entry.live
        if entry.birth > checkpoint:
            continue
        if not entry.live:
            if entry.carries:
                carriers.append((entry.birth, index))
                if entry.sectors:  # dead data that holes and zeroes keep in the store
                    sparse.append((checkpoint - entry.birth + 1, index))
            continue
        if entry.sectors < small_sectors:
            small.append((entry.birth, index))
        used = entry.live / entry.sectors
        if used < 1:
            age = checkpoint - entry.birth + 1
            sparse.append(((1 - used) * age / (1 + used), index))

    chosen: dict[int, None] = {}
    if live < total * (limits.stop if running else limits.start):
        chosen.update((index, None) for _worth, index in nlargest(limits.round, sparse))
    if len(small) > limits.gathered:
        chosen.update((index, None) for _birth, index in sorted(small))
    if len(carriers) > limits.gathered:
        chosen.update((index, None) for _birth, index in sorted(carriers))
    # Where no older object has data, live or dead, nothing is hidden that could come back.
    chosen.update((index, None) for birth, index in sorted(carriers) if birth <= first_data)
    return list(chosen)[: limits.round]
