"""Offers: one export each, opened once, closed last."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.errors import ExportBusy, ExportUnavailable
from gateway.interfaces import IOffer
from gateway.offers import Offer
from tests.unit.gateway.fakes import FakeExport, FakeProvider, resources, spec


class OfferTests(SynchronousTestCase):
    """One export."""

    def setUp(self) -> None:
        self.provider = FakeProvider()
        self.export = FakeExport(4096)
        self.offer = Offer(spec("a", self.provider), resources())

    def _later(self) -> Deferred[Any]:
        result = self.offer.open()
        assert isinstance(result, Deferred)
        return result

    def test_interface(self) -> None:
        """It provides what protocols ask for."""
        assert verifyObject(IOffer, self.offer)

    def test_those_who_ask_while_it_opens_share_one_attempt(self) -> None:
        """Ten clients after a restart do not open a disk ten times."""
        first, second = self._later(), self._later()
        assert len(self.provider.attempts) == 1
        self.provider.attempts[0][1].callback(self.export)
        assert self.successResultOf(first) is self.successResultOf(second) is self.export
        assert self.offer.users == 2

    def test_an_open_export_is_answered_now(self) -> None:
        """The usual case costs no Deferred."""
        self.offer.warm()
        self.provider.attempts[0][1].callback(self.export)
        assert self.offer.open() is self.export

    def test_a_provider_may_answer_now(self) -> None:
        """Memory needs no thread."""
        self.provider.now = self.export
        assert self.offer.open() is self.export
        assert self.offer.users == 1

    def test_a_refusal_reaches_all_who_wait_and_the_next_call_tries_again(self) -> None:
        """A store that was away at start is found later."""
        waiting = [self._later(), self._later()]
        self.provider.attempts[0][1].errback(ExportBusy("held by process 7"))
        for waiter in waiting:
            assert str(self.failureResultOf(waiter, ExportBusy).value) == "held by process 7"
        self._later()
        assert len(self.provider.attempts) == 2

    def test_a_refusal_now_is_raised_now(self) -> None:
        """Now-or-later holds for failures as well."""
        self.provider.now = ExportBusy("held")
        with self.assertRaises(ExportBusy):
            self.offer.open()

    def test_a_crash_of_the_provider_is_a_refusal_without_its_text(self) -> None:
        """Strangers do not see our tracebacks; the log does."""
        waiter = self._later()
        self.provider.attempts[0][1].errback(ZeroDivisionError("secret"))
        assert "secret" not in str(self.failureResultOf(waiter, ExportUnavailable).value)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_whoever_stops_waiting_is_no_user(self) -> None:
        """A client that hangs up while a disk opens holds nothing."""
        first, second = self._later(), self._later()
        first.cancel()
        self.provider.attempts[0][1].callback(self.export)
        self.successResultOf(second)
        self.failureResultOf(first)
        assert self.offer.users == 1

    def test_it_is_kept_open_without_users(self) -> None:
        """The next client finds its caches warm."""
        self.provider.now = self.export
        self.offer.open()
        self.offer.release()
        assert self.export.closes == 0

    def test_a_retired_export_closes_when_its_last_user_is_gone(self) -> None:
        """Connections outlive the configuration they came with."""
        self.provider.now = self.export
        self.offer.open()
        self.offer.open()
        self.offer.retire()
        self.offer.release()
        assert self.export.closes == 0
        self.offer.release()
        assert self.export.closes == 1

    def test_a_retired_export_admits_nobody(self) -> None:
        """Hidden at once."""
        self.provider.now = self.export
        self.offer.open()
        self.offer.retire()
        with self.assertRaises(ExportUnavailable):
            self.offer.open()

    def test_an_export_retired_while_it_opens_is_closed_when_it_is_open(self) -> None:
        """Nothing is left behind, and whoever waits is told."""
        waiter = self._later()
        self.offer.retire()
        done = self.offer.when_closed()
        self.assertNoResult(done)
        self.provider.attempts[0][1].callback(self.export)
        self.failureResultOf(waiter, ExportUnavailable)
        self.successResultOf(done)
        assert self.export.closes == 1

    def test_closing_waits_for_the_last_flush(self) -> None:
        """The process does not end before the bytes are safe."""
        self.provider.now = self.export
        self.export.closing = Deferred()
        self.offer.open()
        done = self.offer.close()
        self.assertNoResult(done)
        self.export.closing.callback(None)
        self.successResultOf(done)

    def test_an_error_while_closing_is_logged_and_ends_it(self) -> None:
        """One bad disk does not keep the others from closing."""
        self.provider.now = self.export
        self.export.closing = Deferred()
        self.offer.open()
        done = self.offer.close()
        self.export.closing.errback(OSError("lost"))
        self.successResultOf(done)
        assert len(self.flushLoggedErrors(OSError)) == 1

    def test_clients_are_admitted_by_what_they_proved(self) -> None:
        """An empty list admits everyone."""
        assert self.offer.admits(frozenset())
        self.offer.spec = attrs.evolve(self.offer.spec, tls_clients=frozenset({"cn:vm17"}))
        assert self.offer.admits(frozenset({"cn:vm17", "san:vm17.example"}))
        assert not self.offer.admits(frozenset({"cn:vm18"}))
        assert not self.offer.admits(frozenset())

    def test_one_retired_while_it_waits_for_its_store_is_never_opened(self) -> None:
        """The stop of the gateway is no time to open a disk."""
        former = Offer(spec("a", FakeProvider(now=self.export)), resources())
        self.export.closing = Deferred()
        former.warm()
        former.retire()
        offer = Offer(spec("a", self.provider), resources(), [former])
        waiter = offer.open()
        assert isinstance(waiter, Deferred)
        done = offer.close()
        self.assertNoResult(done)
        self.export.closing.callback(None)
        self.failureResultOf(waiter, ExportUnavailable)
        self.successResultOf(done)
        assert self.provider.attempts == []
