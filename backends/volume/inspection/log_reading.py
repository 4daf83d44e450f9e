"""All that a volume's objects of data say of themselves, without any checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from backends.objects.contract import IObjectStore
from backends.volume.inspection.objects import is_of_another, log_header, source_header, start_of
from backends.volume.inspection.painting import Extents, Told, told_of
from backends.volume.inspection.slice_reading import GETS
from backends.volume.inspection.timeline import Slot
from backends.volume.lineage import Lineage, Member, Source
from backends.volume.names import Kind
from backends.volume.turns import each
from gateway.errors import Corrupt


@attrs.define
class Read:
    """
    What the objects of one volume say.

    Attributes:
        told: of data, in the log and moved.
        fences: by slot.
        unsettled: of data in the log by slot: how many slots in front of it were not known to
            be stored.
        damaged: keys of objects that cannot be read, and why. Moved objects of another volume,
            deleted long ago, are none.
        bytes: read.
    """

    told: list[Told] = attrs.field(factory=list)
    fences: dict[int, Slot] = attrs.field(factory=dict)
    unsettled: dict[int, int] = attrs.field(factory=dict)
    damaged: dict[str, str] = attrs.field(factory=dict)
    bytes: int = 0

    @property
    def log(self) -> dict[int, Slot]:
        """What lies in the slots of the log."""
        data = {
            one.version: Slot(Kind.DATA, one.epoch, 0)
            for one in self.told
            if one.source.kind == Kind.DATA
        }
        return {**data, **self.fences}

    @property
    def epoch(self) -> int:
        """The highest that was met."""
        met = [one.epoch for one in self.told] + [one.epoch for one in self.fences.values()]
        return max(met, default=0)


async def read_all(
    store: IObjectStore,
    lineage: Lineage,
    volume: int,
    keys: Iterable[str],
    extents: Extents,
    read: Callable[[], None],
) -> Read:
    """
    Read the headers of a volume's log and of what its collector moved.

    Args:
        volume: number of the lineage's member.
        keys: of its objects.
        extents: takes what they tell.
        read: called after each.

    Raises:
        StoreError: the store did not answer.
    """
    member = lineage[volume]
    names = member.names
    found = Read()

    async def one(key: str) -> None:
        slot, moved = names.parse_log(key), names.parse_gc(key)
        try:
            if slot is not None:
                header = await log_header(store, member, slot)
                source = Source(volume, Kind.DATA, 0, slot)
            elif moved is not None:
                source = Source(volume, Kind.MOVED, *moved)
                header = await source_header(store, member, source)
            else:
                return
        except Corrupt as wrong:
            if moved is None or not await _is_strange(store, member, key):
                found.damaged[key] = str(wrong)
            return
        finally:
            read()
        found.bytes += header.length
        if header.kind == Kind.FENCE:
            found.fences[header.position] = Slot(Kind.FENCE, header.epoch, header.number)
            return
        told = told_of(source, header)
        found.told.append(told)
        extents.keep(told, header.extents)
        if header.kind == Kind.DATA:
            found.unsettled[header.position] = header.unsettled

    await each(sorted(keys), one, GETS)
    return found


async def _is_strange(store: IObjectStore, member: Member, key: str) -> bool:
    try:
        return is_of_another(await start_of(store, key), member)
    except Corrupt:
        return False
