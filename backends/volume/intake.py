"""The order in which changes take effect when some of them have to wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from gateway.interfaces import NowOrLater
from gateway.stages import Told


@attrs.define(eq=False)
class _Change:
    size: int
    prepare: Callable[[], NowOrLater[None]] | None
    apply: Callable[[], NowOrLater[None]]
    done: Told[None]
    #: The stage that it is in, as its answer tells it; empty while it does not wait.
    waiting_for: str = attrs.field(default="", init=False)

    def waits_for(self, stage: str) -> None:
        """From now on, unless it waits for something already."""
        if not self.waiting_for:
            self.waiting_for = stage
            self.done.stages.begin(stage)

    def goes_on(self) -> None:
        """It waits no longer."""
        if self.waiting_for:
            self.done.stages.end(self.waiting_for)
            self.waiting_for = ""


class Intake:
    """
    First come, first served: a change that waits for room holds up all behind it.

    While nobody waits, a change is made at once, and no Deferred is made for it.
    Making one may free room, answer others and so bring new ones: all that
    comes meanwhile waits until it is made.

    Args:
        room: whether a change of that many bytes can be taken now.
        wait: called with the size of a change that cannot; whoever makes room
            calls `go_on`.
    """

    def __init__(self, room: Callable[[int], bool], wait: Callable[[int], None]) -> None:
        self._room = room
        self._wait = wait
        self._changes: deque[_Change] = deque()
        self._preparing = False  # the first of them
        self._making = False

    def __bool__(self) -> bool:
        """Whether changes wait, or one is being made."""
        return self._making or bool(self._changes)

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
        if self._making or self._changes or not self._room(size):
            change = _Change(size, prepare, apply, Told())
            if self._making or self._changes:
                change.waits_for("order")
            self._changes.append(change)
            self.go_on()
            return change.done
        self._making = True
        try:
            ready = None if prepare is None else prepare()
            if not isinstance(ready, Deferred):
                return apply()
            change = _Change(size, None, apply, Told())
            change.waits_for("edges")
            self._changes.append(change)
            self._prepare(ready)
            return change.done
        finally:
            self._making = False
            if self._changes:
                self.go_on()

    def go_on(self, _: object = None) -> None:
        """There may be room: make the changes that it allows."""
        if self._making:
            return  # whoever is making one looks again
        self._making = True
        try:
            while self._changes and not self._preparing:
                change = self._changes[0]
                change.goes_on()
                if not self._room(change.size):
                    change.waits_for("room")
                    self._wait(change.size)
                    if not self._changes or not self._room(change.size):
                        return
                    continue
                with change.done.stages.told_of():
                    self._go_on_with(change)
        finally:
            self._making = False

    def _go_on_with(self, change: _Change) -> None:
        """Prepare the first change, or make it."""
        result: NowOrLater[None] = None
        try:
            if change.prepare is not None:
                prepare, change.prepare = change.prepare, None
                if isinstance(ready := prepare(), Deferred):
                    change.waits_for("edges")
                    self._prepare(ready)
                    return
            self._changes.popleft()
            result = change.apply()
        except Exception:
            if self._changes and self._changes[0] is change:
                self._changes.popleft()
            change.done.errback(Failure())
        else:
            if isinstance(result, Deferred):
                result.chainDeferred(change.done)
            else:
                change.done.callback(None)

    def _prepare(self, ready: Deferred[None]) -> None:
        self._preparing = True
        ready.addCallbacks(self._prepared, self._not_prepared)

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
