"""Threads that are none: blocking work done when the test says so."""

from __future__ import annotations

from twisted.internet.defer import Deferred, execute


class SyncThreads:
    """Does the work at once; counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def call_in_thread(self, function, *args):
        self.calls += 1
        return execute(function, *args)


class ManualThreads:
    """Keeps the work until `step` or `drain`."""

    def __init__(self):
        self.waiting = []
        self.calls = 0

    def call_in_thread(self, function, *args):
        self.calls += 1
        done = Deferred()
        self.waiting.append((done, function, args))
        return done

    def step(self, index=0):
        """Do one piece of the waiting work, the oldest unless told."""
        done, function, args = self.waiting.pop(index)
        execute(function, *args).chainDeferred(done)

    def drain(self):
        """Do all work, what it leads to as well."""
        while self.waiting:
            self.step()
