"""A segment: what was written since the last was sealed, on its way to being a log object."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from backends.volume.frames import filled
from backends.volume.header import Extent
from backends.volume.units import FRAME_SECTORS, SECTOR
from backends.volume.values import ABSENT, DATA, data, index, kind, marked, sector
from gateway.interfaces import Buffer

#: What an overlay answers: first sector, the one behind the last, value at the first.
Run = tuple[int, int, int]

#: Bytes of memory that a change takes beside its data: ranges, runs, extents.
TOUCH = 256


class Segment:
    """
    Bytes in the order in which they came, and which ranges of the disk were touched.

    The overlay says which of the bytes still count: its runs that carry this
    segment's ``id``. After `gather` the bytes that counted then lie in the
    order of the disk, as in the log object, and the others are gone; the
    overlay's values keep pointing at where they lay first.

    Args:
        id: carried by the overlay's values; unique while the volume is open.

    Attributes:
        slot: of the log; None until it is sealed.
        unsettled: slots in front of it that are not known to be stored then.
        lsn: of the last journal record inside; 0 without a journal.
        extents: once gathered: sorted by sector, data sectors as in the object.
        plain: once gathered: the data of the object, frame by frame. Each has memory of its
            own, which is what is stored, read and kept from then on: no more copies are made.
        taken: bytes that were appended.
        most_extents: it will not have more of them.
    """

    __slots__ = (
        "_buffer",
        "_moved",
        "_touched",
        "extents",
        "id",
        "lsn",
        "most_extents",
        "plain",
        "slot",
        "taken",
        "unsettled",
    )

    def __init__(self, id: int) -> None:
        self.id = id
        self.slot: int | None = None
        self.unsettled = 0
        self.lsn = 0
        self.extents: tuple[Extent, ...] = ()
        self.plain: tuple[bytes, ...] = ()
        self.taken = 0
        self.most_extents = 0
        self._buffer: bytearray | None = bytearray()
        self._touched: list[tuple[int, int]] = []
        self._moved: tuple[list[int], list[int]] = ([], [])

    @property
    def touches(self) -> int:
        """How many changes came in; 0 when there is nothing to store."""
        return len(self._touched)

    @property
    def cost(self) -> int:
        """Bytes of memory that its changes take."""
        return self.taken + TOUCH * len(self._touched)

    def append(self, start: int, payload: Buffer) -> int:
        """
        Take whole sectors of data.

        Returns:
            The overlay's value for the first of them.
        """
        assert self._buffer is not None
        where = self.taken // SECTOR
        self._buffer += payload
        self.taken += len(payload)
        self._touched.append((start, start + len(payload) // SECTOR))
        return data(self.id, where)

    def overwrite(self, value: int, payload: Buffer) -> None:
        """Change data in place, where the overlay says that it lies at ``value``."""
        assert self._buffer is not None
        where = sector(value) * SECTOR
        self._buffer[where : where + len(payload)] = payload

    def mark(self, start: int, end: int, state: int) -> int:
        """
        Take a range of zeroes or of nothing.

        Returns:
            The overlay's value for it.
        """
        self._touched.append((start, end))
        return marked(state, self.id)

    def insist(self) -> None:
        """Have it stored, also if it stays without content."""
        self._touched.append((0, 0))

    def live(self, runs: Callable[[int, int], Iterable[Run]]) -> list[Run]:
        """
        The overlay's runs that are this segment's, in the order of the disk.

        Args:
            runs: of the overlay, over a range of sectors.
        """
        found: list[Run] = []
        for start, end in _union(self._touched):
            found.extend(
                run
                for run in runs(start, end)
                if kind(run[2]) != ABSENT and index(run[2]) == self.id
            )
        return found

    def gather(self, live: Sequence[Run]) -> None:
        """
        Bring the bytes into the order of the disk and drop those that no longer count.

        Args:
            live: as `live` answered; what the overlay said when the segment was sealed.
        """
        assert self._buffer is not None
        view = memoryview(self._buffer)
        pieces: list[memoryview] = []
        extents: list[Extent] = []
        moves: list[tuple[int, int]] = []
        length = 0
        for start, end, value in live:
            state = kind(value)
            if state != DATA:
                extents.append(Extent(start, end - start, state, 0))
                continue
            where = sector(value)
            pieces.append(view[where * SECTOR : (where + end - start) * SECTOR])
            moves.append((where, length))
            last = extents[-1] if extents else None
            if last and last.kind == DATA and last.sector + last.length == start:
                # Neighbours on the disk are neighbours in the object from now on.
                extents[-1] = Extent(last.sector, last.length + end - start, DATA, last.data_sector)
            else:
                extents.append(Extent(start, end - start, DATA, length))
            length += end - start
        plain = tuple(filled(pieces))
        moves.sort()
        self.extents = tuple(extents)
        self.plain = plain
        self._moved = ([old for old, _ in moves], [new for _, new in moves])
        self._buffer = None  # last: `read` looks at it first

    def read(self, value: int, sectors: int) -> memoryview:
        """The bytes at ``value``, a run of the overlay or a part of one."""
        where = sector(value)
        buffer = self._buffer  # `gather` runs in a thread and may drop it between two looks
        if buffer is not None:
            # A copy: the buffer grows, and what is written in place must not show through.
            return memoryview(bytes(buffer[where * SECTOR : (where + sectors) * SECTOR]))
        olds, news = self._moved
        at = bisect_right(olds, where) - 1
        where += news[at] - olds[at]
        frame, inside = divmod(where, FRAME_SECTORS)
        if inside + sectors <= FRAME_SECTORS:
            view = memoryview(self.plain[frame])
        else:
            view = memoryview(b"".join(self.plain[frame : -(-(where + sectors) // FRAME_SECTORS)]))
        return view[inside * SECTOR : (inside + sectors) * SECTOR]


def _union(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same sectors as sorted ranges that neither overlap nor touch."""
    union: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if start == end:
            continue
        if union and start <= union[-1][1]:
            if end > union[-1][1]:
                union[-1] = (union[-1][0], end)
        else:
            union.append((start, end))
    return union
