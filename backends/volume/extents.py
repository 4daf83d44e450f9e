"""Block status: what the overlay and the map say of a range, as extents."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from backends.volume.recent import Recent
from backends.volume.runs import Run
from backends.volume.stored_map import StoredMap
from backends.volume.units import PAGE_SECTORS, SECTOR
from backends.volume.values import ABSENT, DATA, HOLE, kind
from gateway.info import Extent
from gateway.interfaces import NowOrLater

#: Extents in one answer; the caller asks on.
_MOST = 2048

#: Pages of the map that are fetched for one answer.
_PAGES = 64

#: Runs that are looked at for one answer.
_RUNS = 16 * 1024

#: Sectors that `beyond` looks at first, and how far it goes over zeroes in all.
_LOOK = 256
_FAR = 64 * PAGE_SECTORS


def runs(recent: Recent | None, stored: StoredMap, start: int, end: int, most: int) -> list[Run]:
    """
    The newest runs from ``start`` on; they may end before ``end``. The map must be there.

    Values of the overlay and of the map are not told apart: only their kinds mean anything.
    """
    if recent is None:
        return stored.map.runs(start, end, most)
    found: list[Run] = []
    for first, last, value in recent.overlay.runs(start, end, most):
        if kind(value) == ABSENT:
            below = stored.map.runs(first, last, most)
            found += below
            if below[-1][1] < last:
                break  # the map was cut short, so what follows is not next
        else:
            found.append((first, last, value))
        if len(found) >= most:
            break
    return found


async def fetched(stored: StoredMap, start: int, end: int) -> int:
    """
    Bring some of the map into memory, from ``start`` on.

    Returns:
        How far it is there: more than ``start``, at most ``end``.
    """
    # Once, and before: what comes now is needed together.
    stored.map.evict(stored.limit)
    return await _fetched(stored, start, end)


async def _fetched(stored: StoredMap, start: int, end: int) -> int:
    stop, step = start, PAGE_SECTORS
    # From a little to more: what all of a large range needs may be a long list.
    while stop < end:
        further = min((stop + step) // PAGE_SECTORS * PAGE_SECTORS, end)
        if len(stored.map.needs(start, further)) > _PAGES:
            if step == PAGE_SECTORS:
                break
            step = PAGE_SECTORS
            continue
        stop = further
        step *= 2
    stop = max(stop, min(start + PAGE_SECTORS, end))
    while needs := stored.map.needs(start, stop):
        if len(needs) > _PAGES:
            return await _fetched(stored, start, stop)  # there are leaves now, and pages below
        await stored.supply(needs)
    return stop


def beyond(recent: Recent | None, stored: StoredMap, position: int, sectors: int) -> int:
    """
    The sector behind so many sectors of data from ``position`` on, and behind the zeroes that
    follow; at most 1 GiB of zeroes are passed. Where the map is not in memory it counts as data.
    """
    far = min(position + sectors + _FAR, stored.map.sectors)
    look = _LOOK
    while position < far:
        # Little by little, as all runs of what is looked at are made.
        stop = min(position + look, (position // PAGE_SECTORS + 1) * PAGE_SECTORS, far)
        look *= 2
        if stored.map.needs(position, stop):
            found: list[Run] = [(position, stop, DATA)]
        else:
            found = runs(recent, stored, position, stop, _MOST)
        for start, end, value in found:
            if kind(value) == DATA:
                if end - start > sectors:
                    return start + sectors
                sectors -= end - start
            position = end
    return min(position, far)


def extents(
    recent: Recent | None, stored: StoredMap, offset: int, length: int, first_only: bool
) -> NowOrLater[list[Extent]]:
    """As `IExport.extents`."""
    start, end = offset // SECTOR, -(-(offset + length) // SECTOR)
    if not stored.map.needs(start, end):
        return _extents(recent, stored, offset, end * SECTOR, first_only)
    return Deferred.fromCoroutine(_later(recent, stored, offset, end, first_only))


async def _later(
    recent: Recent | None, stored: StoredMap, offset: int, end: int, first_only: bool
) -> list[Extent]:
    start = offset // SECTOR
    while stored.map.needs(start, end):
        end = await fetched(stored, start, end)
    return _extents(recent, stored, offset, end * SECTOR, first_only)


def _extents(
    recent: Recent | None, stored: StoredMap, offset: int, end: int, first_only: bool
) -> list[Extent]:
    """
    Args:
        offset, end: bytes; the map must be there.
    """
    first, last = offset // SECTOR, -(-end // SECTOR)
    most = 1 if first_only else _MOST
    found: list[Extent] = []
    # Runs of one kind lie side by side (data in two objects): more runs than extents.
    position, seen = first, 0
    at_once = 16 if first_only else _MOST
    while position < last and len(found) <= most and seen < _RUNS:
        some = runs(recent, stored, position, last, at_once)
        seen += len(some)
        at_once = min(at_once * 4, _MOST)
        for run_start, run_end, value in some:
            state = kind(value)
            hole, zero = state == HOLE, state != DATA
            length = run_end * SECTOR - max(run_start * SECTOR, offset)
            if found and (found[-1].hole, found[-1].zero) == (hole, zero):
                found[-1].length += length
            else:
                found.append(Extent(length, hole, zero))
            position = run_end
        if len(found) > most:
            break
    return found[:most]
