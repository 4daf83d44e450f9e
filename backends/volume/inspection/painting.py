"""
The map of a version, made from what objects tell, one window of the disk after the other.

A window is so large that what is told of it fits into memory, however large the disk is. What
objects tell is kept as long as there is room, and asked for again otherwise.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from backends.volume.header import Extent, Header
from backends.volume.inspection.timeline import Slot, counted, history, is_in
from backends.volume.layered import LayeredMap
from backends.volume.lineage import Source
from backends.volume.names import Kind
from backends.volume.runs import Run
from backends.volume.superblock import Rollback
from backends.volume.units import PAGE_SECTORS, SECTOR
from backends.volume.values import ABSENT, DATA, HOLE, ZERO, data

_SECTORS = (1 << 48) - 1
_LENGTH = (1 << 40) - 1
_KINDS = {1: HOLE, 2: ZERO, 3: DATA}


class Told(NamedTuple):
    """
    An object, without what it tells.

    Attributes:
        source: which object.
        epoch: of its writer.
        version: at which what it says became true: a slot, or the version of a moved object.
        sectors: of its plain data.
        stored: bytes of the object.
        carries: it tells of holes or zeroes.
        extents: how many.
        record: the highest record of a journal that is in it; 0 in moved objects.
    """

    source: Source
    epoch: int
    version: int
    sectors: int
    stored: int
    carries: bool
    extents: int
    record: int = 0


def told_of(source: Source, header: Header) -> Told:
    """
    Args:
        source: whose header it is.
    """
    return Told(
        source,
        header.epoch,
        header.position,
        header.plain_length // SECTOR,
        header.object_length,
        any(one.kind != DATA for one in header.extents),
        len(header.extents),
        header.number if source.kind == Kind.DATA else 0,
    )


#: Brings the extents of an object once more.
Ask = Callable[[Told], Awaitable[Sequence[Extent]]]


def in_order(
    told: Iterable[Told],
    fences: Mapping[int, Slot],
    rollbacks: Sequence[Rollback],
    unfenced: Collection[int],
    version: int,
) -> list[Told]:
    """
    The objects of one volume that count in a version of it, in the order in which they do.

    Args:
        told: all that there are.
        fences: by slot.
        rollbacks, unfenced: as the newest superblock says.
    """
    told = list(told)
    log = {
        one.version: Slot(Kind.DATA, one.epoch, 0) for one in told if one.source.kind == Kind.DATA
    }
    slots = set(counted({**log, **fences}, unfenced)[0])
    spans = history(rollbacks, version)
    counting = [
        one
        for one in told
        if is_in(spans, one.version) and (one.source.kind == Kind.MOVED or one.version in slots)
    ]
    return sorted(
        counting,
        key=lambda one: (one.version, one.source.kind, one.source.epoch, one.source.number),
    )


class Extents:
    """
    What objects tell, kept while there is room.

    Args:
        ask: for what was not kept.
        room: extents, 16 bytes each.
    """

    def __init__(self, ask: Ask, room: int) -> None:
        self._ask = ask
        self._room = room
        self._kept: dict[Source, array[int]] = {}

    def keep(self, told: Told, extents: Sequence[Extent]) -> None:
        """Take what an object tells."""
        if len(extents) <= self._room:
            self._room -= len(extents)
            words = array("Q")
            for sector, length, kind, where in extents:
                words.append(sector | kind >> 62 << 48)
                words.append(length | where << 40)
            self._kept[told.source] = words

    async def of(self, told: Told) -> Sequence[Extent]:
        """
        What an object tells.

        Raises:
            Corrupt: it cannot be read any more.
            StoreError: the store did not answer.
        """
        words = self._kept.get(told.source)
        return await self._ask(told) if words is None else list(_unpacked(words))


def _unpacked(words: array[int]) -> Iterator[Extent]:
    for at in range(0, len(words), 2):
        low, high = words[at], words[at + 1]
        yield Extent(low & _SECTORS, high & _LENGTH, _KINDS[low >> 48], high >> 40)


class Painting:
    """
    A version of the disk as objects tell it.

    Args:
        sectors: of the disk.
        order: the objects that count and the numbers by which values name them, each over all
            before it.
        extents: what they tell.
        most: extents in one window.
    """

    def __init__(
        self,
        sectors: int,
        order: Sequence[tuple[int, Told]],
        extents: Extents,
        most: int,
    ) -> None:
        self._sectors = sectors
        self._order = order
        self._extents = extents
        pages = -(-sectors // PAGE_SECTORS)
        windows = max(1, -(-sum(told.extents for _, told in order) // most))
        self._step = -(-pages // windows) * PAGE_SECTORS
        self._start = self._end = 0
        self._map = LayeredMap(sectors, ABSENT)

    def windows(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """A range, cut so that each piece lies in one window; as first sector and end."""
        while start < end:
            stop = min(start // self._step * self._step + self._step, end)
            yield start, stop
            start = stop

    async def runs(self, start: int, end: int) -> list[Run]:
        """
        What the objects say of a range that lies in one window; ``ABSENT`` where they say nothing.

        Raises:
            Corrupt, StoreError: as for `Extents.of`.
        """
        if not self._start <= start < self._end:
            self._start = start // self._step * self._step
            self._end = min(self._start + self._step, self._sectors)
            self._map = await self._painted(self._start, self._end)
        return self._map.runs(start, end)

    async def _painted(self, start: int, end: int) -> LayeredMap:
        painted = LayeredMap(self._sectors, ABSENT)
        for index, told in self._order:
            for sector, length, kind, where in await self._extents.of(told):
                first, last = max(sector, start), min(sector + length, end)
                if first < last:
                    value = data(index, where + first - sector) if kind == DATA else kind
                    painted.set(first, last, value)
        return painted
