"""Changing the disk: from a request to the open segment and the journal."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from backends.volume import zero_blocks
from backends.volume.committing import Committer
from backends.volume.condition import Condition
from backends.volume.intake import Intake
from backends.volume.journaling import Journaling
from backends.volume.reading import Reader
from backends.volume.recent import Recent
from backends.volume.units import SECTOR
from backends.volume.values import HOLE, ZERO
from gateway.errors import Closed, NotFast
from gateway.interfaces import Buffer, NowOrLater


class Writer:
    """
    Takes writes, zeroes and trims of any alignment, in order.

    Args:
        recent: takes the changes.
        reader: for what surrounds a change that cuts a sector.
        committer: told of each change, and asked to flush.
        condition: refuses everything once the volume has failed.
        is_stored_as: whether the stored map says, now, that a range of sectors is all
            of one kind.
        dirty_limit: bytes of data in memory beyond which changes wait.

    Attributes:
        journaling: makes flushes cheap; None without a journal.
        zeroes: bytes of zeroes that were written or asked for, and cost none.
    """

    def __init__(
        self,
        recent: Recent,
        reader: Reader,
        committer: Committer,
        condition: Condition,
        is_stored_as: Callable[[int, int, int], bool],
        dirty_limit: int,
    ) -> None:
        self._recent = recent
        self._reader = reader
        self._committer = committer
        self.journaling: Journaling | None = None
        self.zeroes = 0
        self._condition = condition
        self._is_stored_as = is_stored_as
        self._dirty_limit = dirty_limit
        self._intake = Intake(self._has_room, self._make_room)
        condition.watch(lambda _: self._intake.fail(condition.error))

    def go_on(self) -> None:
        """There may be room again."""
        self._intake.go_on()

    def stop(self) -> None:
        """Answer what waits with `Closed`; nothing may be handed in any more."""
        self._intake.fail(lambda: Closed("the volume is closed"))

    def write(self, offset: int, payload: Buffer, fua: bool) -> NowOrLater[None]:
        """As `IExport.write`."""
        length = len(payload)
        if offset % SECTOR or length % SECTOR or not length:
            return self._patch(offset, length, payload, fua, ZERO)
        start = offset // SECTOR

        def apply() -> NowOrLater[None]:
            self.take(start, payload)
            return self.flush() if fua else self._recorded()

        return self._intake.submit(length, apply)

    def zero(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        """As `IExport.write_zeroes`."""
        state = HOLE if may_trim else ZERO
        if not length:
            return self._mark(0, 0, state, fua)
        if (offset % SECTOR or length % SECTOR) and self._cuts_data(offset, length):
            if fast and (self._intake or not self._edges_at_hand(offset, length)):
                raise NotFast("the range begins or ends inside a sector that is not in memory")
            return self._patch(offset, length, None, fua, state)
        # Where it cuts a sector, the rest of that sector is zero already.
        return self._mark(offset // SECTOR, -(-(offset + length) // SECTOR), state, fua)

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        """As `IExport.trim`: sectors that are cut keep their bytes."""
        return self._mark(-(-offset // SECTOR), (offset + length) // SECTOR, HOLE, fua)

    def flush(self) -> NowOrLater[None]:
        """As `IExport.flush`."""
        self._condition.check()
        if self.journaling is not None:
            return self.journaling.flush(self._committer.flush)
        return self._committer.flush()

    def _recorded(self) -> NowOrLater[None]:
        """
        What a change is answered with that need not be durable.

        Also one that found everything as it should be, as it may be so by
        grace of a record that is still on its way.
        """
        return None if self.journaling is None else self.journaling.recorded()

    def _mark(self, start: int, end: int, state: int, fua: bool) -> NowOrLater[None]:
        def apply() -> NowOrLater[None]:
            if start < end:
                self._lay_empty(start, end, state)
                self._committer.touched()
            return self.flush() if fua else self._recorded()

        return self._intake.submit(0, apply)

    def _is_already(self, start: int, end: int, state: int) -> bool:
        answer = self._recent.is_all(start, end, state)
        if answer is None:
            return self._is_stored_as(start, end, state)
        return answer

    def take(self, start: int, payload: Buffer, lsn: int = 0) -> None:
        """
        Change whole sectors now; all of it goes into one segment.

        Args:
            lsn: of the journal record that it comes from; 0 to make one.
        """
        self._lay(start, payload, lsn)
        self._committer.touched()

    def _lay(self, start: int, payload: Buffer, lsn: int = 0) -> None:
        """Blocks of zeroes cost no bytes, and nothing at all where zeroes are already."""
        recent = self._recent
        changed = False
        for first, last, piece in zero_blocks.split(start, payload):
            if piece is None:
                self.zeroes += (last - first) * SECTOR
                if self._reader.reads_zero(first, last):
                    continue
            if not changed and self.journaling is not None:
                lsn = self.journaling.write(start, payload)
            changed = True
            if piece is None:
                recent.mark(first, last, ZERO)
            else:
                recent.write(first, piece)
        if changed and lsn:
            recent.open.lsn = lsn

    # -- requests that cut sectors

    def _patch(
        self, offset: int, length: int, payload: Buffer | None, fua: bool, state: int
    ) -> NowOrLater[None]:
        """
        Change a range that begins or ends inside a sector.

        Args:
            payload: None for zeroes.
            state: of the whole sectors inside, for zeroes.
        """
        if not length:
            return self.flush() if fua else None
        start, end = offset // SECTOR, -(-(offset + length) // SECTOR)
        edges: dict[int, bytes] = {}

        def prepare() -> NowOrLater[None]:
            pending = []
            for edge in _cut(offset, length):
                sector = bytearray(SECTOR)
                if self._reader.read_into(edge * SECTOR, memoryview(sector)):
                    edges[edge] = bytes(sector)
                else:
                    pending.append(edge)
            return Deferred.fromCoroutine(self._read_edges(pending, edges)) if pending else None

        def patched(edge: int) -> bytes:
            sector = bytearray(edges[edge])
            low = max(offset - edge * SECTOR, 0)
            high = min(offset + length - edge * SECTOR, SECTOR)
            if payload is None:
                sector[low:high] = bytes(high - low)
            else:
                at = edge * SECTOR + low - offset
                sector[low:high] = memoryview(payload)[at : at + high - low]
            return bytes(sector)

        def apply() -> NowOrLater[None]:
            # After a crash all of it is there, or nothing: one segment takes it.
            first, last = start + (start in edges), end - (end - 1 in edges and end - 1 > start)
            head = patched(start) if first > start else b""
            tail = patched(last) if last < end else b""
            if payload is None:
                if head:
                    self._lay(start, head)
                if tail:
                    self._lay(last, tail)
                if first < last:
                    self._lay_empty(first, last, state)
            else:
                at = first * SECTOR - offset
                middle = memoryview(payload)[at : at + (last - first) * SECTOR]
                self._lay(start, b"".join((head, middle, tail)))
            self._committer.touched()
            return self.flush() if fua else self._recorded()

        return self._intake.submit(length if payload is not None else 2 * SECTOR, apply, prepare)

    def _lay_empty(self, start: int, end: int, state: int) -> None:
        self.zeroes += (end - start) * SECTOR
        # What is so already needs no record; whether that is durable a flush will see to.
        if not self._is_already(start, end, state):
            if self.journaling is not None:
                self.journaling.mark(self._recent.open, start, end, state)
            self._recent.mark(start, end, state)

    async def _read_edges(self, pending: list[int], edges: dict[int, bytes]) -> None:
        for edge in pending:
            edges[edge] = bytes(await self._reader.read(edge * SECTOR, SECTOR))

    def _cuts_data(self, offset: int, length: int) -> bool:
        """Whether a sector that the range cuts may hold something else than zeroes around it."""
        return bool(self._intake) or not all(
            self._reader.reads_zero(edge, edge + 1) for edge in _cut(offset, length)
        )

    def _edges_at_hand(self, offset: int, length: int) -> bool:
        sector = memoryview(bytearray(SECTOR))
        return all(self._reader.read_into(edge * SECTOR, sector) for edge in _cut(offset, length))

    # -- room

    def _has_room(self, size: int) -> bool:
        if self._recent.held >= self._dirty_limit:
            return False
        return self.journaling is None or self.journaling.has_room(size)

    def _make_room(self, size: int) -> None:
        self._committer.seal()
        if self.journaling is not None and not self.journaling.has_room(size):
            self.journaling.when_room(self._intake.go_on)


def _cut(offset: int, length: int) -> list[int]:
    """The sectors of which a range covers a part, in order."""
    first, last = offset // SECTOR, (offset + length - 1) // SECTOR
    cut = []
    if offset % SECTOR or (first == last and length < SECTOR):
        cut.append(first)
    if (offset + length) % SECTOR and last not in cut:
        cut.append(last)
    return cut
