"""
What a journal does for a volume, as long as it works.

No flush waits for the store, and what was answered without a flush survives
the death of this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.logger import Logger

from backends.volume import journal_records
from backends.volume.journal import Journal
from backends.volume.segment import Segment
from backends.volume.units import SECTOR
from backends.volume.values import ZERO
from gateway.errors import Closed, Unavailable
from gateway.interfaces import Buffer, NowOrLater
from gateway.stages import stage, told


class Journaling:
    """
    Every change is recorded in the order in which it takes effect.

    A journal that fails is done with: its records are in memory too, so from
    then on a flush goes to the store.

    Args:
        journal: open and adopted.
        wall: seconds since 1970.

    Attributes:
        failed: it is given up.
        last_flush: when a flush was last carried out here, as ``wall`` tells it; 0 for never.
    """

    _log = Logger()

    def __init__(self, journal: Journal, wall: Callable[[], float] = time.time) -> None:
        self.journal = journal
        self._wall = wall
        self.failed = False
        self.last_flush = 0.0
        self._wants_room = False

    def write(self, start: int, payload: Buffer) -> int:
        """
        Record data.

        Returns:
            The number for the segment that takes the last of it.
        """
        return self.journal.append(journal_records.DATA, start, len(payload) // SECTOR, payload)

    def mark(self, segment: Segment, start: int, end: int, state: int) -> None:
        """Record zeroes or a hole that go into ``segment``."""
        kind = journal_records.ZERO if state == ZERO else journal_records.HOLE
        segment.lsn = self.journal.append(kind, start, end - start)

    def recorded(self) -> NowOrLater[None]:
        """Answered when the kernel has all records, or the journal has failed."""
        return self.journal.handed_over()

    def flush(self, to_the_store: Callable[[], NowOrLater[None]]) -> NowOrLater[None]:
        """Make everything recorded durable: here, or else where ``to_the_store`` does it."""
        if self.failed:
            return to_the_store()
        journal = self.journal
        if journal.failure is None and journal.durable == journal.last:
            self.last_flush = self._wall()
            return None
        return told(self._sync(to_the_store))

    async def _sync(self, to_the_store: Callable[[], NowOrLater[None]]) -> None:
        try:
            with stage("journal"):
                await self.journal.sync()
            self.last_flush = self._wall()
            return
        except Unavailable as failure:
            if not self.failed:
                self.failed = True
                self._log.critical(
                    "journal {path} failed, flushes go to the store from now on: {why}",
                    path=self.journal.path,
                    why=str(failure),
                )
        stored = to_the_store()
        if stored is not None:
            await stored

    def stored(self, segment: Segment) -> None:
        """The store has everything up to this segment."""
        if segment.lsn:
            self.journal.release(segment.lsn)

    def has_room(self, size: int) -> bool:
        """Whether a change of that many bytes can be recorded now."""
        # A change may become three records: two sectors that were cut, and what is between.
        return self.journal.room(min(size + 4 * SECTOR, self.journal.largest))

    def when_room(self, call: Callable[[], None]) -> None:
        """Call when there is more room than now; of several such wishes the first counts."""
        if self._wants_room:
            return
        self._wants_room = True

        def there_is(_: object) -> None:
            self._wants_room = False
            call()

        self.journal.when_room().addCallbacks(there_is, lambda failure: failure.trap(Closed))
