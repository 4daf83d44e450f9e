"""A reactor that turns when the test says so, for answers that come from real threads."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

#: Seconds after which a test that waits for a thread has failed.
PATIENCE = 120.0


@implementer(IReactorFromThreads)
class Pump(Clock):
    """
    Takes what threads hand over, and keeps real time.

    For `twisted.internet.threads.deferToThreadPool` and for whatever waits by `callLater`.
    """

    def __init__(self):
        super().__init__()
        self._handed_over = SimpleQueue()
        self._began = time.monotonic()

    def callFromThread(self, function, *args, **named):
        self._handed_over.put((function, args, named))

    def turn(self):
        """Wait until a thread hands something over or a delayed call is due, and do that."""
        due = min((call.getTime() for call in self.getDelayedCalls()), default=float("inf"))
        left = due - (time.monotonic() - self._began)
        try:
            function, args, named = self._handed_over.get(timeout=max(0, min(left, PATIENCE)))
        except Empty:
            assert left <= PATIENCE, f"no thread has answered for {PATIENCE} s"
        else:
            function(*args, **named)
        self.advance(max(0, time.monotonic() - self._began - self.seconds()))
