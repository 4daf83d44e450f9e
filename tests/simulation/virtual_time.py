"""Time that passes only when something is due."""

from __future__ import annotations

from heapq import heappop, heappush

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class VirtualTime:
    """
    An `IReactorTime` that is moved by `step`.

    Calls run in the order of their time, those of one time in the order in which they were
    scheduled: nothing depends on hashes or addresses.
    """

    def __init__(self):
        self._now = 0.0
        self._scheduled = 0
        self._heap = []

    def seconds(self):
        return self._now

    def callLater(self, delay, callable, *args, **kw):
        call = DelayedCall(
            self._now + delay, callable, args, kw, _nothing_to_do, self._push, self.seconds
        )
        self._push(call)
        return call

    def getDelayedCalls(self):
        return [call for time, _, call in self._heap if call.active() and call.time == time]

    def step(self):
        """Move on to the next call and run it; False when nothing is scheduled."""
        heap = self._heap
        while heap:
            time, _, call = heappop(heap)
            if call.cancelled or call.called or call.time != time:
                continue  # cancelled, or moved forward and pushed again
            if call.delayed_time > 0:
                call.activate_delay()
                self._push(call)
                continue
            self._now = max(self._now, time)
            call.called = 1
            call.func(*call.args, **call.kw)
            return True
        return False

    def _push(self, call):
        self._scheduled += 1
        heappush(self._heap, (call.time, self._scheduled, call))


@implementer(IReactorTime)
class MortalTime:
    """The clock as one process sees it: with the process, its calls die."""

    def __init__(self, clock):
        self.seconds = clock.seconds
        self._clock = clock
        self._dead = False
        self._kept = []  # if the dead were collected, their ``finally`` would run

    def callLater(self, delay, callable, *args, **kw):
        if self._dead:
            self._kept.append((callable, args, kw))
            return DelayedCall(0, callable, args, kw, _nothing_to_do, _nothing_to_do, self.seconds)
        own = []
        own.append(self._clock.callLater(delay, self._run, own, callable, args, kw))
        return own[0]

    def getDelayedCalls(self):
        return [call for call in self._clock.getDelayedCalls() if call.func == self._run]

    def kill(self):
        """Nothing that was scheduled here runs any more."""
        self._dead = True

    def _run(self, own, callable, args, kw):
        if self._dead:
            own[0].called = 0  # it was not; whoever still has it may cancel it
            self._kept.append((callable, args, kw))
        else:
            callable(*args, **kw)


def _nothing_to_do(call):
    """Calls that will not run are passed over when their time comes."""
