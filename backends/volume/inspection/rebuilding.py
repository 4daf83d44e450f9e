"""
The map of a volume made anew from its objects of data, as if no checkpoint was left.

Versions that are kept are made one after the other, the oldest snapshot first and the disk as
it is now at last: of each only what differs from the one before is painted, so that they share
their pages, and the tables come to say who needs which object, as if all had been written anew.
A new superblock names them when all is stored; until then nothing that was there has changed,
but that whoever wrote to the volume was taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from backends.objects.contract import Exists, IObjectStore, StoreError
from backends.volume.checkpoint import State, at_once, write
from backends.volume.checkpointing import CheckpointObjects
from backends.volume.directory import Directory
from backends.volume.extent_map import ExtentMap
from backends.volume.header import Extent
from backends.volume.inspection.checking import check
from backends.volume.inspection.clones import keep_for_clones, noted_snapshot
from backends.volume.inspection.findings import Findings, ordered
from backends.volume.inspection.foundation import Foundation, found_on
from backends.volume.inspection.log_reading import Read, read_all
from backends.volume.inspection.map_checks import side_by_side
from backends.volume.inspection.objects import source_header
from backends.volume.inspection.painting import Extents, Painting, Told, in_order
from backends.volume.inspection.taking_over import announce, confirm, fence
from backends.volume.inspection.timeline import settled
from backends.volume.inspection.view import Inspected, folder
from backends.volume.lineage import Lineage, Source
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable, Version
from backends.volume.stored_map import StoredMap
from backends.volume.superblock import Root, Snapshot, Superblock
from backends.volume.superblock_json import encode
from backends.volume.table_page import NOBODY, Entry, ObjectKind
from backends.volume.units import SECTOR
from backends.volume.values import ABSENT, DATA, HOLE
from backends.volume.values import index as index_of
from gateway.errors import ExportBusy, ExportUnavailable, Unavailable
from gateway.info import MIB
from gateway.maintenance import Finding, Progress, Severity, Verdict

#: Bytes of changed pages in memory at which they are stored.
_DIRTY = 64 * MIB


#: Raises if the volume, as its last superblock tells it, may not be taken over.
Admit = Callable[[Superblock], None]


async def rebuild(
    inspected: Inspected, admit: Admit, progress: Progress, whole: bool = False
) -> Verdict:
    """
    As `gateway.maintenance.IVolumePlace.rebuild`.

    Args:
        whole: make no new map if any object cannot be read that it is made from.

    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: something is missing without which nothing can be rebuilt.
        ExportBusy: somebody holds the volume, or takes it over just now.
        Unavailable: the store did not answer; what was there is as it was.
    """
    findings = Findings()
    try:
        foundation = await found_on(inspected, findings)
        admit(foundation.superblock)
        before = await check(inspected, progress)
        await _Rebuilder(inspected, foundation, findings, progress).run(whole)
    except StoreError as failure:
        raise Unavailable(str(failure)) from None
    after = await check(inspected, progress)
    known = {one.object for one in before.findings if one.severity is Severity.NOTE}
    ours = [
        one
        for one in findings.all()
        # What the tables had not named was no data that anybody needs.
        if one.severity is not Severity.DAMAGE or one.object not in known
    ]
    left = ordered((*ours, *after.findings))
    return Verdict(left, after.objects, before.bytes + after.bytes, repaired(before.findings, left))


def repaired(before: Sequence[Finding], after: Sequence[Finding]) -> int:
    """How many of the things that were wrong are no more."""
    left = {(one.object, one.snapshot) for one in after if one.severity is not Severity.NOTE}
    return sum(
        one.severity is not Severity.NOTE and (one.object, one.snapshot) not in left
        for one in before
    )


class _Rebuilder:
    def __init__(
        self,
        inspected: Inspected,
        foundation: Foundation,
        findings: Findings,
        progress: Progress,
    ) -> None:
        self._store: IObjectStore = inspected.store
        self._environment = inspected.environment
        self._most = inspected.extents
        self._foundation = foundation
        self._lineage: Lineage = foundation.lineage
        self._findings = findings
        self._progress = progress
        self._extents = Extents(self._ask, inspected.extents)
        self._read: list[Read] = []
        self._done = self._total = 0

    async def run(self, whole: bool) -> None:
        """
        Args:
            whole: as for `rebuild`.

        Raises:
            ExportBusy, StoreError: see `rebuild`.
        """
        last, lineage = self._foundation.superblock, self._lineage
        names = lineage.own.names
        objects = await folder(self._store, names)
        epochs = [
            name[0] for key in objects if (name := names.parse_gc(key) or names.parse_ck(key))
        ]
        await self._read_member(0, list(objects), last.first_slot)
        await self._read_ancestors()
        if whole and any(read.damaged for read in self._read):
            return
        epoch = max([last.epoch, self._read[0].epoch, *epochs])
        ours = await announce(
            self._store,
            lineage,
            last,
            self._foundation.generation,
            epoch,
            max(last.first_slot, settled(self._read[0].unsettled)),
            self._environment,
        )
        ours, end = await self._fence(ours)
        stored, indexes = self._empty(ours)
        snapshots: list[Snapshot] = []
        newest: Version | None = None
        for snapshot in ours.snapshots:
            version = snapshot.version
            root = await self._make(ours, stored, indexes, version, newest)
            snapshots.append(attrs.evolve(snapshot, root=root))
            newest = snapshot
        cloned = await noted_snapshot(self._store, self._lineage, ours)
        root = await self._make(ours, stored, indexes, end - 1, newest, cloned)
        await self._name(ours, root, snapshots)

    # The log

    async def _read_member(
        self, volume: int, keys: list[str], first: int, version: int | None = None
    ) -> None:
        """
        Args:
            first, version: slots of the log to read; without a last one, all behind the first.
        """
        names = self._lineage[volume].names
        wanted = []
        for key in keys:
            slot = names.parse_log(key)
            if slot is not None and slot >= first and (version is None or slot <= version):
                wanted.append(key)
            elif names.parse_gc(key) is not None:
                wanted.append(key)
        self._total += len(wanted)
        read = await read_all(
            self._store, self._lineage, volume, wanted, self._extents, self._one_more
        )
        self._read.append(read)
        for key, wrong in read.damaged.items():
            self._findings.add(
                Severity.DAMAGE,
                key,
                f"{wrong}. What it told is not known: where it held the newest state of the disk,"
                " there is now what was there before",
            )

    def _one_more(self) -> None:
        self._done += 1
        self._progress(self._done, self._total, "objects")

    async def _fence(self, ours: Superblock) -> tuple[Superblock, int]:
        """End the log, and read what came to it since it was read."""
        read, names = self._read[0], self._lineage.own.names
        log: dict[int, object] = {**read.log}
        for key in read.damaged:
            slot = names.parse_log(key)
            if slot is not None:
                log[slot] = None
        end = await fence(
            self._store,
            self._lineage,
            ours,
            log,  # type: ignore[arg-type]
            read.unsettled,
            self._environment,
        )
        known = {names.log(slot) for slot in read.log} | read.damaged.keys()
        objects = await folder(self._store, names)
        await self._read_member(
            0,
            [key for key in objects if key not in known and names.parse_log(key) is not None],
            ours.first_slot,
        )
        more = self._read.pop()
        read.told += more.told
        read.fences.update(more.fences)
        read.damaged.update(more.damaged)
        met = {one.epoch for one in read.fences.values()}
        first = 2 if ours.first_slot == 1 else min(met)
        met.update(ours.unfenced)
        missing = [epoch for epoch in range(first, ours.epoch) if epoch not in met]
        return (
            attrs.evolve(ours, fenced=True, pending=(), unfenced=(*ours.unfenced, *missing)),
            end,
        )

    async def _read_ancestors(self) -> None:
        for number, base in enumerate(self._foundation.bases, 1):
            objects = await folder(self._store, self._lineage[number].names)
            first = base.superblock.first_slot
            await self._read_member(number, list(objects), first, base.version)

    async def _ask(self, told: Told) -> Sequence[Extent]:
        member = self._lineage[told.source.volume]
        return (await source_header(self._store, member, told.source)).extents

    def _order(self, ours: Superblock, version: int) -> list[Told]:
        """What makes up a version, ancestors first."""
        order: list[Told] = []
        for number, base in reversed(list(enumerate(self._foundation.bases, 1))):
            read = self._read[number]
            order += in_order(
                read.told,
                read.fences,
                base.superblock.rollbacks,
                base.superblock.unfenced,
                base.version,
            )
        read = self._read[0]
        return order + in_order(read.told, read.fences, ours.rollbacks, ours.unfenced, version)

    # The map

    def _empty(self, ours: Superblock) -> tuple[StoredMap, dict[Source, int]]:
        """A map without content, and the objects that count in any version with their numbers."""
        objects = ObjectTable()
        indexes: dict[Source, int] = {}
        versions = [one.version for one in ours.snapshots]
        newest = max([1 << 62, *versions])
        for version in (*versions, newest):
            for told in self._order(ours, version):
                if told.source not in indexes:
                    indexes[told.source] = objects.reserve()
        extent_map = ExtentMap(ours.size // SECTOR, Directory())
        state = State(ancestors=len(self._lineage) - 1)
        stored = StoredMap(self._store, self._lineage, extent_map, objects, ObjectTable(), state)
        return stored, indexes

    async def _make(
        self,
        ours: Superblock,
        stored: StoredMap,
        indexes: dict[Source, int],
        version: int,
        newest: Version | None,
        cloned: Snapshot | None = None,
    ) -> Root:
        """Bring the map to a version, and store it."""
        order = self._order(ours, version)
        numbered = {indexes[told.source]: told for told in order}
        for index, told in numbered.items():
            if not told.source.volume and index not in stored.objects:
                stored.objects.add(_entry(told), index)
        sectors = stored.map.sectors
        painting = Painting(
            sectors, [(indexes[told.source], told) for told in order], self._extents, self._most
        )
        stored.state.version = version
        for start, end in painting.windows(0, sectors):
            await stored.ensure(start, end)
            now = stored.map.runs(start, end)
            told_runs = await painting.runs(start, end)
            for first, last, value, other in side_by_side(now, told_runs, start, end):
                wanted = HOLE if other == ABSENT else other
                if value != wanted:
                    _paint(stored, first, last, wanted, newest, numbered)
            if stored.map.dirty_memory > _DIRTY:
                await self._store_map(ours, stored, newest)
            stored.map.evict(_DIRTY)
        _settle(stored, numbered)
        if cloned is not None:
            await keep_for_clones(self._store, self._lineage, stored, cloned)
        return await self._store_map(ours, stored, newest)

    async def _store_map(self, ours: Superblock, stored: StoredMap, newest: Version | None) -> Root:
        wall_ms = int(self._environment.wall() * 1000)
        objects = CheckpointObjects(self._lineage, ours, wall_ms, stored.containers, stored.state)
        steps = write(
            stored.map, stored.objects, stored.containers, stored.state, newest, objects.emit
        )
        written = at_once(steps)
        assert written.root is not None, "it has been emitted"
        for key, sealed in objects.sealed():
            try:
                await self._store.put(key, sealed.parts, True)
            except Exists:
                raise ExportBusy(f"{key} exists, with other bytes than ours") from None
        written.commit()
        return objects.root(written.root)

    async def _name(self, ours: Superblock, root: Root, snapshots: Sequence[Snapshot]) -> None:
        """The superblock that makes it the truth."""
        names = self._lineage.own.names
        note = ours.journal
        if note is not None:
            records = [one.record for one in self._read[0].told if one.epoch >= note.epoch]
            note = attrs.evolve(note, lsn=max([note.lsn, *records]))
        named = attrs.evolve(
            ours,
            generation=ours.generation + 1,
            written_ms=int(self._environment.wall() * 1000),
            checkpoint=root,
            snapshots=tuple(snapshots),
            state="closed",
            journal=note,
        )
        await confirm(self._store, names, ours)
        try:
            await self._store.put(
                names.sb(named.generation), [encode(named, self._lineage.own.crypt)], True
            )
        except Exists:
            raise ExportBusy(f"{names.sb(named.generation)} exists already") from None
        await confirm(self._store, names, named)


def _entry(told: Told) -> Entry:
    moved = told.source.kind == Kind.MOVED
    inherited = told.source.volume > 0
    return Entry(
        ObjectKind.MOVED if moved else ObjectKind.DATA,
        told.source.volume,
        told.epoch,
        told.source.number,
        told.sectors,
        0,
        told.stored,
        0 if inherited else told.version,
        told.carries and not inherited,
    )


def _paint(
    stored: StoredMap,
    start: int,
    end: int,
    value: int,
    newest: Version | None,
    numbered: dict[int, Told],
) -> None:
    if value >= DATA:
        index = index_of(value)
        if index not in stored.objects:
            stored.objects.add(_entry(numbered[index]), index)
        elif stored.objects[index].held_by != NOBODY:
            stored.objects.take_back(index)
    stored.paint(start, end, value, newest)


def _settle(stored: StoredMap, numbered: dict[int, Told]) -> None:
    """What this version does not need, and no other does, may be deleted."""
    for index in numbered:
        if index in stored.objects:
            entry = stored.objects[index]
            if not (entry.live or entry.carries or entry.volume) and entry.held_by == NOBODY:
                stored.objects.free(index)


__all__ = ["ExportUnavailable", "rebuild", "repaired"]
