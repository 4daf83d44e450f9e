"""
What a request waited for: told by storage, asked for by whoever finds that it took long.

Storage that answers later may answer with a `Told`. Its `Stages` say how many
seconds went by in each stage of the work, and hold notes, such as the request
id of a store. In a coroutine that `told` runs, and in all that it begins,
`stage` and `note` go to the same place; elsewhere they go nowhere. An answer
that is given now has no stages and costs nothing.

Stages are words for people; those in use are listed in docs/reference/log.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")

#: The stage in which a request waits for its client to take what is there.
CLIENT = "client"

_current: ContextVar[Stages | None] = ContextVar("stages", default=None)


class Stages:
    """
    The stages of one request.

    A stage that goes on several times at once, as when three objects are
    fetched, counts once for as long as any of them goes on. One that was not
    ended goes on still.

    Args:
        clock: seconds, rising.
    """

    # One is made for each answer that is given later, and most are never asked: they are
    # empty, and the tables come with what is told.
    __slots__ = ("_clock", "_going", "_notes", "_spent")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._going: dict[str, tuple[int, float]] | None = None
        self._spent: dict[str, float] | None = None
        self._notes: dict[str, Any] | None = None

    @property
    def notes(self) -> dict[str, Any]:
        """Facts for the log, by the name of their field."""
        if self._notes is None:
            self._notes = {}
        return self._notes

    def begin(self, name: str) -> None:
        """A stage begins, or does so once more."""
        if self._going is None:
            self._going = {}
        times, since = self._going.get(name) or (0, self._clock())
        self._going[name] = times + 1, since

    def end(self, name: str) -> None:
        """A stage that began ends; one that did not is passed over."""
        if self._going is None:
            return
        times, since = self._going.pop(name, (0, 0.0))
        if times > 1:
            self._going[name] = times - 1, since
        elif times:
            self.add(name, self._clock() - since)

    def add(self, name: str, seconds: float) -> None:
        """A stage took so long, beside what is known of it."""
        if self._spent is None:
            self._spent = {}
        self._spent[name] = self._spent.get(name, 0.0) + seconds

    def count(self, name: str) -> None:
        """Add one to a note."""
        self.notes[name] = self.notes.get(name, 0) + 1

    def absorb(self, other: Stages) -> None:
        """Work that others began, and this request waited for, was spent so."""
        for name, seconds in other.spent().items():
            self.add(name, seconds)
        for name, note in other.notes.items():
            self.notes[name] = self.notes.get(name, 0) + note if name == "retries" else note

    def spent(self) -> dict[str, float]:
        """Seconds by stage, up to now; the longest first."""
        spent = dict(self._spent or {})
        if self._going:
            now = self._clock()
            for name, (_, since) in self._going.items():
                spent[name] = spent.get(name, 0.0) + now - since
        return dict(sorted(spent.items(), key=lambda pair: -pair[1]))

    @contextmanager
    def told_of(self) -> Iterator[None]:
        """What runs meanwhile, and what it begins, tells these stages."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


class Told(Deferred[T]):
    """
    An answer that says what it waited for.

    Attributes:
        stages: of the request that it is a part of.
    """

    def __init__(
        self,
        canceller: Callable[[Deferred[Any]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(canceller)
        self.stages = _current.get() or Stages(clock)

    # What an answer brings about, as the client's next request, is not a part of it.

    def callback(self, result: Any) -> None:
        if _current.get() is None:
            super().callback(result)
        else:
            _outside(super().callback, result)

    def errback(self, fail: Any = None) -> None:
        if _current.get() is None:
            super().errback(fail)
        else:
            _outside(super().errback, fail)


def told(work: Coroutine[Any, Any, T], clock: Callable[[], float] = time.monotonic) -> Told[T]:
    """
    Run ``work`` so that it, and what it begins, tells of its stages.

    Args:
        clock: seconds, rising; that of the request if this is a part of one.
    """
    running: list[Deferred[T]] = []
    answer: Told[T] = Told(lambda _: running[0].cancel(), clock)
    context = copy_context()
    context.run(_current.set, answer.stages)
    running.append(context.run(Deferred.fromCoroutine, work))
    running[0].addBoth(answer.callback)
    return answer


def _outside(answer: Callable[[Any], None], result: Any) -> None:
    token = _current.set(None)
    try:
        answer(result)
    finally:
        _current.reset(token)


def stages_of(answer: object) -> Stages | None:
    """Those of an answer that is given later; None if it does not say."""
    return getattr(answer, "stages", None)


def current() -> Stages | None:
    """Those of the request that the running code works for; None if there is no such request."""
    return _current.get()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The running code's request is in that stage."""
    stages = _current.get()
    if stages is None:
        yield
        return
    stages.begin(name)
    try:
        yield
    finally:
        stages.end(name)


def note(name: str, value: object) -> None:
    """A fact about the running code's request, for the log."""
    stages = _current.get()
    if stages is not None:
        stages.notes[name] = value
