"""Reading the disk: from the open segment down to the store."""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred

from backends.volume.extents import beyond
from backends.volume.fetching import Fetcher
from backends.volume.lineage import Source
from backends.volume.names import Kind
from backends.volume.read_ahead import ReadAhead
from backends.volume.recent import Recent
from backends.volume.segment import Segment
from backends.volume.stored_map import StoredMap
from backends.volume.units import SECTOR
from backends.volume.values import ABSENT, DATA, index, kind, sector
from gateway.errors import StorageError
from gateway.info import MIB
from gateway.interfaces import Buffer, NowOrLater
from gateway.stages import stage, told

#: Sectors that are got ready at once, and in all: more would drive out what came first.
_AT_ONCE, _WARM = 8 * MIB // SECTOR, 64 * MIB // SECTOR

#: Runs that are looked at to find out whether a range is zero.
_FEW = 8


class Piece(NamedTuple):
    """
    Where some sectors of the disk are.

    Attributes:
        sectors: how many.
        held: their bytes, if they are in memory.
        source: the object that has them; None, with nothing held, for zeroes.
        at: the first one's sector in the object's data.
    """

    sectors: int
    held: memoryview | None
    source: Source | None
    at: int


class Reader:
    """
    Reads through the overlay, the stored map and the objects.

    Args:
        recent: the newest changes; None for a disk that does not change.
        stored: the map below it.
        fetcher: reads objects.
        read_ahead: guesses; None for none.
    """

    def __init__(
        self,
        recent: Recent | None,
        stored: StoredMap,
        fetcher: Fetcher,
        read_ahead: ReadAhead | None,
    ) -> None:
        self._recent = recent
        self._stored = stored
        self._fetcher = fetcher
        self._read_ahead = read_ahead

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """As `IExport.read_into`."""
        start, end = offset // SECTOR, -(-(offset + len(buffer)) // SECTOR)
        pieces = self.pieces(start, end)
        if pieces is None:
            return False
        views: list[memoryview | int] = []
        for sectors, held, source, at in pieces:
            if source is not None:
                cached = self._fetcher.cached(source, at, sectors)
                if cached is None:
                    return False
                views.extend(cached)
            else:
                views.append(sectors * SECTOR if held is None else held)
        _fill(buffer, views, offset - start * SECTOR)
        self._look_ahead(offset, len(buffer))
        return True

    def now_or_later(self, offset: int, length: int) -> NowOrLater[Buffer]:
        """As `IExport.read`."""
        data = bytearray(length)
        if self.read_into(offset, memoryview(data)):
            return data
        return told(self.read(offset, length))

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        """As `IExport.cache`."""
        return told(self.warm(offset // SECTOR, -(-(offset + length) // SECTOR)))

    async def read(self, offset: int, length: int) -> bytearray:
        """The bytes of a range, however long that takes."""
        start, end = offset // SECTOR, -(-(offset + length) // SECTOR)
        pieces = await self._found(start, end)
        self._look_ahead(offset, length)
        fetched = await self._fetch(pieces)
        views: list[memoryview | int] = []
        for number, (sectors, held, source, _) in enumerate(pieces):
            if source is not None:
                views.extend(fetched[number])
            else:
                views.append(sectors * SECTOR if held is None else held)
        data = bytearray(length)
        _fill(memoryview(data), views, offset - start * SECTOR)
        return data

    async def warm(self, start: int, end: int) -> None:
        """Bring sectors into memory, within reason; failures are left to whoever reads them."""
        end = min(end, start + _WARM)
        try:
            while start < end:
                stop = min(start + _AT_ONCE, end)
                await self._bring(await self._found(start, stop))
                start = stop
        except StorageError:
            pass

    def reads_zero(self, start: int, end: int) -> bool:
        """Whether it is known, without waiting, that sectors are zeroes that take no space."""
        runs: list[tuple[int, int, int]] = [(start, end, ABSENT)]
        if self._recent is not None:
            runs = self._recent.overlay.runs(start, end, _FEW)
        for first, last, value in runs:
            state = kind(value)
            if state == DATA or (state == ABSENT and not self._stored.reads_zero(first, last)):
                return False
        return runs[-1][1] == end

    def pieces(self, start: int, end: int) -> list[Piece] | None:
        """Where sectors are; None when the map has to be fetched first."""
        found: list[Piece] = []
        if self._recent is None:
            return found if self._below(start, end, found) else None
        for first, last, value in self._recent.overlay.runs(start, end):
            state = kind(value)
            if state == ABSENT:
                if not self._below(first, last, found):
                    return None
            elif state == DATA:
                segment = self._recent.segments[index(value)]
                if isinstance(segment, Segment):
                    held = segment.read(value, last - first)
                    found.append(Piece(last - first, held, None, 0))
                else:
                    source = Source(0, Kind.DATA, 0, segment.slot)
                    found.append(Piece(last - first, None, source, sector(value)))
            else:
                found.append(Piece(last - first, None, None, 0))
        return found

    def _below(self, start: int, end: int, found: list[Piece]) -> bool:
        if self._stored.map.needs(start, end):
            return False
        for first, last, value in self._stored.map.runs(start, end):
            if kind(value) == DATA:
                source = self._stored.source(index(value))
                found.append(Piece(last - first, None, source, sector(value)))
            else:
                found.append(Piece(last - first, None, None, 0))
        return True

    async def _found(self, start: int, end: int) -> list[Piece]:
        while (pieces := self.pieces(start, end)) is None:
            with stage("map"):
                await self._stored.ensure(start, end)
        return pieces

    async def _fetch(self, pieces: list[Piece]) -> dict[int, list[memoryview]]:
        """What is in objects, by the number of the piece; one call for each object."""
        wanted = _by_source(pieces)
        reads = [
            (
                numbers,
                Deferred.fromCoroutine(
                    self._fetcher.read(
                        source, [(pieces[number].at, pieces[number].sectors) for number in numbers]
                    )
                ),
            )
            for source, numbers in wanted.items()
        ]
        fetched: dict[int, list[memoryview]] = {}
        failure: StorageError | None = None
        for numbers, read in reads:
            try:
                fetched.update(zip(numbers, await read, strict=True))
            except StorageError as raised:
                failure = raised
        if failure is not None:
            raise failure
        return fetched

    async def _bring(self, pieces: list[Piece]) -> None:
        """Have what is in objects in memory, each object for itself."""
        under_way = [
            Deferred.fromCoroutine(
                self._fetcher.bring(
                    source, [(pieces[number].at, pieces[number].sectors) for number in numbers]
                )
            )
            for source, numbers in _by_source(pieces).items()
        ]
        for one in under_way:
            await one

    def _look_ahead(self, offset: int, length: int) -> None:
        if self._read_ahead is None:
            return
        guess = self._read_ahead.after(offset, length, self._beyond, self._begins)
        if guess is not None:
            start, end = guess[0] // SECTOR, -(-guess[1] // SECTOR)
            Deferred.fromCoroutine(self._get_ready(start, end))

    async def _get_ready(self, start: int, end: int) -> None:
        # All at once, unlike `warm`: a guess is as much data as is wanted, however far it reaches.
        try:
            await self._bring(await self._found(start, end))
        except StorageError:
            pass

    def _begins(self, offset: int) -> bool:
        sector = offset // SECTOR
        return not sector or self.reads_zero(sector - 1, sector)

    def _beyond(self, offset: int, length: int) -> int:
        start, sectors = -(-offset // SECTOR), -(-length // SECTOR)
        return beyond(self._recent, self._stored, start, sectors) * SECTOR


def _by_source(pieces: list[Piece]) -> dict[Source, list[int]]:
    """Numbers of pieces by the object that has them."""
    found: dict[Source, list[int]] = {}
    for number, piece in enumerate(pieces):
        if piece.source is not None:
            found.setdefault(piece.source, []).append(number)
    return found


def _fill(buffer: memoryview, views: list[memoryview | int], skip: int) -> None:
    """
    Lay pieces end to end into a buffer, without the first ``skip`` bytes.

    Args:
        views: bytes, or a number of zeroes.
    """
    done, length = 0, len(buffer)
    for view in views:
        size = view if isinstance(view, int) else len(view)
        if skip >= size:
            skip -= size
            continue
        piece = min(size - skip, length - done)
        if isinstance(view, int):
            buffer[done : done + piece] = bytes(piece)
        else:
            buffer[done : done + piece] = view[skip : skip + piece]
        skip = 0
        done += piece
