"""The map that checkpoints keep: pages fetched when they are needed, objects counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from twisted.internet.defer import Deferred

from backends.objects.contract import Garbled, IObjectStore, NotFound, StoreError
from backends.volume.checkpoint import State
from backends.volume.directory import Need, SliceRef, pack_refs
from backends.volume.environment import Options
from backends.volume.extent_map import ExtentMap
from backends.volume.lineage import Lineage, Source
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable, Version
from backends.volume.slices import SliceKind, open_slice
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.turns import Turn, each
from backends.volume.units import LEAF_PAGES, PAGE_SECTORS
from backends.volume.values import DATA, index, kind
from gateway.errors import Corrupt, Unavailable

#: Gets under way at once for parts of the map.
_GETS = 16

#: Bytes between two slices of one object that are got along rather than asking twice.
_GAP = 64 * 1024

#: Bytes of one such get.
_MOST = 8 << 20

#: Pages on both sides of one that is read, 2 GiB of disk each way, and bytes of their slices:
#: what lies close to its own is got along. Whoever reads here will read there.
_AROUND, _ALONG = 128, 256 * 1024

#: Parts of the map that are accounted for at a time, and how often before a checkpoint.
_ACCOUNTED, _ACCOUNTS = 256, 16

#: Runs that are looked at to find out whether a range is zero.
_FEW = 8

#: Objects whose names are kept at hand.
_SOURCES = 1 << 16


class StoredMap:
    """
    Map and tables of one version, and the slices that they are read from.

    Args:
        store, lineage: where slices are.
        map: of the disk.
        objects: that hold data.
        containers: checkpoint objects, which hold slices.
        state: what the root says beside them.

    Attributes:
        lsn: the highest journal record that is in the map.
        limit: bytes of pages that stay when others come.
        turn: held by whoever changes map or tables over more than one turn of the reactor.
    """

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        map: ExtentMap,
        objects: ObjectTable,
        containers: ObjectTable,
        state: State,
    ) -> None:
        self._store = store
        self._lineage = lineage
        self.map = map
        self.objects = objects
        self.containers = containers
        self.state = state
        self.lsn = 0
        self.limit = Options().map_memory
        self._sources: dict[int, Source] = {}
        self.turn = Turn()
        self._coming: dict[Need, list[Deferred[None]]] = {}

    def source(self, number: int) -> Source:
        """The object of that number in the table."""
        source = self._sources.get(number)
        if source is None:
            entry = self.objects[number]
            moved = entry.kind == ObjectKind.MOVED
            source = Source(
                entry.volume,
                Kind.MOVED if moved else Kind.DATA,
                entry.epoch if moved else 0,
                entry.number,
            )
            if len(self._sources) >= _SOURCES:
                self._sources.clear()
            self._sources[number] = source
        return source

    def is_all(self, start: int, end: int, state: int) -> bool:
        """Whether it is known, now, that a range of sectors is all ``HOLE``, or all ``ZERO``."""
        step = PAGE_SECTORS
        while start < end:
            # What a large range needs may be a long list, and most disks tell at once.
            stop = min(start + step, end)
            step *= 16
            if self.map.needs(start, stop):
                return False
            if any(kind(value) != state for _, _, value in self.map.runs(start, stop, 2)):
                return False
            start = stop
        return True

    def reads_zero(self, start: int, end: int) -> bool:
        """Whether it is known, now, that a range of sectors is zeroes that take no space."""
        if self.map.needs(start, end):
            return False
        runs = self.map.runs(start, end, _FEW)
        return runs[-1][1] == end and all(value < DATA for _, _, value in runs)

    def paint(self, start: int, end: int, value: int, newest: Version | None) -> None:
        """
        Give a range a value, and count.

        Args:
            newest: the newest snapshot, which holds what the head lets go.
        """
        replaced = self.map.set(start, end, value)
        if value >= DATA:
            self.objects.live_add(index(value), end - start)
        for number, sectors in replaced:
            self.objects.release(number, sectors, newest)

    def add_log_object(
        self, epoch: int, slot: int, sectors: int, stored: int, carries: bool
    ) -> int:
        """
        Enter a log object that is about to be painted.

        Args:
            sectors: of plain data.
            stored: bytes of the object.
            carries: it has holes or zeroes.

        Returns:
            Its number.
        """
        return self.objects.add(
            Entry(ObjectKind.DATA, 0, epoch, slot, sectors, 0, stored, slot, carries)
        )

    async def ensure(self, start: int, end: int, whole: bool = False) -> None:
        """
        Bring the map of a range into memory.

        Args:
            whole: as `ExtentMap.needs`.

        Raises:
            Corrupt: a slice is damaged; it is named.
            Unavailable: the store did not answer.
        """
        # Once, and before: what comes now is needed together.
        self.map.evict(self.limit)
        while needs := self.map.needs(start, end, whole):
            along = [] if whole else self._close_to(needs)
            try:
                await self.supply([*needs, *along])
            except Corrupt:
                if not along:
                    raise
                await self.supply(needs)  # what came along need not be well

    def _close_to(self, needs: Sequence[Need]) -> list[Need]:
        """Pages nearby whose slices the same gets bring."""
        first, last = needs[0], needs[-1]
        if first.kind == SliceKind.LEAF:
            return []
        spans: dict[int, tuple[int, int]] = {}
        for need in needs:
            for container, offset, length in need.slices:
                low, high = spans.get(container, (offset, offset))
                spans[container] = min(low, offset), max(high, offset + length)
        room = min(_ALONG, self.limit // 16)
        found = []
        for need in self._around(first.number, last.number):
            if need in self._coming or not all(_is_close(ref, spans) for ref in need.slices):
                continue
            room -= sum(ref.length for ref in need.slices)
            if room < 0:
                break
            found.append(need)
        return found

    def _around(self, first: int, last: int) -> Iterator[Need]:
        """Pages of the same leaves that are not in memory, before ``first`` and behind ``last``."""
        begin = max(first - _AROUND, first - first % LEAF_PAGES)
        behind = min(last + _AROUND, last - last % LEAF_PAGES + LEAF_PAGES)
        for start, end in ((begin, first), (last + 1, behind)):
            stop = min(end * PAGE_SECTORS, self.map.sectors)
            if start * PAGE_SECTORS < stop:
                yield from self.map.needs(start * PAGE_SECTORS, stop)

    async def supply(self, needs: Sequence[Need]) -> None:
        """Fetch parts of the map and put them in their places."""
        mine = []
        others = []
        for need in needs:
            waiters = self._coming.get(need)
            if waiters is None:
                self._coming[need] = []
                mine.append(need)
            else:
                one: Deferred[None] = Deferred()
                waiters.append(one)
                others.append(one)
        failure: Exception | None = None
        if mine:
            try:
                for need, plains in zip(mine, await self.fetch(mine), strict=True):
                    self._install(need, plains)
            except (Corrupt, Unavailable) as raised:
                # A slice that was superseded meanwhile may be gone; then it is not missed.
                if all(self._is_wanted(need) for need in mine):
                    failure = raised
            finally:
                for need in mine:
                    for one in self._coming.pop(need):
                        one.callback(None)  # they look again, and fail for themselves
        for one in others:
            await one
        if failure is not None:
            raise failure

    def _install(self, need: Need, plains: Sequence[bytes]) -> None:
        try:
            self.map.supply(need, plains)
        except ValueError as error:
            raise Corrupt(f"{self._key(need.slices[0])}: {error}") from None

    def _key(self, ref: SliceRef) -> str:
        """What the store calls the object that a slice is in."""
        entry = self.containers[ref.container]
        return self._lineage[entry.volume].names.ck(entry.epoch, entry.number)

    def _is_wanted(self, need: Need) -> bool:
        directory = self.map.directory
        if need.kind == SliceKind.LEAF:
            return directory.needed(need.number) == need
        if directory.needed(need.number // LEAF_PAGES) is not None:
            return False
        return directory.chain(need.number) == pack_refs(need.slices)

    async def account(self, newest: Version | None) -> None:
        """
        Count off what was in pages that were replaced without having been read.

        Not all of it if that is much: what is left waits for the next checkpoint,
        and only keeps objects a little longer.

        Args:
            newest: the newest snapshot.
        """
        for _ in range(_ACCOUNTS):
            needs = list(islice(self.map.forgotten, _ACCOUNTED))
            if not needs:
                return
            for need, plains in zip(needs, await self.fetch(needs), strict=True):
                for number, sectors in self.map.account(need, plains):
                    self.objects.release(number, sectors, newest)

    async def fetch(self, needs: Sequence[Need]) -> list[list[bytes]]:
        """The plain data of each need's slices."""
        wanted: dict[SliceRef, SliceKind] = {}
        for need in needs:
            wanted.update(zip(need.slices, need.kinds, strict=True))
        plains: dict[SliceRef, bytes] = {}

        async def get(run: list[SliceRef]) -> None:
            plains.update(zip(run, await self._get(run, wanted), strict=True))

        await each(merged(wanted), get, _GETS)
        return [[plains[ref] for ref in need.slices] for need in needs]

    async def _get(self, run: list[SliceRef], kinds: dict[SliceRef, SliceKind]) -> list[bytes]:
        """The plain data of slices that one get brings; a second one if they are not well."""
        entry = self.containers[run[0].container]
        member = self._lineage[entry.volume]
        key = member.names.ck(entry.epoch, entry.number)
        crypt = None
        if member.crypt is not None:
            crypt = member.crypt.object(Kind.CHECKPOINT, entry.epoch, 0, entry.number)
        start = run[0].offset
        length = run[-1].offset + run[-1].length - start

        def opened(data: bytes) -> list[bytes]:
            pieces = [memoryview(data)[ref.offset - start :][: ref.length] for ref in run]
            return [
                open_slice(kinds[ref], piece, crypt, ref.offset, key)
                for ref, piece in zip(run, pieces, strict=True)
            ]

        data = await self._got(key, start, length)
        try:
            return opened(data)
        except Corrupt:
            return opened(await self._got(key, start, length))

    async def _got(self, key: str, start: int, length: int) -> bytes:
        try:
            return await self._store.get(key, start, length)
        except NotFound:
            raise Corrupt(f"{key} is missing from the store, and the map is in it") from None
        except (Garbled, StoreError) as failure:
            raise Unavailable(f"{key}: {failure}") from None


def _is_close(ref: SliceRef, spans: dict[int, tuple[int, int]]) -> bool:
    """Whether a slice lies in, or just beside, the part of its object that is got anyway."""
    span = spans.get(ref.container)
    return span is not None and span[0] - _GAP <= ref.offset <= span[1] + _GAP


def merged(refs: Iterable[SliceRef]) -> Iterable[list[SliceRef]]:
    """Slices as runs that one get each brings."""
    run: list[SliceRef] = []
    for ref in sorted(refs):
        if run and (
            ref.container != run[0].container
            or ref.offset - run[-1].offset - run[-1].length > _GAP
            or ref.offset + ref.length - run[0].offset > _MOST
        ):
            yield run
            run = []
        run.append(ref)
    if run:
        yield run
