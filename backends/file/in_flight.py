"""Requests that are in threads, and the order among those that overlap.

A request that overlaps an earlier one, of which at least one changes bytes,
begins when that one is done; all others begin at once. So changes land in
the order they were handed in, and no read sees half of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


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

    Attributes:
        entries: in the order they came. Empty nearly always: ask that before
            `overlaps`.
        lock_holders: how many of those that run hold the file's lock in the
            kernel for long.
    """

    __slots__ = ("_call_in_thread", "_when_idle", "entries", "lock_holders")

    def __init__(self, call_in_thread: Callable[..., Deferred[Any]]) -> None:
        self._call_in_thread = call_in_thread
        self._when_idle: Callable[[], None] | None = None
        self.entries: dict[Entry, None] = {}
        self.lock_holders = 0

    def overlaps(self, start: int, end: int, changes: bool) -> bool:
        """Whether a request on this range would have to wait."""
        for entry in self.entries:
            if entry.start < end and start < entry.end and (changes or entry.changes):
                return True
        return False

    def run(
        self,
        entry: Entry,
        work: Callable[[], Any],
        conclude: Callable[[Any], T],
        prepare: Callable[[], None] | None = None,
    ) -> Deferred[T]:
        """
        Run a request in a thread, after those it overlaps.

        Args:
            entry: a new one.
            work: blocking; runs in the thread.
            conclude: called on the reactor with the result, or a `Failure`,
                before anything that waited begins; its result is the answer.
            prepare: called on the reactor right before the thread starts.
        """
        answer: Deferred[T] = Deferred()

        def begin() -> None:
            if prepare is not None:
                prepare()
            self.lock_holders += entry.holds_lock
            self._call_in_thread(work).addBoth(finish)

        def finish(result: Any) -> None:
            self.lock_holders -= entry.holds_lock
            concluded: Any
            try:
                concluded = conclude(result)
            except Exception:
                concluded = Failure()
            self._done(entry)
            answer.callback(concluded)

        for earlier in self.entries:
            if (
                earlier.start < entry.end
                and entry.start < earlier.end
                and (entry.changes or earlier.changes)
            ):
                earlier.followers.append(entry)
                entry.earlier += 1
        self.entries[entry] = None
        if entry.earlier:
            entry.begin = begin
        else:
            begin()
        return answer

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once nothing is in flight: now, or when that comes about."""
        if self.entries:
            self._when_idle = call
        else:
            call()

    def _done(self, entry: Entry) -> None:
        """Take a request off and begin those that waited for it alone."""
        del self.entries[entry]
        for follower in entry.followers:
            follower.earlier -= 1
            if not follower.earlier:
                begin = follower.begin
                del follower.begin  # it refers to the entry: payloads would wait for the collector
                begin()
        if not self.entries and self._when_idle is not None:
            call, self._when_idle = self._when_idle, None
            call()
