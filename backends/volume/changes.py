"""Where a disk differs from one of its snapshots."""

from __future__ import annotations

from backends.volume.extents import fetched
from backends.volume.recent import Recent
from backends.volume.runs import Run
from backends.volume.stored_map import StoredMap
from backends.volume.units import SECTOR
from backends.volume.values import ABSENT, DATA, kind
from gateway.info import Change

#: Changes in one answer; the caller asks on.
_MOST = 2048

#: Sectors compared at a time: 1 GiB.
_SPAN = 1 << 21


async def changes(
    recent: Recent,
    now: StoredMap,
    then: StoredMap,
    offset: int,
    length: int,
    first_only: bool,
) -> list[Change]:
    """
    Compare the newest state with a snapshot's.

    Data is what it was where both maps name the same sector of the same
    object: objects never change, and the collector moves nothing that a
    snapshot may hold. Everything else that is data on either side may differ.

    Args:
        recent, now: of the disk.
        then: of the snapshot; the disk may have grown since.
        offset, length: bytes.
    """
    position, end = offset // SECTOR, -(-(offset + length) // SECTOR)
    most = 1 if first_only else _MOST
    found: list[Change] = []
    while position < end and len(found) <= most:
        stop = min(end, position + _SPAN)
        old_end = then.map.sectors
        stop = await fetched(now, position, stop)
        if position < old_end:
            stop = min(stop, await fetched(then, position, min(stop, old_end)))
            if now.map.needs(position, stop) or then.map.needs(position, stop):
                continue  # one of them was evicted while the other came
        for start, behind, dirty in _compared(recent, now, then, position, stop):
            size = behind * SECTOR - max(start * SECTOR, offset)
            if found and found[-1].dirty == dirty:
                found[-1].length += size
            else:
                found.append(Change(size, dirty))
        position = stop
    return found[:most]


def _compared(
    recent: Recent, now: StoredMap, then: StoredMap, start: int, end: int
) -> list[tuple[int, int, bool]]:
    """First sector, the one behind the last, and whether they may differ."""
    compared: list[tuple[int, int, bool]] = []
    old_end = min(end, then.map.sectors)
    for first, last, value in recent.overlay.runs(start, end):
        if kind(value) == ABSENT:
            newest: list[Run] = now.map.runs(first, last)
        else:
            # What the overlay has is younger than any snapshot: data there is never the same.
            newest = [(first, last, value if kind(value) < DATA else -1)]
        for begin, stop, current in newest:
            if begin < old_end:
                compared += _against(then, begin, min(stop, old_end), current)
            if stop > old_end:
                compared.append((max(begin, old_end), stop, current == -1 or current >= DATA))
    return compared


def _against(then: StoredMap, start: int, end: int, current: int) -> list[tuple[int, int, bool]]:
    if current == -1:
        return [(start, end, True)]
    compared = []
    for first, last, old in then.map.runs(start, end):
        if current < DATA:
            differs = old >= DATA
        else:
            differs = old != current + first - start
        compared.append((first, last, differs))
    return compared
