"""Requests that are in threads, and the order among those that overlap.

A request that overlaps an earlier one, of which at least one changes bytes,
begins when that one is done; all others begin at once. So changes land in
the order they were handed in, and no read sees half of one.
"""

from __future__ import annotations

from collections.abc import Callable


class Entry:
    """
    One request, from being handed in until it is done.

    Attributes:
        start, end: the bytes it touches.
        changes: it is not a read.
    """

    __slots__ = ("_begin", "_earlier", "_followers", "changes", "end", "start")

    def __init__(self, start: int, end: int, changes: bool) -> None:
        self.start = start
        self.end = end
        self.changes = changes
        self._earlier = 0
        self._followers: list[Entry] = []
        self._begin: Callable[[], None] | None = None


class InFlight:
    """
    The requests that are not done.

    Attributes:
        entries: in the order they came. Empty nearly always: ask that before
            `overlaps`.
    """

    __slots__ = ("_when_idle", "entries")

    def __init__(self) -> None:
        self.entries: dict[Entry, None] = {}
        self._when_idle: Callable[[], None] | None = None

    def overlaps(self, start: int, end: int, changes: bool) -> bool:
        """Whether a request on this range would have to wait."""
        for entry in self.entries:
            if entry.start < end and start < entry.end and (changes or entry.changes):
                return True
        return False

    def add(self, start: int, end: int, changes: bool, begin: Callable[[Entry], None]) -> None:
        """
        Hand a request in.

        Args:
            start: first byte it touches.
            end: behind the last one.
            changes: it is not a read.
            begin: starts it, now or as soon as it no longer has to wait; it
                must lead to one call of `done`.
        """
        entry = Entry(start, end, changes)
        for earlier in self.entries:
            if earlier.start < end and start < earlier.end and (changes or earlier.changes):
                earlier._followers.append(entry)
                entry._earlier += 1
        self.entries[entry] = None
        if entry._earlier:
            entry._begin = lambda: begin(entry)
        else:
            begin(entry)

    def done(self, entry: Entry) -> None:
        """Take a request off and begin those that waited for it alone."""
        del self.entries[entry]
        for follower in entry._followers:
            follower._earlier -= 1
            if not follower._earlier and follower._begin is not None:
                follower._begin()
        if not self.entries and self._when_idle is not None:
            self._when_idle()

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once nothing is in flight: now, or whenever that comes about."""
        self._when_idle = call
        if not self.entries:
            call()
