"""Durability: one fdatasync shared by all who wait for it, and its failure remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.errors import Unavailable
from gateway.interfaces import NowOrLater
from gateway.stages import Told


class SharedFlush:
    """
    Makes durable what was changed.

    The kernel tells of a failed write-back once, to whoever asks first through
    this open file: a durable write may take an error that an fdatasync beside
    it then does not see. So a flush is answered only when the syncs that went
    on beside it (`sync_elsewhere`) have been answered too.

    A flush covers the changes that were answered before its fdatasync began;
    one asked for later needs the next fdatasync. Once one has failed the
    kernel may have dropped what it could not write and will not say so
    twice: from then on every flush fails.

    Args:
        sync: starts an fdatasync elsewhere; answers when it is done.

    Attributes:
        changes: counts answered changes; the export adds to it.
    """

    def __init__(self, sync: Callable[[], Deferred[None]]) -> None:
        self.changes = 0
        self._sync = sync
        self._durable = 0
        self._running: list[Deferred[None]] | None = None
        self._covers = 0
        self._next: list[Deferred[None]] = []
        self._lost: str | None = None
        self._elsewhere: set[object] = set()
        self._beside: set[object] = set()

    @property
    def is_clean(self) -> bool:
        """Whether every answered change is durable."""
        return self.changes == self._durable and self._lost is None

    def lose(self, why: str) -> None:
        """Remember that changes were lost."""
        if self._lost is None:
            self._lost = why

    def sync_elsewhere(self) -> Callable[[], None]:
        """
        Tell of a sync of the same open file that begins now.

        Returns:
            To be called when it has been answered, after `lose` if it failed.
        """
        token = object()
        self._elsewhere.add(token)

        def ended() -> None:
            self._elsewhere.discard(token)
            if token in self._beside:
                self._beside.discard(token)
                if not self._beside:
                    self._finish()

        return ended

    def flush(self) -> NowOrLater[None]:
        """
        Raises:
            Unavailable: changes were lost, now or at any time before.
        """
        if self._lost is not None:
            raise self._failure()
        if self.changes == self._durable:
            return None
        waiting: Told[None] = Told()
        waiting.stages.begin("disk")
        if self._running is None:
            self._start([waiting])
        elif self._covers == self.changes:
            self._running.append(waiting)
        else:
            self._next.append(waiting)
        return waiting

    def _failure(self) -> Unavailable:
        return Unavailable(f"changes were lost: {self._lost}")

    def _start(self, waiting: list[Deferred[None]]) -> None:
        self._running = waiting
        self._covers = self.changes
        self._sync().addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, _: Any) -> None:
        self._beside = set(self._elsewhere)
        if not self._beside:
            self._finish()

    def _failed(self, reason: Failure) -> None:
        self.lose(reason.getErrorMessage())
        self._finish()

    def _finish(self) -> None:
        waiting, self._running = self._running or [], None
        following, self._next = self._next, []
        lost = self._lost is not None
        if lost:
            waiting += following
        else:
            self._durable = self._covers
            if following:
                self._start(following)
        for deferred in waiting:
            if lost:
                deferred.errback(self._failure())
            else:
                deferred.callback(None)
