"""What a volume takes in its store, and what collecting would give back."""

from __future__ import annotations

import attrs

from backends.objects.contract import IObjectStore, StoreError
from backends.objects.counting import CountingStore
from backends.volume.environment import Options
from backends.volume.inspection import left_overs
from backends.volume.inspection.findings import Findings
from backends.volume.inspection.log_checks import LogRead, check_log, check_superblocks
from backends.volume.inspection.view import Inspected, View, look
from backends.volume.inspection.walking import RootWalk, source_of
from backends.volume.layered import LayeredMap
from backends.volume.object_table import ObjectTable
from backends.volume.runs import Run
from backends.volume.superblock import Snapshot
from backends.volume.table_page import FREE, NOBODY, Entry
from backends.volume.units import SECTOR
from backends.volume.values import ABSENT, DATA, ZERO, data, index, kind
from backends.volume.victims import Candidate, Thresholds, victims
from gateway.errors import Corrupt, Unavailable
from gateway.maintenance import Progress, SnapshotUsage, Usage

#: Beside the kinds of the map: data that lies in objects of ancestors.
_INHERITED = -1

#: Rounds of collecting that are thought through.
_ROUNDS = 100_000


async def usage(inspected: Inspected, progress: Progress) -> Usage:
    """
    As `gateway.maintenance.IVolumePlace.usage`. Only maps and tables are read.

    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: it needs a key, or another one.
        Corrupt: map or tables are damaged.
        Unavailable: the store did not answer.
    """
    store = CountingStore(inspected.store)
    try:
        return await _Measuring(attrs.evolve(inspected, store=store), progress).usage(store)
    except StoreError as failure:
        raise Unavailable(str(failure)) from None


async def garbage(inspected: Inspected, options: Options, progress: Progress) -> tuple[int, int]:
    """
    As `gateway.maintenance.IVolumePlace.garbage`.

    Args:
        options: when the collector works.

    Raises:
        UnknownExport, ExportUnavailable, Corrupt, Unavailable: as for `usage`.
    """
    try:
        return await _Measuring(inspected, progress).garbage(options)
    except StoreError as failure:
        raise Unavailable(str(failure)) from None


