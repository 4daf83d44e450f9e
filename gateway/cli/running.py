"""
Running a command under a reactor of its own, and what Ctrl-C does to it.

Nothing that changes a volume is cut off in the midst: Ctrl-C asks it to end,
and what can be stopped stops where it can be gone on with; see
`Interruption.check`. A second Ctrl-C ends the process at once, which volumes
survive as they survive any crash.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from gateway.threads import StorageThreads

T = TypeVar("T")

#: Calls that wait for a disk, a passphrase or a gateway.
_THREADS = 8


class Interrupted(BaseException):
    """Ctrl-C. The text says what is kept, and how to go on."""


class Interruption:
    """
    What Ctrl-C means now.

    Attributes:
        text: what is kept, and how to go on.
    """

    def __init__(self) -> None:
        self.text = "interrupted; nothing was changed"
        self.end: Callable[[BaseException], None] = lambda why: None
        self._asked = False
        self._held = 0

    @contextmanager
    def held(self, text: str) -> Iterator[None]:
        """
        While something is changed: Ctrl-C waits for its end.

        Args:
            text: what is kept, and how to go on, if it is stopped by `check` or ended at once.
        """
        before, self.text = self.text, text
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self.text = before

    def check(self) -> None:
        """
        Called where work can be stopped.

        Raises:
            Interrupted: it shall.
        """
        if self._asked:
            raise Interrupted(self.text)

    def ask(self) -> None:
        """Ctrl-C was typed."""
        if self._held and not self._asked:
            self._asked = True
            sys.stderr.write("\nstopping as soon as that is safe; Ctrl-C once more ends at once\n")
        else:
            self.end(Interrupted(self.text))


class Runtime:
    """
    What a command is lent.

    Attributes:
        reactor: its own.
        interruption: what Ctrl-C means.
    """

    def __init__(self, reactor: Any, pool: Any, interruption: Interruption) -> None:
        self.reactor = reactor
        self.interruption = interruption
        self._pool = pool

    def call_in_thread(self, function: Callable[..., T], *args: Any, **named: Any) -> Deferred[T]:
        """Runs what blocks."""
        called: Deferred[T] = deferToThreadPool(self.reactor, self._pool, function, *args, **named)
        return called


def run(work: Callable[[Runtime], Coroutine[Deferred[Any], Any, T]], alone: bool = False) -> T:
    """
    The result of ``work``; blocks until it is there.

    Args:
        alone: the process does nothing else. Twisted's TLS asks the global reactor for time.

    Raises:
        Interrupted: Ctrl-C came first.
        BaseException: whatever ``work`` raised.
    """
    # With the reactor comes TLS, and help is shown without either.
    from twisted.internet.epollreactor import EPollReactor
    from twisted.internet.main import installReactor

    # Not the global one: that runs once in a process, and a test runs many commands.
    reactor = EPollReactor()
    if alone:
        installReactor(reactor)
    pool = StorageThreads(0, _THREADS, "nbdgateway")
    interruption = Interruption()
    outcome: list[Any] = []

    def end(result: Any) -> None:
        if not outcome:
            outcome.append(result)
            reactor.stop()

    def interrupted(number: int, frame: object) -> None:
        reactor.callFromThread(interruption.ask)

    def begin() -> None:
        pool.start()
        Deferred.fromCoroutine(work(Runtime(reactor, pool, interruption))).addBoth(end)

    interruption.end = end
    reactor.callWhenRunning(begin)
    try:
        before = signal.signal(signal.SIGINT, interrupted)
    except ValueError:
        before = None  # not the main thread: Ctrl-C is somebody else's
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
        pool.stop()
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    if isinstance(result, BaseException):
        raise result
    done: T = result
    return done
