"""Waiting with an end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.patience import Patience


class PatienceTests(SynchronousTestCase):
    """Over a clock that the test turns."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patience = Patience(self.clock)
        self.result: Deferred[Any] = Deferred()

    def test_a_result_in_time(self) -> None:
        """Nothing is left on the clock."""
        answer = self.patience.wait(self.result, 5)
        self.result.callback(None)
        assert self.successResultOf(answer)
        assert self.clock.getDelayedCalls() == []

    def test_a_result_too_late(self) -> None:
        """It does no harm any more."""
        answer = self.patience.wait(self.result, 5)
        self.clock.advance(5)
        assert not self.successResultOf(answer)
        self.result.callback(None)

    def test_a_failure_is_logged_and_an_end_as_well(self) -> None:
        """What follows is the more important."""
        answer = self.patience.wait(self.result, 5)
        self.result.errback(ZeroDivisionError())
        assert self.successResultOf(answer)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_the_end_of_it_is_for_all_that_follows(self) -> None:
        """But for what is there at once."""
        answer = self.patience.wait(self.result, 5)
        self.patience.end()
        assert not self.successResultOf(answer)
        assert not self.successResultOf(self.patience.wait(Deferred(), 5))
        there: Deferred[None] = Deferred()
        there.callback(None)
        assert self.successResultOf(self.patience.wait(there, 5))
        assert self.clock.getDelayedCalls() == []
