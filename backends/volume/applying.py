"""Bringing stored segments into the map, one after the other, and out of the overlay."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from backends.volume.condition import Condition
from backends.volume.directory import Need
from backends.volume.environment import Environment
from backends.volume.header import Extent, Header
from backends.volume.object_table import Version
from backends.volume.recent import Recent, StoredSegment
from backends.volume.segment import Segment
from backends.volume.stored_map import StoredMap
from backends.volume.units import SECTOR
from backends.volume.values import DATA, data
from gateway.errors import StorageError, Unavailable

#: Extents brought into the map before others have their turn.
_PIECE = 128

#: Seconds before the map is asked for again when the store did not give it.
_AGAIN = 1.0


@attrs.frozen
class StoredObject:
    """
    A log object that the store has.

    Attributes:
        segment: what the overlay calls it.
        header: of the object.
    """

    segment: Segment | StoredSegment
    header: Header

    @property
    def slot(self) -> int:
        """Of the log."""
        return self.header.position


class Applier:
    """
    Works through the log behind the writer.

    Args:
        recent: the overlay, which gives up what the map has taken.
        stored: the map.
        newest: the newest snapshot.
        condition: told when the map cannot be read.
        environment: see there.
        applied: called after each object.
    """

    _log = Logger()

    def __init__(
        self,
        recent: Recent,
        stored: StoredMap,
        newest: Callable[[], Version | None],
        condition: Condition,
        environment: Environment,
        applied: Callable[[StoredObject], None],
    ) -> None:
        self._recent = recent
        self._stored = stored
        self._newest = newest
        self._condition = condition
        self._environment = environment
        self._applied = applied
        self._queue: deque[StoredObject] = deque()
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._working = False
        condition.watch(self._failed)

    @property
    def behind(self) -> int:
        """How many objects wait to be applied."""
        return len(self._queue)

    def submit(self, one: StoredObject) -> None:
        """The next object in the order of the log."""
        self._queue.append(one)
        if not self._working:
            self._working = True
            Deferred.fromCoroutine(self._work()).addErrback(self._broken)

    async def caught_up(self, slot: int) -> None:
        """
        Wait until the map has everything up to ``slot`` that was submitted.

        Raises:
            StorageError: the volume failed.
        """
        self._condition.check()
        if self._has(slot):
            return
        done: Deferred[None] = Deferred()
        self._waiting.append((slot, done))
        await done

    def _has(self, slot: int) -> bool:
        return not self._queue or self._queue[0].slot > slot

    async def _work(self) -> None:
        while self._queue and self._condition.failure is None:
            one = self._queue[0]
            async with self._stored.turn:
                await self._apply(one)
                self._stored.state.version = one.slot
                self._stored.lsn = max(self._stored.lsn, one.header.number)
            self._queue.popleft()
            self._recent.forget(one.segment)
            self._applied(one)
            reached = [done for slot, done in self._waiting if self._has(slot)]
            self._waiting = [(slot, done) for slot, done in self._waiting if not self._has(slot)]
            for done in reached:
                done.callback(None)
        self._working = False

    async def _apply(self, one: StoredObject) -> None:
        stored, overlay = self._stored, self._recent.overlay
        header = one.header
        carries = any(extent.kind != DATA for extent in header.extents)
        index = stored.add_log_object(
            header.epoch,
            one.slot,
            header.plain_length // SECTOR,
            header.object_length,
            carries,
        )
        for number, (start, length, state, where) in enumerate(header.extents):
            if number % _PIECE == 0:
                if number:
                    await deferLater(self._environment.clock, 0)
                await self._prefetch(header.extents[number : number + _PIECE])
            end = start + length
            if stored.map.needs(start, end, True):
                await self._ensure(start, end)
            value = data(index, where) if state == DATA else state
            stored.paint(start, end, value, self._newest())
            overlay.clear(start, end, one.segment.id)
        if not header.extents:  # a border: it only takes its slot
            stored.objects.free(index)

    async def _prefetch(self, extents: Sequence[Extent]) -> None:
        """Ask for the map that extents need at once, rather than one after the other."""
        stored = self._stored
        stored.map.evict(stored.limit)
        for _ in range(2):  # leaves, and the pages below
            needs: dict[Need, None] = {}
            for start, length, _, _ in extents:
                needs.update(dict.fromkeys(stored.map.needs(start, start + length, True)))
            if not needs:
                return
            try:
                await stored.supply(list(needs))
            except StorageError:
                return  # who needs it finds out

    async def _ensure(self, start: int, end: int) -> None:
        """The pages of the map that a range cuts, however long the store takes to answer."""
        while True:
            try:
                return await self._stored.ensure(start, end, whole=True)
            except Unavailable as failure:
                self._log.error("the map cannot be read, trying on: {why}", why=str(failure))
            await deferLater(self._environment.clock, _AGAIN)
            self._condition.check()

    def _failed(self, failure: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for _, done in waiting:
            done.errback(self._condition.error())

    def _broken(self, failure: Failure) -> None:
        value = failure.value
        if not isinstance(value, StorageError):
            self._log.failure("applying the log failed", failure)
            value = Unavailable(f"applying the log failed: {value!r}")
        self._log.critical("the volume can take no more changes: {why}", why=str(value))
        self._condition.fail(value)
