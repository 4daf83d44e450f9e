"""
Collecting garbage: live data leaves sparse objects for new ones, and the sparse ones go.

What is moved goes into ``gc/`` objects, outside the order of the log. Each
tells the version at which what it holds was true, so that whoever replays all
objects paints it at the right moment. It counts from the next checkpoint on;
what was lost before that is an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from backends.objects.contract import Exists, IObjectStore, StoreError
from backends.volume.authority import Authority
from backends.volume.checkpointing import Checkpointer
from backends.volume.condition import Condition
from backends.volume.environment import Environment, Options
from backends.volume.fetching import Fetcher
from backends.volume.header import MAX_EXTENTS, Codec, Extent
from backends.volume.lineage import Lineage
from backends.volume.names import Kind
from backends.volume.sealing import seal
from backends.volume.stored_map import StoredMap
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.turns import Turn
from backends.volume.units import SECTOR
from backends.volume.values import DATA, data, kind
from backends.volume.values import index as index_of
from backends.volume.values import sector as sector_of
from backends.volume.victims import Thresholds, collectable, victims
from gateway.errors import Closed, Fenced, StorageError, Unavailable
from gateway.measures import OUTCOMES

#: Entries of the table looked at before others have their turn.
_ENTRIES = 1000

#: Sectors of a hole that are compared with the map at a time: 1 GiB.
_SPAN = 1 << 21


@attrs.frozen
class Piece:
    """
    A part of an object that is still true.

    Attributes:
        start, end: sectors of the disk.
        state: ``DATA``, ``ZERO`` or ``HOLE``.
        value: of ``start`` in the map; for data.
    """

    start: int
    end: int
    state: int
    value: int


class Collector:
    """
    Empties objects of which little is live.

    Args:
        store, lineage, stored, fetcher, authority, checkpointer, condition,
            environment, options: of the volume.

    Attributes:
        turn: of a round; nothing is moved while somebody else has it.
        moved: bytes moved since the volume was attached.
        rounds: since then, by what came of them; see `gateway.measures.OUTCOMES`.
        backlog: bytes of dead data that could be freed, when a round last began; None
            until one has.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        stored: StoredMap,
        fetcher: Fetcher,
        authority: Authority,
        checkpointer: Checkpointer,
        condition: Condition,
        environment: Environment,
        options: Options,
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._stored = stored
        self._fetcher = fetcher
        self._authority = authority
        self._checkpointer = checkpointer
        self._condition = condition
        self._environment = environment
        self._options = options
        self._thresholds = Thresholds(start=options.live_low, stop=options.live_high)
        self.turn = Turn()
        self._working = False
        self._stopped = False
        self.moved = 0
        self.rounds = dict.fromkeys(OUTCOMES, 0)
        self.backlog: int | None = None

    def consider(self) -> None:
        """Begin to work if there is anything to do; called after each checkpoint."""
        if self._options.collect and not self._working and not self._stopped:
            self._working = True
            Deferred.fromCoroutine(self._work()).addErrback(self._failed)

    async def stop(self) -> None:
        """Begin nothing more, and wait until what is under way has ended."""
        self._stopped = True
        async with self.turn:
            pass

    async def collect(self) -> int:
        """
        One round now.

        Returns:
            Objects that were emptied.

        Raises:
            StorageError: what was not emptied is as it was.
        """
        return await self._round(False)

    async def _work(self) -> None:
        try:
            running = False
            while not self._stopped and self._condition.failure is None:
                if not await self._round(running):
                    break
                running = True
        finally:
            self._working = False

    def _failed(self, failure: Failure) -> None:
        if failure.check(StorageError, StoreError):
            self._log.warn("collecting stopped, for now: {why}", why=failure.getErrorMessage())
        else:
            self._log.failure("collecting failed", failure)

    async def _round(self, running: bool) -> int:
        emptied, outcome = 0, "failed"
        async with self.turn:
            try:
                chosen = await self._choose(running)
                if chosen and not self._stopped:
                    # What is being read is not deleted, also when it dies meanwhile.
                    sources = [self._stored.source(index) for index in chosen]
                    with self._fetcher.keeping(sources):
                        await self._empty(chosen)
                    await self._checkpointer.checkpoint()
                    emptied = len(chosen)
                outcome = "emptied" if emptied else "nothing_to_do"
            finally:
                self.rounds[outcome] += 1
        return emptied

    async def _empty(self, chosen: list[int]) -> None:
        """Move everything that is still true out of some objects."""
        headers = {}
        for index in chosen:
            headers[index] = (await self._fetcher.header(self._stored.source(index))).extents
        async with self._stored.turn:
            version = self._stored.state.version
            oldest = self._oldest_data()
            pieces: list[Piece] = []
            for index in chosen:
                pieces += await self._still_true(index, headers[index], oldest)
        for group in _grouped(_disjoint(pieces), self._options.object_bytes // SECTOR):
            if self._stopped:
                raise Closed("the volume is closing")
            await self._move(group, version)
        async with self._stored.turn:
            newest = self._checkpointer.newest()
            for index in chosen:
                self._stored.objects.carried(index, newest)

    async def _choose(self, running: bool) -> list[int]:
        root = self._authority.superblock.checkpoint
        if root is None:
            return []
        entries, dead = [], 0
        newest = self._newest_version()
        for number, one in enumerate(self._stored.objects.items()):
            entries.append(one)
            if collectable(one[1], newest):
                dead += one[1].sectors - one[1].live
            if number % _ENTRIES == _ENTRIES - 1:
                await deferLater(self._environment.clock, 0)
        self.backlog = dead * SECTOR
        chosen = victims(
            entries,
            self._newest_version(),
            root.version,
            running,
            self._thresholds,
        )
        return [index for index in chosen if index in self._stored.objects]

    def _newest_version(self) -> int | None:
        newest = self._checkpointer.newest()
        return None if newest is None else newest.version

    def _oldest_data(self) -> int:
        """The birth of the oldest object that holds data, live or not: holes may hide it."""
        return min(
            (
                entry.birth
                for _, entry in self._stored.objects.items()
                if entry.sectors and not entry.volume
            ),
            default=self._stored.state.version + 1,
        )

    async def _still_true(self, index: int, extents: Sequence[Extent], oldest: int) -> list[Piece]:
        """What of an object's extents the map still says; the caller holds the map's turn."""
        entry = self._stored.objects[index]
        # In a clone, holes hide what the ancestors have.
        hides = entry.birth > oldest or len(self._lineage) > 1
        found: list[Piece] = []
        for start, length, state, where in extents:
            if state == DATA:
                await self._stored.ensure(start, start + length)
                value = data(index, where)
                for first, last, now in self._stored.map.runs(start, start + length):
                    if now == value + first - start:
                        found.append(Piece(first, last, DATA, now))
            elif hides and entry.carries:
                found += await self._still_empty(start, start + length, state)
        return found

    async def _still_empty(self, start: int, end: int, state: int) -> list[Piece]:
        found: list[Piece] = []
        while start < end:
            stop = min(end, start + _SPAN)
            if not self._stored.map.needs(start, end):
                stop = end
            await self._stored.ensure(start, stop)
            for first, last, now in self._stored.map.runs(start, stop):
                if kind(now) != state:
                    continue
                if found and found[-1].end == first:
                    first = found.pop().start
                found.append(Piece(first, last, state, 0))
            self._stored.map.evict(self._options.map_memory)
            start = stop
        return found

    async def _move(self, pieces: list[Piece], version: int) -> None:
        """Write one object with these pieces, and have the map point to it."""
        plain = await self._read(pieces)
        superblock = self._authority.superblock
        state = self._stored.state
        n = state.next_n
        state.next_n += 1
        key = self._lineage.own.names.gc(superblock.epoch, n)
        extents, at = [], 0
        for piece in pieces:
            length = piece.end - piece.start
            extents.append(
                Extent(piece.start, length, piece.state, at if piece.state == DATA else 0)
            )
            at += length if piece.state == DATA else 0
        sealed = await self._environment.call_in_thread(
            seal,
            Kind.MOVED,
            superblock.volume,
            superblock.writer,
            superblock.epoch,
            version,
            n,
            int(self._environment.wall() * 1000),
            extents,
            [plain],
            Codec[superblock.codec.upper()],
            self._lineage.own.crypt,
        )
        try:
            await self._store.put(key, sealed.parts, True)
        except Exists:
            self._condition.fail(Fenced(f"{key} exists, with other bytes than ours"))
            self._condition.check()
        except StoreError as failure:
            raise Unavailable(f"{key}: {failure}") from None
        async with self._stored.turn:
            await self._point(pieces, sealed.header.object_length, superblock.epoch, n)
        self.moved += len(plain)

    async def _point(self, pieces: list[Piece], stored_bytes: int, epoch: int, n: int) -> None:
        stored = self._stored
        newest = self._checkpointer.newest()
        sectors = sum(piece.end - piece.start for piece in pieces if piece.state == DATA)
        carries = any(piece.state != DATA for piece in pieces)
        # Before the first change: what follows must not be torn by a failure to fetch.
        for piece in pieces:
            if piece.state == DATA:
                await stored.ensure(piece.start, piece.end)
        index = stored.objects.add(
            Entry(
                ObjectKind.MOVED,
                0,
                epoch,
                n,
                sectors,
                0,
                stored_bytes,
                stored.state.version,
                carries,
            )
        )
        at = moved = 0
        try:
            for piece in pieces:
                if piece.state != DATA:
                    continue
                await stored.ensure(piece.start, piece.end)
                count = stored.map.replace_if(piece.start, piece.end, piece.value, data(index, at))
                if count:
                    stored.objects.live_add(index, count)
                    stored.objects.release(index_of(piece.value), count, newest)
                moved += count
                at += piece.end - piece.start
        finally:  # a page may have been evicted, and come back damaged
            if not moved and not carries:
                stored.objects.free(index)

    async def _read(self, pieces: list[Piece]) -> bytes:
        """The data of the pieces, one after the other, no faster than allowed."""
        by_object: dict[int, list[Piece]] = {}
        for piece in pieces:
            if piece.state == DATA:
                by_object.setdefault(index_of(piece.value), []).append(piece)
        parts: dict[int, list[memoryview]] = {}
        for index, its in by_object.items():
            ranges = [(sector_of(piece.value), piece.end - piece.start) for piece in its]
            for piece, views in zip(
                its, await self._fetcher.read(self._stored.source(index), ranges), strict=True
            ):
                parts[piece.start] = views
        plain = b"".join(view for start in sorted(parts) for view in parts[start])
        if plain and self._options.collect_rate:
            await deferLater(self._environment.clock, len(plain) / self._options.collect_rate)
        return plain


def _disjoint(pieces: list[Piece]) -> list[Piece]:
    """
    In the order of the disk, each sector once: several objects may tell of the same hole.
    """
    found: list[Piece] = []
    end = 0
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.start >= end:
            found.append(piece)
        elif piece.end > end:
            found.append(attrs.evolve(piece, start=end))
        end = max(end, piece.end)
    return found


def _grouped(pieces: list[Piece], most: int) -> list[list[Piece]]:
    """
    Pieces, cut where needed, for one object each.

    Args:
        most: sectors of data in one object.
    """
    groups: list[list[Piece]] = []
    held = 0
    for piece in pieces:
        rest: Piece | None = piece
        while rest is not None:
            if not groups or held >= most or len(groups[-1]) >= MAX_EXTENTS:
                groups.append([])
                held = 0
            length = rest.end - rest.start
            if rest.state != DATA or held + length <= most:
                groups[-1].append(rest)
                held += length if rest.state == DATA else 0
                rest = None
            else:
                cut = rest.start + most - held
                groups[-1].append(attrs.evolve(rest, end=cut))
                rest = attrs.evolve(rest, start=cut, value=rest.value + cut - rest.start)
                held = most
    return groups
