"""Operators at an export that clients share."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import ExportBusy, ExportUnavailable, Fenced
from gateway.offers import Offer
from tests.unit.gateway.fakes import FakeExport, FakeProvider, resources, spec


class OperatingTests(SynchronousTestCase):
    """`SharedExport.operate` on an offer whose export opens at once."""

    def setUp(self) -> None:
        self.export = FakeExport(4096)
        self.provider = FakeProvider(now=self.export)
        self.offer = Offer(spec("a", self.provider), resources())
        self.works: list[Deferred[str]] = []

    def _work(self, export: Any) -> Deferred[str]:
        assert export is self.export
        self.works.append(Deferred())
        return self.works[-1]

    def _operate(self, alone: bool = False) -> Deferred[str]:
        return Deferred.fromCoroutine(self.offer.operate(self._work, alone))

    def test_an_operator_is_no_user(self) -> None:
        """It opens the export, and counts for nobody."""
        done = self._operate()
        assert (self.offer.users, self.offer.export) == (0, self.export)
        self.works[0].callback("done")
        assert self.successResultOf(done) == "done"

    def test_the_export_stays_open_under_an_operator(self) -> None:
        """A reload that takes it away waits."""
        done = self._operate()
        self.offer.retire()
        assert self.export.closes == 0
        self.works[0].callback("done")
        self.successResultOf(done)
        assert self.export.closes == 1
        assert self.offer.closed

    def test_alone_is_refused_while_somebody_uses_it(self) -> None:
        """And nobody is cut off."""
        self.offer.open()
        error = self.failureResultOf(self._operate(alone=True), ExportBusy).value
        assert str(error) == "a has 1 client connected"
        assert (self.works, self.offer.users) == ([], 1)
        self.offer.release()
        self._operate(alone=True)
        assert len(self.works) == 1

    def test_who_asks_while_an_operator_is_alone_waits(self) -> None:
        """And gets the export as it is then."""
        done = self._operate(alone=True)
        waiting = [self.offer.open() for _ in range(2)]
        assert self.offer.users == 0
        self.works[0].callback("done")
        assert self.successResultOf(done) == "done"
        assert [self.successResultOf(one) for one in waiting] == [self.export] * 2
        assert self.offer.users == 2

    def test_operators_do_not_wait_for_each_other(self) -> None:
        """Order among them is the export's business; clients wait for the last who is alone."""
        for _ in range(3):
            self._operate(alone=True)
        self._operate()
        waiting = self.offer.open()
        for number in (1, 0, 2):
            self.assertNoResult(waiting)
            self.works[number].callback("done")
        assert self.successResultOf(waiting) is self.export
        self.works[3].callback("done")

    def test_what_is_taken_away_is_not_operated(self) -> None:
        """Though clients may still use it."""
        self.offer.open()
        self.offer.retire()
        self.failureResultOf(self._operate(), ExportUnavailable)

    def test_a_failure_lets_clients_in_again(self) -> None:
        """Whatever it is."""
        done = self._operate(alone=True)
        waiting = self.offer.open()
        self.works[0].errback(ValueError("oops"))
        self.failureResultOf(done, ValueError)
        assert self.successResultOf(waiting) is self.export

    def test_who_waits_for_what_is_taken_away_is_refused(self) -> None:
        """The reload came first."""
        done = self._operate(alone=True)
        waiting = self.offer.open()
        self.offer.retire()
        self.works[0].callback("done")
        self.successResultOf(done)
        self.failureResultOf(waiting, ExportUnavailable)
        assert self.export.closes == 1

    def test_a_stop_does_not_wait_for_operators(self) -> None:
        """It closes the export under them."""
        done = self._operate(alone=True)
        waiting = self.offer.open()
        self.successResultOf(self.offer.close())
        self.failureResultOf(waiting, ExportUnavailable)
        self.works[0].callback("late")
        assert self.successResultOf(done) == "late"
        assert self.export.closes == 1

    def test_what_does_not_open_cannot_be_operated(self) -> None:
        """With the reason, and a new attempt each time."""
        self.provider.now = ExportUnavailable("no disk")
        for attempts in (1, 2):
            self.failureResultOf(self._operate(), ExportUnavailable)
            assert len(self.provider.attempts) == attempts

    def test_a_client_that_came_first_counts(self) -> None:
        """Both wait until the export is open."""
        self.provider.now = None
        waiting = self.offer.open()
        done = self._operate(alone=True)
        self.provider.attempts[0][1].callback(self.export)
        self.successResultOf(waiting)
        self.failureResultOf(done, ExportBusy)
        assert self.offer.users == 1


class ReopeningTests(SynchronousTestCase):
    """`SharedExport.reopen` on an offer that is open."""

    def setUp(self) -> None:
        self.export = FakeExport(4096)
        self.provider = FakeProvider(now=self.export)
        self.offer = Offer(spec("a", self.provider), resources())
        self.offer.warm()
        self.anew = self.provider.now = FakeExport(8192)

    def _reopen(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.offer.reopen())

    def test_storage_is_closed_and_opened_anew(self) -> None:
        """The new export is what clients get from then on."""
        assert self.successResultOf(self._reopen()) is self.anew
        assert (self.export.closes, self.anew.closes, self.offer.users) == (1, 0, 0)
        assert self.offer.open() is self.anew

    def test_nobody_is_cut_off(self) -> None:
        """A client is in the way, and nothing is closed."""
        self.offer.open()
        error = self.failureResultOf(self._reopen(), ExportBusy).value
        assert str(error) == "a has 1 client connected"
        assert self.export.closes == 0
        self.offer.release()
        assert self.successResultOf(self._reopen()) is self.anew

    def test_a_command_under_way_is_in_the_way(self) -> None:
        """Its storage is not taken from it."""
        work: Deferred[None] = Deferred()
        done = Deferred.fromCoroutine(self.offer.operate(lambda export: work))
        error = self.failureResultOf(self._reopen(), ExportBusy).value
        assert str(error) == "another command is not done with a"
        work.callback(None)
        self.successResultOf(done)
        assert self.successResultOf(self._reopen()) is self.anew

    def test_who_connects_meanwhile_waits(self) -> None:
        """And gets what was opened anew."""
        self.export.closing = Deferred()
        done = self._reopen()
        waiting = self.offer.open()
        assert isinstance(waiting, Deferred)
        self.assertNoResult(waiting)
        self.export.closing.callback(None)
        assert self.successResultOf(done) is self.successResultOf(waiting) is self.anew
        assert self.offer.users == 1

    def test_what_does_not_open_anew_says_why(self) -> None:
        """The next attempt may succeed."""
        self.provider.now = ExportUnavailable("no disk")
        self.failureResultOf(self._reopen(), ExportUnavailable)
        self.provider.now = self.anew
        assert self.successResultOf(self._reopen()) is self.anew
        assert self.export.closes == 1

    def test_a_failure_to_close_is_logged_and_no_hindrance(self) -> None:
        """A volume that was taken over cannot store what it still held."""
        self.export.closing = fail(Fenced("taken over"))
        assert self.successResultOf(self._reopen()) is self.anew
        (failure,) = self.flushLoggedErrors(Fenced)
        assert str(failure.value) == "taken over"

    def test_what_is_no_longer_offered_is_not_reopened(self) -> None:
        """A reload took it away, or the gateway stops."""
        self.offer.retire()
        self.failureResultOf(self._reopen(), ExportUnavailable)
        assert self.export.closes == 1
