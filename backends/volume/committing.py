"""
Bringing segments into the log: sealing, slots, the window, and who waits for what.

Order is everything here. Segments get slots in the order in which they were
sealed; `WINDOW` puts may be under way; a segment counts as stored when its
own put and those of all earlier slots are answered. A put that failed for now
is tried again with the same bytes until the volume closes: whether it took
effect is unknown, and its slot can hold nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from backends.objects.contract import Exists, IObjectStore, StoreError
from backends.volume.condition import Condition
from backends.volume.environment import Environment, Options
from backends.volume.header import max_extents
from backends.volume.names import Names
from backends.volume.recent import Recent
from backends.volume.sealing import Sealed
from backends.volume.segment import Run, Segment
from backends.volume.units import FRAME, LARGEST_WRITE, WINDOW
from backends.volume.zero_blocks import MOST_BLOCKS
from gateway.errors import Fenced, Unavailable
from gateway.interfaces import NowOrLater
from gateway.stages import Stages, Told, stage

#: Seconds before a put that failed is tried again; the store's own retries come first.
_AGAIN = 1.0

#: Seconds between two lines in the log about a store that takes nothing.
_QUIET = 60.0

#: Flushes may have this many puts under way; later ones gather behind them.
_FLUSHES = 2


class SealSegment(Protocol):
    """Makes a log object of a gathered segment; runs in a thread."""

    def __call__(self, segment: Segment, live: list[Run]) -> Sealed: ...


class Committer:
    """
    Takes the open segment of `Recent`, again and again, and stores it.

    Args:
        recent: whose open segment fills.
        store: of the log.
        names: of the volume.
        seal: gathers a segment and makes its object.
        condition: told when the log is no longer ours.
        environment, options: see there.
        first_slot: the slot of the first segment.
        stored: called with each segment in the order of the log, when it and
            all before it are stored.

    Attributes:
        stored_lsn: the highest journal record that was brought to the store.
        last_flush: when a flush was last carried out, in seconds since 1970; 0 for never.
    """

    _log = Logger()

    def __init__(
        self,
        recent: Recent,
        store: IObjectStore,
        names: Names,
        seal: SealSegment,
        condition: Condition,
        environment: Environment,
        options: Options,
        first_slot: int,
        stored: Callable[[Segment, Sealed], None],
    ) -> None:
        self._recent = recent
        self._store = store
        self._names = names
        self._seal_segment = seal
        self._condition = condition
        self._environment = environment
        self._options = options
        self._tell_stored = stored
        self._next_slot = first_slot
        self._stored_slot = first_slot - 1  # this one and all before are stored
        self._sealed_id = self._stored_id = 0
        self._queue: deque[tuple[Segment, list[Run]]] = deque()
        self._landed: dict[int, tuple[Segment, Sealed, Stages]] = {}
        self._waiting: deque[tuple[int, float, Told[None]]] = deque()
        self._flush_wanted = False
        self._for_flushes: set[int] = set()  # ids of segments that were sealed for flushes
        self._age: Any = None
        self._deadline: Any = None
        self._last_failure = ""
        self._told = 0.0
        # Beside the frames of a last and long write, and its pieces, each of which may cut.
        frames = -(-(options.object_bytes + LARGEST_WRITE) // FRAME) + 1
        self._most_extents = max_extents(frames) - 2 * MOST_BLOCKS - 8
        self.stored_lsn = 0
        self.last_flush = 0.0
        self._touched_at: dict[int, float] = {}  # when each segment not stored began to fill
        condition.watch(self._failed)

    @property
    def next_slot(self) -> int:
        """The slot that the next segment gets."""
        return self._next_slot + len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether everything that was ever written is stored."""
        return not self._recent.open.touches and self._stored_id == self._sealed_id

    @property
    def oldest(self) -> float:
        """Age in seconds of the oldest change that is not stored; 0 if all are."""
        since = next(iter(self._touched_at.values()), None)
        return 0.0 if since is None else self._environment.clock.seconds() - since

    def touched(self) -> None:
        """The open segment has changed: seal it if it is full, else before long."""
        segment = self._recent.open
        if not segment.touches:
            return
        if segment.id not in self._touched_at:
            self._touched_at[segment.id] = self._environment.clock.seconds()
        if (
            segment.taken >= self._options.object_bytes
            or segment.most_extents >= self._most_extents
        ):
            self.seal()
        elif self._age is None:
            self._age = self._environment.clock.callLater(
                self._options.upload_delay, self._grown_old
            )

    def seal(self) -> None:
        """Close the open segment, if there is anything in it."""
        if self._age is not None:
            self._age.cancel()
            self._age = None
        self._flush_wanted = False
        if self._recent.open.touches and self._condition.failure is None:
            self._sealed_id = self._recent.open.id
            self._queue.append(self._recent.seal())
            self._start()

    def _grown_old(self) -> None:
        self._age = None
        self.seal()

    def flush(self) -> NowOrLater[None]:
        """
        Answered when everything written before is stored.

        Raises:
            Fenced, Unavailable: it may or may not be.
        """
        self._condition.check()
        if self.idle:
            self.last_flush = self._environment.wall()
            return None
        is_open = self._recent.open.touches > 0
        done: Told[None] = Told()
        wanted = self._recent.open.id if is_open else self._sealed_id
        self._waiting.append((wanted, self._environment.clock.seconds(), done))
        if self._deadline is None:
            self._deadline = self._environment.clock.callLater(
                self._options.flush_deadline, self._expire
            )
        if is_open:
            # Sealed now, or when such a put is answered: for all who came meanwhile.
            self._flush_wanted = True
            self._seal_for_flushes()
        return done

    def _seal_for_flushes(self) -> None:
        if self._flush_wanted and len(self._for_flushes) < _FLUSHES:
            self._for_flushes.add(self._recent.open.id)
            self.seal()

    def _start(self) -> None:
        while self._queue and self._next_slot - self._stored_slot <= WINDOW:
            segment, live = self._queue.popleft()
            segment.slot = self._next_slot
            segment.unsettled = segment.slot - 1 - self._stored_slot
            self._next_slot += 1
            # Not a part of whoever filled the segment, who may have been answered.
            with (stages := Stages()).told_of():
                upload = Deferred.fromCoroutine(self._upload(segment, live, stages))
            upload.addErrback(self._broken)

    async def _upload(self, segment: Segment, live: list[Run], stages: Stages) -> None:
        slot = segment.slot
        assert slot is not None
        with stage("seal"):
            sealed = await self._environment.call_in_thread(self._seal_segment, segment, live)
        key = self._names.log(slot)
        while self._condition.failure is None:
            try:
                with stage("store"):
                    await self._store.put(key, sealed.parts, True)
            except Exists:
                self._condition.fail(
                    Fenced(f"{key} was written by another gateway: it has taken the volume over")
                )
                return
            except StoreError as failure:
                self._not_stored(key, failure)
                stages.count("retries")
                await deferLater(self._environment.clock, _AGAIN)
            else:
                self._for_flushes.discard(segment.id)
                self._landed[slot] = (segment, sealed, stages)
                self._advance()
                return

    def _not_stored(self, key: str, failure: StoreError) -> None:
        # Every object under way fails alike, again and again; one line now and then will do.
        now = self._environment.clock.seconds()
        if not self._last_failure or now - self._told >= _QUIET:
            self._told = now
            self._log.error(
                "cannot store {key}, trying on: {error}",
                key=key,
                error=str(failure),
                **failure.ids,
            )
        self._last_failure = str(failure)

    def _expire(self) -> None:
        """Answer flushes that have waited too long; look again when the next one has."""
        self._deadline = None
        now = self._environment.clock.seconds()
        why = self._last_failure or "the store has not answered"
        expired = []
        while self._waiting and self._waiting[0][1] + self._options.flush_deadline <= now:
            expired.append(self._waiting.popleft()[2])
        if self._waiting:
            left = self._waiting[0][1] + self._options.flush_deadline - now
            self._deadline = self._environment.clock.callLater(left, self._expire)
        for done in expired:
            # What it waited for stays in memory and is tried on; a later flush may succeed.
            done.errback(Unavailable(f"not stored yet: {why}"))

    def _advance(self) -> None:
        if self._last_failure:
            self._last_failure = ""
            self._log.info("the store takes data again")
        while (landed := self._landed.pop(self._stored_slot + 1, None)) is not None:
            segment, sealed, stages = landed
            for wanted, _, done in self._waiting:
                if segment.id <= wanted:
                    done.stages.absorb(stages)
            self._stored_slot += 1
            self._stored_id = segment.id
            self._touched_at.pop(segment.id, None)
            self.stored_lsn = max(self.stored_lsn, segment.lsn)
            self._tell_stored(segment, sealed)
        self._start()
        self._seal_for_flushes()
        while self._waiting and self._waiting[0][0] <= self._stored_id:
            self.last_flush = self._environment.wall()
            self._waiting.popleft()[2].callback(None)
        if not self._waiting:
            self._stop_deadline()

    def _failed(self, failure: Exception) -> None:
        if self._age is not None:
            self._age.cancel()
            self._age = None
        self._stop_deadline()
        self._queue.clear()
        waiting, self._waiting = self._waiting, deque()
        for _, _, done in waiting:
            done.errback(self._condition.error())

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _broken(self, failure: Any) -> None:
        self._log.failure("a segment could not be stored", failure)
        self._condition.fail(Unavailable(f"a segment could not be stored: {failure.value}"))
