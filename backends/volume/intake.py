"""The order in which changes take effect when some of them have to wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.errors import StorageError
from gateway.interfaces import NowOrLater


@attrs.define(eq=False)
class _Change:
    size: int
    prepare: Callable[[], NowOrLater[None]] | None
    apply: Callable[[], NowOrLater[None]]
    done: Deferred[None]


class Intake:
    """
    First come, first served: a change that waits for room holds up all behind it.

    While nobody waits, a change is made at once, and no Deferred is made for it.

    Args:
        room: whether a change of that many bytes can be taken now.
        wait: called when one cannot; whoever makes room calls `go_on`.
    """

    def __init__(self, room: Callable[[int], bool], wait: Callable[[], None]) -> None:
        self._room = room
        self._wait = wait
        self._changes: deque[_Change] = deque()
        self._preparing = False

    def __bool__(self) -> bool:
        """Whether changes wait."""
        return bool(self._changes)

    def submit(
        self,
        size: int,
        apply: Callable[[], NowOrLater[None]],
        prepare: Callable[[], NowOrLater[None]] | None = None,
    ) -> NowOrLater[None]:
        """
        Make a change, now or when it is its turn.

        Args:
            size: bytes of memory that it takes.
            apply: makes it; what it answers is what the caller gets. It takes
                effect before it returns.
            prepare: finds out what ``apply`` needs; those behind wait for it.
        """
        if not self._changes and self._room(size):
            if prepare is None:
                return apply()
            if not isinstance(ready := prepare(), Deferred):
                return apply()
            change = _Change(size, lambda: ready, apply, Deferred())
        else:
            change = _Change(size, prepare, apply, Deferred())
        self._changes.append(change)
        if len(self._changes) == 1:
            self.go_on()
        return change.done

    def go_on(self, _: object = None) -> None:
        """There may be room: make the changes that it allows."""
        while self._changes and not self._preparing:
            change = self._changes[0]
            if not self._room(change.size):
                self._wait()
                return
            try:
                if change.prepare is not None:
                    ready = change.prepare()
                    change.prepare = None
                    if isinstance(ready, Deferred):
                        self._preparing = True
                        ready.addCallbacks(self._prepared, self._not_prepared)
                        return  # one of the two goes on, perhaps it already has
                result = change.apply()
            except StorageError:
                self._changes.popleft()
                change.done.errback(Failure())
                continue
            self._changes.popleft()
            if isinstance(result, Deferred):
                result.chainDeferred(change.done)
            else:
                change.done.callback(None)

    def _prepared(self, _: object) -> None:
        self._preparing = False
        self.go_on()

    def _not_prepared(self, failure: Failure) -> None:
        self._preparing = False
        if self._changes:  # else `fail` has answered
            self._changes.popleft().done.errback(failure)
        self.go_on()

    def fail(self, error: Callable[[], Exception]) -> None:
        """Answer everything that waits with an error."""
        changes, self._changes = self._changes, deque()
        self._preparing = False
        for change in changes:
            change.done.errback(error())