class _Measuring:
    def __init__(self, inspected: Inspected, progress: Progress) -> None:
        self._inspected = inspected
        self._store: IObjectStore = inspected.store
        self._progress = progress

    async def usage(self, store: CountingStore) -> Usage:
        view, head, log, left = await self._look()
        kinds = await self._kinds(head, log)
        entries = [] if head.loaded is None else list(head.loaded.table.items())
        # What refers to an object only becomes less: of all versions one refers to all of it.
        needed = {source_of(entry): entry.live for _, entry in entries}
        snapshots = []
        for one in view.snapshots():
            table = await self._table(view, one)
            live = 0
            for entry in (entry for _, entry in table.items()):
                live += entry.live
                source = source_of(entry)
                if source in needed:
                    needed[source] = max(needed[source], entry.live)
            snapshots.append(SnapshotUsage(one.name, live * SECTOR, _unique(view, head, one)))
        own = [entry for _, entry in entries if not entry.volume]
        names, objects = view.names, view.objects
        return Usage(
            size=view.superblock.size,
            data=kinds[DATA],
            zero=kinds[ZERO],
            hole=view.superblock.size - kinds[DATA] - kinds[ZERO],
            live=kinds[DATA] - kinds[_INHERITED],
            inherited=kinds[_INHERITED],
            stored=sum(objects.values()),
            stored_data=sum(
                size
                for key, size in objects.items()
                if names.parse_log(key) is not None or names.parse_gc(key) is not None
            ),
            dead=sum(entry.sectors - needed[source_of(entry)] for entry in own) * SECTOR,
            objects=len(objects),
            orphans=sum(left.values()),
            requests=sum(
                count.requests
                for count in (
                    store.counters.get,
                    store.counters.head,
                    store.counters.list,
                    store.counters.put,
                    store.counters.delete,
                )
            ),
            snapshots=tuple(snapshots),
        )

    async def garbage(self, options: Options) -> tuple[int, int]:
        view, head, _, left = await self._look()
        freed = 0
        table = {} if head.loaded is None else dict(head.loaded.table.items())
        for entry in table.values():
            if entry.held_by == FREE:
                freed += view.objects.get(view.lineage.key(source_of(entry)), 0)
        superblock = view.superblock
        if superblock.checkpoint is None:
            return 0, sum(left.values())
        newest = superblock.snapshots[-1].version if superblock.snapshots else None
        thresholds = Thresholds(start=options.live_low, stop=options.live_high)
        entries: dict[int, Candidate] = {**table}
        emptied = 0
        for round_ in range(_ROUNDS):
            chosen = victims(
                entries.items(), newest, superblock.checkpoint.version, round_ > 0, thresholds
            )
            if not chosen:
                break
            emptied += len(chosen)
            moved = sum(entries.pop(index).live for index in chosen)
            if moved:
                # Where it goes is dense, and too young to be emptied again.
                entries[-1 - round_] = _Dense(moved, moved)
        return emptied, sum(left.values()) + freed

    async def _look(self) -> tuple[View, RootWalk, LogRead, dict[str, int]]:
        view = await look(self._inspected)
        head = RootWalk(self._store, view.lineage, view.superblock.checkpoint, view.superblock.size)
        await head.open()
        _refuse(head)
        findings = Findings()
        outdated = await check_superblocks(self._store, view, findings)
        log = await check_log(self._store, view, head, findings)
        left = await left_overs.find(self._store, view, head, log, outdated)
        return view, head, log, left.orphans

    async def _kinds(self, head: RootWalk, log: LogRead) -> dict[int, int]:
        """Bytes of the disk of each kind, and of what is inherited; the log's tail included."""
        overlay = LayeredMap(head.sectors, ABSENT)
        for header in log.tail:
            for start, length, state, at in header.extents:
                value = data(0, at) if state == DATA else state
                overlay.set(start, min(start + length, head.sectors), value)
        counted = dict.fromkeys((DATA, ZERO, _INHERITED), 0)
        table = {} if head.loaded is None else dict(head.loaded.table.items())
        ancestors = {number for number, entry in table.items() if entry.volume}
        async for part in head.parts():
            for run in part.runs or ():
                for value, sectors in _shown(run, overlay):
                    if kind(value) in counted:
                        counted[kind(value)] += sectors * SECTOR
                    if kind(value) == DATA and index(value) in ancestors:
                        counted[_INHERITED] += sectors * SECTOR
            self._progress(part.end * SECTOR, head.sectors * SECTOR, "bytes")
        _refuse(head)
        return counted

    async def _table(self, view: View, snapshot: Snapshot) -> ObjectTable:
        walk = RootWalk(self._store, view.lineage, snapshot.root, snapshot.size)
        await walk.open()
        _refuse(walk)
        return ObjectTable() if walk.loaded is None else walk.loaded.table


@attrs.define
class _Dense:
    """Stands for what the collector would write."""

    sectors: int
    live: int
    volume: int = 0
    birth: int = 0
    carries: bool = False
    held_by: int = NOBODY


def _shown(run: Run, overlay: LayeredMap) -> list[tuple[int, int]]:
    """What is seen of a run of the map, and for how many sectors."""
    start, end, value = run
    return [
        (value if above == ABSENT else above, last - first)
        for first, last, above in overlay.runs(start, end)
    ]


def _refuse(walk: RootWalk) -> None:
    if walk.damages:
        raise Corrupt(f"{walk.damages[0].what}. A check tells more")


def _unique(view: View, head: RootWalk, snapshot: Snapshot) -> int:
    """Bytes in the store that nothing would hold but for one snapshot."""
    if head.loaded is None:
        return 0
    older = [one.version for one in view.superblock.snapshots if one.id < snapshot.id]
    passes_to = max(older, default=-1)

    def is_alone(entry: Entry) -> bool:
        return entry.held_by == snapshot.id and entry.birth > passes_to

    names = view.names
    keys = [
        view.lineage.key(source_of(entry))
        for _, entry in head.loaded.table.items()
        if is_alone(entry)
    ]
    keys += [
        names.ck(entry.epoch, entry.number)
        for _, entry in head.loaded.containers.items()
        if is_alone(entry)
    ]
    return sum(view.objects.get(key, 0) for key in keys)
