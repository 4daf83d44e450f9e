"""What an open volume does by itself, now and then."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from backends.objects.contract import IObjectStore, StoreError
from backends.volume.attachment import Attachment
from backends.volume.snapshots import Snapshots
from backends.volume.sweeping import sweep
from gateway.errors import StorageError, Unavailable

#: Seconds until the first sweep: an attachment that was made to do one thing needs none.
_FIRST = 600.0


class Upkeep:
    """
    Ends deletions that a crash cut short, and sweeps up orphans.

    Args:
        store, parts, snapshots: of the volume.
    """

    _log = Logger()

    def __init__(self, store: IObjectStore, parts: Attachment, snapshots: Snapshots) -> None:
        self._store = store
        self._parts = parts
        self._snapshots = snapshots
        self._next: Any = None
        parts.condition.watch(lambda _: self.stop())

    def start(self) -> None:
        """Begin; called once the volume is attached."""
        if any(one.deleting for one in self._parts.authority.superblock.snapshots):
            Deferred.fromCoroutine(self._snapshots.finish_deleting()).addErrback(self._not_now)
        delay = self._parts.options.sweep_delay
        if delay:
            self._wait(min(delay, _FIRST))

    def stop(self) -> None:
        """Begin nothing more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    async def sweep(self) -> int:
        """Sweep now; answers how many orphans were deleted."""
        parts = self._parts
        try:
            return await sweep(self._store, parts.lineage, parts.stored, parts.authority)
        except StoreError as failure:
            raise Unavailable(str(failure)) from None

    def _wait(self, delay: float) -> None:
        self._next = self._parts.environment.clock.callLater(delay, self._due)

    def _due(self) -> None:
        self._next = None
        Deferred.fromCoroutine(self.sweep()).addErrback(self._not_now).addCallback(self._again)

    def _again(self, _: object) -> None:
        if self._parts.condition.failure is None:
            self._wait(self._parts.options.sweep_delay)

    def _not_now(self, failure: Failure) -> None:
        if failure.check(StorageError):
            self._log.warn("upkeep is put off: {why}", why=failure.getErrorMessage())
        else:
            self._log.failure("upkeep failed", failure)
