"""Requests that are in threads, and the order among those that overlap.

A request that overlaps an earlier one, of which at least one changes bytes,
begins when that one is done; all others begin at once, or when one of the
export's `Lanes` is free. So changes land in the order they were handed in,
and no read sees half of one.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backends.file.lanes import WIDTH, Lanes
from backends.file.overlaps import Overlaps
from gateway.stages import Told

T = TypeVar("T")

#: Seconds; what took less is no reason for anything to be slow.
_NOTABLE = 0.001


class Entry:
    """
    One request, from being handed in until it is done.

    Attributes:
        start: the first byte it touches.
        end: behind the last one.
        changes: it is not a read.
        holds_lock: a change on the reactor could wait for it in the kernel.
        earlier: how many requests it waits for.
        followers: the requests that wait for it.
        begin: starts it; set while it waits.
    """

    __slots__ = ("begin", "changes", "earlier", "end", "followers", "holds_lock", "start")

    def __init__(self, start: int, end: int, changes: bool, holds_lock: bool = False) -> None:
        self.start = start
        self.end = end
        self.changes = changes
        self.holds_lock = holds_lock
        self.earlier = 0
        self.followers: list[Entry] = []
        self.begin: Callable[[], None]


class InFlight:
    """
    The requests that are not done.

    Args:
        call_in_thread: as in `gateway.interfaces.Resources`.
        width: how many are in threads at once.
        clock: seconds, rising.

    Attributes:
        count: of the requests. 0 nearly always: ask that before `overlaps`.
        lock_holders: how many of those that run hold the file's lock in the
            kernel for long.
    """

    __slots__ = (
        "_call_in_thread",
        "_changes",
        "_clock",
        "_lanes",
        "_reads",
        "_when_idle",
        "count",
        "lock_holders",
    )

    def __init__(
        self,
        call_in_thread: Callable[..., Deferred[Any]],
        width: int = WIDTH,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self._call_in_thread = call_in_thread
        self._lanes = Lanes(width)
        self._when_idle: Callable[[], None] | None = None
        self._changes: Overlaps[Entry] = Overlaps()
        self._reads: Overlaps[Entry] = Overlaps()
        self.count = 0
        self.lock_holders = 0

    def overlaps(self, start: int, end: int, changes: bool) -> list[Entry]:
        """The requests that one on this range, which is not empty, has to wait for."""
        found = self._changes.with_range(start, end)
        return found + self._reads.with_range(start, end) if changes else found

    def run(
        self,
        entry: Entry,
        earlier: list[Entry],
        work: Callable[[], Any],
        conclude: Callable[[Any], T],
        prepare: Callable[[], None] | None = None,
    ) -> Deferred[T]:
        """
        Run a request in a thread, after those it overlaps.

        Args:
            entry: a new one.
            earlier: what `overlaps` answered for it, just now.
            work: blocking; runs in the thread.
            conclude: called on the reactor with the result, or a `Failure`,
                before anything that waited begins; its result is the answer.
            prepare: called on the reactor right before the thread starts.
        """
        answer: Told[T] = Told()
        stages = answer.stages
        clock = self._clock
        since = clock()

        def begin() -> None:
            if earlier:
                tell("order")
            self._lanes.enter(start)

        def tell(stage: str) -> None:
            nonlocal since
            now = clock()
            if now - since >= _NOTABLE:
                stages.add(stage, now - since)
            since = now

        def start() -> None:
            tell("queue")
            if prepare is not None:
                prepare()
            self.lock_holders += entry.holds_lock
            self._call_in_thread(work).addBoth(finish)

        def finish(result: Any) -> None:
            tell("disk")
            self.lock_holders -= entry.holds_lock
            concluded: Any
            try:
                concluded = conclude(result)
            except Exception:
                concluded = Failure()
            self._done(entry)
            self._lanes.leave()
            answer.callback(concluded)

        for other in earlier:
            other.followers.append(entry)
        entry.earlier = len(earlier)
        self.count += 1
        (self._changes if entry.changes else self._reads).add(entry)
        if entry.earlier:
            entry.begin = begin
        else:
            begin()
        return answer

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once nothing is in flight: now, or when that comes about."""
        if self.count:
            self._when_idle = call
        else:
            call()

    def _done(self, entry: Entry) -> None:
        """Take a request off and begin those that waited for it alone."""
        self.count -= 1
        (self._changes if entry.changes else self._reads).remove(entry)
        for follower in entry.followers:
            follower.earlier -= 1
            if not follower.earlier:
                begin = follower.begin
                del follower.begin  # it refers to the entry: payloads would wait for the collector
                begin()
        if not self.count and self._when_idle is not None:
            call, self._when_idle = self._when_idle, None
            call()
