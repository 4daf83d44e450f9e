"""Reading all that a volume refers to, whole, as slowly as asked for."""

from __future__ import annotations

from twisted.internet.task import deferLater

from backends.objects.contract import Garbled, NotFound, StoreError
from backends.volume.frames import open_frame
from backends.volume.header import Extent
from backends.volume.inspection.checking import check
from backends.volume.inspection.findings import Findings, Span, ordered
from backends.volume.inspection.locating import cut, locate
from backends.volume.inspection.log_checks import check_log
from backends.volume.inspection.view import Inspected, View, look
from backends.volume.inspection.walking import RootWalk, source_of
from backends.volume.lineage import Member, Source
from backends.volume.names import Kind
from backends.volume.turns import each
from backends.volume.units import FRAME_SECTORS, HEADER_LIMIT
from backends.volume.values import DATA
from gateway.errors import Corrupt, Unavailable
from gateway.maintenance import Progress, Severity, Verdict

#: Objects read at once; each is in memory as a whole.
_AT_ONCE = 4

#: What is wrong with an object: text, and the sectors of its data that it is about; None for all.
_Wrong = tuple[str, "list[Span] | None"]


async def scrub(inspected: Inspected, progress: Progress, rate: float) -> Verdict:
    """
    As `gateway.maintenance.IVolumePlace.scrub`: what a check finds, and every byte of data.

    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: it needs a key, or another one.
        Unavailable: the store did not answer.
    """
    checked = await check(inspected, lambda *_: None)
    try:
        view = await look(inspected)
    except Corrupt:
        return checked  # it says so
    except StoreError as failure:
        raise Unavailable(str(failure)) from None
    known = {one.object for one in checked.findings if one.severity is Severity.DAMAGE}
    findings = Findings()
    scrubber = _Scrubber(inspected, view, findings, progress, rate, known)
    try:
        await scrubber.run()
    except StoreError as failure:
        raise Unavailable(str(failure)) from None
    return Verdict(
        ordered((*checked.findings, *findings.all())),
        checked.objects,
        checked.bytes + scrubber.bytes,
    )


class _Scrubber:
    """
    Args:
        known: keys of objects that were found damaged already.
    """

    def __init__(
        self,
        inspected: Inspected,
        view: View,
        findings: Findings,
        progress: Progress,
        rate: float,
        known: set[str],
    ) -> None:
        self._store = inspected.store
        self._inspected = inspected
        self._environment = inspected.environment
        self._view = view
        self._findings = findings
        self._progress = progress
        self._rate = rate
        self._known = known
        self._wrong: dict[Source, _Wrong] = {}
        self._free_at = inspected.environment.clock.seconds()
        self._total = 0
        self.bytes = 0

    async def run(self) -> None:
        sizes, tail = await self._wanted(self._view)
        self._total = sum(sizes.values())
        await each(sorted(sizes.items()), self._scrub, _AT_ONCE)
        if not self._wrong:
            return
        # What its holder has deleted since is not missed.
        again = await look(self._inspected)
        still, tail = await self._wanted(again)
        bad = {source: wrong for source, wrong in self._wrong.items() if source in still}
        places = {source: wrong[1] for source, wrong in bad.items()}
        found = set()
        async for source, spans, snapshot in locate(self._store, again, places):
            found.add(source)
            key = again.lineage.key(source)
            self._findings.add(Severity.DAMAGE, key, bad[source][0], spans, snapshot)
        for source, (what, where) in bad.items():
            key = again.lineage.key(source)
            if source in tail:
                lost = [
                    span
                    for sector, sectors, kind, at in tail[source]
                    if kind == DATA
                    for span in cut(sector, sector + sectors, at, where)
                ]
                self._findings.add(Severity.DAMAGE, key, what, lost)
            elif source not in found:
                self._findings.add(
                    Severity.NOTE, key, f"{what}. No version of the disk has data there"
                )

    async def _wanted(
        self, view: View
    ) -> tuple[dict[Source, int], dict[Source, tuple[Extent, ...]]]:
        """
        What is referred to, and how long each of it is; and of what is behind the checkpoint,
        what it tells.
        """
        superblock = view.superblock
        sizes: dict[Source, int] = {}
        head = RootWalk(self._store, view.lineage, superblock.checkpoint, superblock.size)
        sizes.update(await _needed(head))
        for one in view.snapshots():
            sizes.update(await _needed(RootWalk(self._store, view.lineage, one.root, one.size)))
        log = await check_log(self._store, view, head, Findings())
        tail = {}
        for header in log.tail:
            source = Source(0, Kind.DATA, 0, header.position)
            sizes[source] = header.object_length
            tail[source] = header.extents
        return sizes, tail

    async def _scrub(self, one: tuple[Source, int]) -> None:
        source, size = one
        member = self._view.lineage[source.volume]
        key = self._view.lineage.key(source)
        if key in self._known:
            return
        await self._wait(size)
        try:
            data = await self._store.get(key, 0, size + HEADER_LIMIT)
        except NotFound:
            self._wrong[source] = (f"{key} is missing from the store", None)
            return
        except Garbled as failure:
            self._wrong[source] = (f"{key}: {failure}", None)
            return
        self.bytes += len(data)
        wrong: _Wrong | None = await self._environment.call_in_thread(
            verify, member, source, key, data
        )
        if wrong is not None:
            self._wrong[source] = wrong
        self._progress(self.bytes, max(self._total, self.bytes), "bytes")

    async def _wait(self, size: int) -> None:
        """Until as many bytes may be read; they count from now on."""
        if not self._rate:
            return
        clock = self._environment.clock
        start = max(self._free_at, clock.seconds())
        self._free_at = start + size / self._rate
        if start > clock.seconds():
            await deferLater(clock, start - clock.seconds())


async def _needed(walk: RootWalk) -> dict[Source, int]:
    """The objects that one version refers to, and their bytes."""
    await walk.open()
    if walk.loaded is None:
        return {}
    entries = (entry for _, entry in walk.loaded.table.items())
    return {source_of(entry): entry.stored for entry in entries if entry.live}


def verify(member: Member, source: Source, key: str, data: bytes) -> _Wrong | None:
    """
    What is wrong with an object of data; None if all of it is well. Takes a while.

    Args:
        member: whose object it is.
        data: all of it.

    Raises:
        Unavailable: the codec's library is not installed.
    """
    try:
        header = member.header(source, data)
    except Corrupt as wrong:
        return str(wrong), None
    what: list[str] = []
    places: list[Span] = []
    if len(data) != header.object_length:
        what.append(f"{key}: got {len(data)} bytes, expected {header.object_length}")
    view = memoryview(data)
    for number in range(len(header.frames)):
        stored = view[header.frame_offset(number) : header.frame_offset(number + 1)]
        try:
            open_frame(header, number, stored, member.crypt, key)
        except Corrupt as wrong:
            what.append(str(wrong))
            places.append((number * FRAME_SECTORS, (number + 1) * FRAME_SECTORS))
    return ("; ".join(what), places) if what else None
