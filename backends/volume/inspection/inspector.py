"""One look at a volume, from its newest superblock to the last object that it refers to."""

from __future__ import annotations

from collections.abc import Sequence

from backends.volume.directory import SliceRef
from backends.volume.header import Extent, Header
from backends.volume.inspection import left_overs
from backends.volume.inspection.counts import check_counts
from backends.volume.inspection.findings import Findings
from backends.volume.inspection.locating import locate
from backends.volume.inspection.log_checks import LogRead, check_log, check_superblocks
from backends.volume.inspection.map_checks import LogComparison, Reached
from backends.volume.inspection.objects import container_header, source_header
from backends.volume.inspection.painting import Extents, Painting, Told, in_order, told_of
from backends.volume.inspection.slice_reading import GETS
from backends.volume.inspection.timeline import Slot
from backends.volume.inspection.view import Inspected, View, folder
from backends.volume.inspection.walking import Part, RootWalk, source_of
from backends.volume.lineage import Source
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable
from backends.volume.superblock import Snapshot
from backends.volume.table_page import FREE
from backends.volume.turns import each
from gateway.errors import Corrupt
from gateway.maintenance import Progress, Severity
from gateway.moments import moment


class Inspector:
    """
    Args:
        inspected: the volume.
        view: of it.
        findings: take what is wrong.
        progress: told of headers.

    Attributes:
        objects: looked at.
        bytes: read.
        head: the walk over the disk as it is now, once `open_head` was called.
        wrong: objects of data that cannot be what they should be, and why.
    """

    def __init__(
        self, inspected: Inspected, view: View, findings: Findings, progress: Progress
    ) -> None:
        self._inspected = inspected
        self._store = inspected.store
        self._view = view
        self._findings = findings
        self._progress = progress
        superblock = view.superblock
        self.head = RootWalk(self._store, view.lineage, superblock.checkpoint, superblock.size)
        self.reached = Reached()
        self.wrong: dict[Source, str] = {}
        self.objects = self.bytes = 0
        self._sizes: dict[int, dict[str, int]] = {0: view.objects}
        self._told: dict[Source, Told] = {}
        self._extents = Extents(self._ask, inspected.extents)
        self._seen: set[int] = set()
        self._any_damage = False

    async def inspect(self) -> None:
        """
        Look at everything.

        Raises:
            StoreError: the store did not answer.
        """
        view, findings = self._view, self._findings
        await check_superblocks(self._store, view, findings)
        opened = await self.head.open()
        table = ObjectTable() if self.head.loaded is None else self.head.loaded.table
        log = await check_log(self._store, view, self.head, findings)
        self.bytes += log.bytes
        self.objects += len(log.fences) + len(log.tail) + 1
        if opened:
            await self._check_sources(self._named(table))
            await self._walk_head(table, log)
        self._tell_damages(self.head, None)
        for snapshot in view.snapshots():
            await self._walk_snapshot(snapshot)
        await self._tell_wrong()
        await self._check_containers()
        if opened and not self.head.damages:
            check_counts(view, self.head, self.reached, findings)
        head = self.head if opened else None
        await left_overs.tell(self._store, view, head, log, findings)
        await left_overs.check_notes(self._inspected, view, findings)
        left_overs.tell_foreign(view, findings)
        self._tell_journal()

    # Objects of data

    def _named(self, table: ObjectTable) -> list[tuple[Source, int, int]]:
        """What the table needs: object, sectors and stored bytes as it says."""
        return [
            (source_of(entry), entry.sectors, entry.stored)
            for _, entry in table.items()
            if entry.held_by != FREE and (entry.live or entry.held_by or entry.carries)
        ]

    async def _check_sources(self, named: Sequence[tuple[Source, int, int]]) -> None:
        total = self.objects + len(named)
        for volume in {source.volume for source, _, _ in named} - self._sizes.keys():
            names = self._view.lineage[volume].names
            self._sizes[volume] = await folder(self._store, names)

        async def check(one: tuple[Source, int, int]) -> None:
            source, sectors, stored = one
            key = self._view.lineage.key(source)
            try:
                header = await source_header(self._store, self._view.lineage[source.volume], source)
            except Corrupt as wrong:
                self.wrong[source] = str(wrong)
            else:
                self._take(source, key, header, sectors, stored)
            self.objects += 1
            self._progress(self.objects, total, "objects")

        await each(named, check, GETS)

    def _take(self, source: Source, key: str, header: Header, sectors: int, stored: int) -> None:
        self.bytes += header.length
        told = self._told[source] = told_of(source, header)
        self._extents.keep(told, header.extents)
        size = self._sizes[source.volume].get(key, header.object_length)
        if size != header.object_length:
            self.wrong[source] = f"{key}: got {size} bytes, expected {header.object_length}"
        elif (told.sectors, told.stored) != (sectors, stored):
            self._findings.add(
                Severity.REPAIRABLE,
                key,
                f"{key}: got {sectors} sectors in {stored} bytes in the table, expected"
                f" {told.sectors} in {told.stored}, as its header says",
            )

    async def _ask(self, told: Told) -> Sequence[Extent]:
        member = self._view.lineage[told.source.volume]
        return (await source_header(self._store, member, told.source)).extents

    # Maps

    async def _walk_head(self, table: ObjectTable, log: LogRead) -> None:
        compared = self._comparison(table, log)
        async for part in self.head.parts(self._is_new):
            self._take_part(self.head, part, None)
            if part.runs is None:
                continue
            try:
                await compared.compare(part)
            except Corrupt as wrong:
                # It was there a moment ago; who writes to the volume may have deleted it.
                key = str(wrong).split(":", 1)[0].split(" ", 1)[0]
                spans = [(part.start, part.end)]
                self._findings.add(Severity.DAMAGE, key, str(wrong), spans)
        async for runs in self.head.forgotten():
            self.reached.take(self.head, runs, True)
        root = self._view.superblock.checkpoint
        if root is not None:
            compared.tell(self._view.names.ck(root.epoch, root.n))

    def _comparison(self, table: ObjectTable, log: LogRead) -> LogComparison:
        superblock = self._view.superblock
        version = superblock.first_slot - 1
        if superblock.checkpoint is not None:
            version = superblock.checkpoint.version
        indexes = {source_of(entry): index for index, entry in table.items() if not entry.volume}
        fences = {
            slot: Slot(Kind.FENCE, one.epoch, one.number)
            for slot, one in log.fences.items()
            if slot <= version
        }
        own = [told for source, told in self._told.items() if not source.volume]
        order = in_order(own, fences, superblock.rollbacks, superblock.unfenced, version)
        painted = [(indexes[told.source], told) for told in order]
        return LogComparison(
            self.head,
            Painting(self.head.sectors, painted, self._extents, self._inspected.extents),
            {index: told.source for index, told in painted},
            not self.wrong,
            self._findings,
        )

    async def _walk_snapshot(self, snapshot: Snapshot) -> None:
        walk = RootWalk(self._store, self._view.lineage, snapshot.root, snapshot.size)
        self.reached.begin()
        if await walk.open():
            async for part in walk.parts(self._is_new):
                self._take_part(walk, part, snapshot.name)
            if walk.loaded is not None:
                # What it shares with others was looked at there; its objects are named here.
                await self._check_sources(
                    [
                        one
                        for one in self._named(walk.loaded.table)
                        if one[0] in self.reached.sectors
                        and one[0] not in self._told
                        and one[0] not in self.wrong
                    ]
                )
        self._tell_damages(walk, snapshot.name)
        self._check_held(walk, snapshot)

    def _take_part(self, walk: RootWalk, part: Part, snapshot: str | None) -> None:
        if part.runs is None:
            return
        for index, span in self.reached.take(walk, part.runs, snapshot is None):
            self._findings.add(
                Severity.DAMAGE,
                self._view.names.ck_prefix,
                f"the map refers to object {index}, which is in no table",
                [span],
                snapshot,
            )

    def _is_new(self, ref: SliceRef) -> bool:
        """Whether no version before has this part of the map, or some of it is damaged in all."""
        name = ref.container << 32 | ref.offset
        if name in self._seen and not self._any_damage:
            return False
        self._seen.add(name)
        return True

    def _tell_damages(self, walk: RootWalk, snapshot: str | None) -> None:
        self.bytes += walk.slices.bytes
        self._any_damage = self._any_damage or bool(walk.damages)
        for one in walk.damages:
            self._findings.add(
                # What was only to be counted off nobody reads.
                Severity.DAMAGE if one.start < one.end else Severity.REPAIRABLE,
                one.key,
                one.what,
                [(one.start, one.end)] if one.start < one.end else (),
                snapshot,
            )

    def _check_held(self, walk: RootWalk, snapshot: Snapshot) -> None:
        """What a snapshot needs must be kept for it."""
        if walk.loaded is None or self.head.loaded is None or self.head.damages:
            return
        names = self._view.names
        kept = _kept(self.head.loaded.table)
        for entry in (one for _, one in walk.loaded.table.items()):
            source = source_of(entry)
            if entry.live and not entry.volume and source not in kept:
                key = self._view.lineage.key(source)
                self._findings.add(
                    Severity.REPAIRABLE,
                    key,
                    f"{key}: snapshot {snapshot.name!r} needs it, and nothing keeps it from being"
                    " deleted",
                    snapshot=snapshot.name,
                )
        containers = self.head.loaded.containers
        known = {
            (entry.volume, entry.epoch, entry.number)
            for _, entry in containers.items()
            if entry.held_by != FREE
        }
        for index in walk.slices.used:
            entry = walk.loaded.containers[index]
            if not entry.volume and (0, entry.epoch, entry.number) not in known:
                key = names.ck(entry.epoch, entry.number)
                self._findings.add(
                    Severity.REPAIRABLE,
                    key,
                    f"{key}: the map of snapshot {snapshot.name!r} is in it, and nothing keeps it"
                    " from being deleted",
                    snapshot=snapshot.name,
                )

    # What was wrong

    async def _tell_wrong(self) -> None:
        for source, behind in self.reached.sectors.items():
            told = self._told.get(source)
            if told is not None and behind > told.sectors and source not in self.wrong:
                key = self._view.lineage.key(source)
                self.wrong[source] = (
                    f"{key}: the map refers to data up to sector {behind}, expected at most"
                    f" {told.sectors}"
                )
        bad = {source: None for source in self.wrong if source in self.reached.sectors}
        for source, what in self.wrong.items():
            if source not in bad:
                key = self._view.lineage.key(source)
                self._findings.add(
                    Severity.REPAIRABLE,
                    key,
                    f"{what}. No byte of the disk is in it, but a rebuild would need it",
                )
        async for source, spans, snapshot in locate(self._store, self._view, bad):
            key = self._view.lineage.key(source)
            self._findings.add(Severity.DAMAGE, key, self.wrong[source], spans, snapshot)

    async def _check_containers(self) -> None:
        """Objects of the head's map must say what they are; their slices were read already."""
        loaded = self.head.loaded
        if loaded is None:
            return

        async def check(index: int) -> None:
            entry = loaded.containers[index]
            member = self._view.lineage[entry.volume]
            key = member.names.ck(entry.epoch, entry.number)
            try:
                header = await container_header(self._store, member, entry.epoch, entry.number)
                size = self._sizes.get(entry.volume, {}).get(key, header.object_length)
                if size != header.object_length:
                    raise Corrupt(f"{key}: got {size} bytes, expected {header.object_length}")
            except Corrupt as wrong:
                self._findings.add(Severity.REPAIRABLE, key, str(wrong))
            self.objects += 1

        await each(
            [index for index in self.head.slices.used if index in loaded.containers], check, GETS
        )

    def _tell_journal(self) -> None:
        note = self._view.superblock.journal
        if note is not None:
            since = moment(note.since_ms / 1000)
            self._findings.add(
                Severity.NOTE,
                self._view.names.sb(self._view.superblock.generation),
                f"what was written since {since} may be in the journal of host {note.host!r} alone",
            )


def _kept(table: ObjectTable) -> set[Source]:
    return {source_of(entry) for _, entry in table.items() if entry.held_by != FREE}
