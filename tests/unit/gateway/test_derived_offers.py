"""``EXPORT@PART``: what derives from a configured export, opened on demand and closed after use."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.errors import ExportUnavailable, UnknownExport
from gateway.exports import ExportTable
from gateway.interfaces import IOffer
from gateway.offers import Offer
from tests.unit.gateway.fakes import FakeExport, FakeProvider, FakeVolume, resources, spec


class DerivedOfferTests(SynchronousTestCase):
    """One snapshot of one volume, from its first user to its last."""

    def setUp(self) -> None:
        self.monday = FakeExport(4096, read_only=True)
        self.volume = FakeVolume(8192, monday=self.monday)
        self.provider = FakeProvider(now=self.volume)
        self.base = Offer(spec("vm1", self.provider), resources())
        self.offer = self.base.derived("monday")

    def _later(self) -> Deferred[Any]:
        result = self.offer.open()
        assert isinstance(result, Deferred)
        return result

    def _opens_later(self) -> Deferred[Any]:
        """The snapshot does not answer until the test says so."""
        opening: Deferred[Any] = Deferred()
        self.volume.snapshots["monday"] = opening
        return opening

    def test_interface(self) -> None:
        """It provides what protocols ask for."""
        assert verifyObject(IOffer, self.offer)
        assert self.offer.name == "vm1@monday"

    def test_it_opens_its_volume_first(self) -> None:
        """And is answered now if both are there."""
        assert self.offer.open() is self.monday
        assert (self.base.users, self.offer.users) == (1, 1)

    def test_a_volume_that_opens_later_is_waited_for(self) -> None:
        """One attempt for all who ask."""
        self.provider.now = None
        first, second = self._later(), self._later()
        self.provider.attempts[0][1].callback(self.volume)
        assert self.successResultOf(first) is self.successResultOf(second) is self.monday
        assert self.volume.asked == ["monday"]
        assert (self.base.users, self.offer.users) == (1, 2)

    def test_all_who_ask_share_one(self) -> None:
        """Whether they ask before or after it is open."""
        opening = self._opens_later()
        first = self._later()
        assert self.base.derived("monday") is self.offer
        second = self._later()
        opening.callback(self.monday)
        assert self.successResultOf(first) is self.successResultOf(second) is self.monday
        assert self.base.derived("monday").open() is self.monday
        assert self.volume.asked == ["monday"]

    def test_it_closes_at_the_last_release_and_then_lets_its_volume_go(self) -> None:
        """The volume stays open while the snapshot may still need it."""
        self.monday.closing = Deferred()
        self.offer.open()
        self.offer.open()
        self.offer.release()
        assert self.monday.closes == 0
        self.offer.release()
        assert (self.monday.closes, self.base.users) == (1, 1)
        self.monday.closing.callback(None)
        assert (self.volume.closes, self.base.users) == (0, 0)

    def test_one_that_comes_while_it_closes_gets_a_new_one(self) -> None:
        """Never what is half closed."""
        self.monday.closing = Deferred()
        self.offer.open()
        self.offer.release()
        waiter = self._later()
        self.volume.snapshots["monday"] = anew = FakeExport(4096, read_only=True)
        self.assertNoResult(waiter)
        self.monday.closing.callback(None)
        assert self.successResultOf(waiter) is anew
        assert (self.base.users, self.offer.users) == (1, 1)
        assert anew.closes == 0

    def test_an_error_while_closing_is_logged_and_lets_the_volume_go(self) -> None:
        """A bad snapshot does not hold its volume for ever."""
        self.monday.closing = Deferred()
        self.offer.open()
        self.offer.release()
        self.monday.closing.errback(OSError("lost"))
        assert len(self.flushLoggedErrors(OSError)) == 1
        assert self.base.users == 0

    def test_an_unknown_snapshot_is_an_unknown_export(self) -> None:
        """The volume is let go, nothing is logged, and it is asked again the next time."""
        offer = self.base.derived("sunday")
        for _ in range(2):
            with self.assertRaises(UnknownExport):
                offer.open()
        assert self.volume.asked == ["sunday"] * 2
        assert self.base.users == 0
        self.volume.snapshots["sunday"] = self.monday
        assert offer.open() is self.monday

    def test_an_unknown_snapshot_may_be_told_later(self) -> None:
        """Storage has to look."""
        opening = self._opens_later()
        waiter = self._later()
        opening.errback(UnknownExport("monday"))
        self.failureResultOf(waiter, UnknownExport)
        assert self.base.users == 0

    def test_an_export_without_derived_ones_knows_none(self) -> None:
        """A file has no snapshots."""
        self.provider.now = FakeExport(4096)
        with self.assertRaises(UnknownExport):
            self.offer.open()
        assert self.base.users == 0

    def test_a_volume_that_does_not_open(self) -> None:
        """Its reason is the snapshot's."""
        self.provider.now = ExportUnavailable("unplugged")
        with self.assertRaisesRegex(ExportUnavailable, "unplugged"):
            self.offer.open()
        assert self.base.users == 0

    def test_a_crash_of_storage_is_a_refusal_without_its_text(self) -> None:
        """As for configured exports."""
        self.volume.snapshots["monday"] = ZeroDivisionError("secret")
        with self.assertRaises(ExportUnavailable) as caught:
            self.offer.open()
        assert "secret" not in str(caught.exception)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert self.base.users == 0

    def test_one_that_could_be_changed_is_not_served(self) -> None:
        """Snapshots stay what they were, whatever a provider thinks."""
        self.volume.snapshots["monday"] = writable = FakeExport(4096)
        with self.assertRaisesRegex(ExportUnavailable, "change"):
            self.offer.open()
        assert (writable.closes, self.base.users) == (1, 0)

    def test_one_that_nobody_waits_for_any_more_is_closed_again(self) -> None:
        """A client that hangs up while a snapshot opens leaves nothing open."""
        opening = self._opens_later()
        waiter = self._later()
        waiter.cancel()
        self.failureResultOf(waiter)
        opening.callback(self.monday)
        assert (self.monday.closes, self.base.users) == (1, 0)

    def test_a_retired_volume_stays_open_while_a_snapshot_is_used(self) -> None:
        """Connections outlive the configuration they came with; new ones are not let in."""
        self.offer.open()
        self.base.retire()
        assert (self.monday.closes, self.volume.closes) == (0, 0)
        with self.assertRaisesRegex(ExportUnavailable, "no longer offered"):
            self.offer.open()
        done = self.base.when_closed()
        self.assertNoResult(done)
        self.offer.release()
        assert (self.monday.closes, self.volume.closes) == (1, 1)
        self.successResultOf(done)

    def test_one_that_opens_while_its_volume_is_retired_is_closed_again(self) -> None:
        """Nothing is left behind, and whoever waits is told."""
        opening = self._opens_later()
        waiter = self._later()
        self.base.retire()
        opening.callback(self.monday)
        self.failureResultOf(waiter, ExportUnavailable)
        assert (self.monday.closes, self.volume.closes) == (1, 1)
        assert self.base.closed

    def test_who_waits_for_a_new_one_when_the_volume_is_retired_is_told(self) -> None:
        """Nobody waits for ever."""
        self.monday.closing = Deferred()
        self.offer.open()
        self.offer.release()
        waiter = self._later()
        self.base.retire()
        self.monday.closing.callback(None)
        self.failureResultOf(waiter, ExportUnavailable)
        assert self.base.closed

    def test_closing_the_volume_closes_its_snapshots_first(self) -> None:
        """Also at the stop of the gateway, whoever still uses them."""
        self.monday.closing = Deferred()
        self.offer.open()
        done = self.base.close()
        assert (self.monday.closes, self.volume.closes) == (1, 0)
        self.assertNoResult(done)
        self.monday.closing.callback(None)
        self.successResultOf(done)
        assert self.volume.closes == 1
        self.offer.release()
        assert (self.monday.closes, self.volume.closes) == (1, 1)

    def test_names_that_clients_guess_are_not_kept(self) -> None:
        """Memory is not theirs to fill."""
        offer = self.base.derived("guess")
        with self.assertRaises(UnknownExport):
            offer.open()
        gone = weakref.ref(offer)
        del offer
        gc.collect()
        assert gone() is None

    def test_one_that_opens_is_kept_until_somebody_has_it(self) -> None:
        """Though nobody but storage knows of it in the meantime."""
        opening = self._opens_later()
        waiter = self._later()
        del self.offer
        gc.collect()
        opening.callback(self.monday)
        assert self.successResultOf(waiter) is self.monday

    def test_it_is_for_those_who_may_use_the_volume(self) -> None:
        """Also after a reload changed who that is."""
        assert not self.offer.tls_only
        assert self.offer.admits(frozenset())
        self.base.spec = attrs.evolve(
            self.base.spec, tls_only=True, tls_clients=frozenset({"cn:vm17"}), description="new"
        )
        assert self.offer.tls_only
        assert self.offer.admits(frozenset({"cn:vm17"}))
        assert not self.offer.admits(frozenset({"cn:vm18"}))
        assert self.offer.description == "new"


class DerivedNameTests(SynchronousTestCase):
    """Which names mean something derived."""

    def setUp(self) -> None:
        self.monday = FakeExport(4096, read_only=True)
        self.volume = FakeVolume(8192, monday=self.monday)
        self.provider = FakeProvider(now=self.volume)
        self.table = ExportTable(resources())

    def _apply(self, *names: str, **values: Any) -> None:
        self.table.apply([spec(name, self.provider, **values) for name in names], None)

    def _unknown(self, name: str, **view: Any) -> None:
        with self.assertRaises(UnknownExport):
            self.table.view(view.pop("names", None), **view).offer(name)

    def test_what_follows_the_last_at_is_the_part(self) -> None:
        """Names of exports may hold an @ as well."""
        self._apply("vm1", "a@b")
        view = self.table.view(None)
        assert view.offer("vm1@monday").open() is self.monday
        assert view.offer("a@b@monday").name == "a@b@monday"
        self._unknown("vm1@monday@monday")

    def test_a_configured_name_comes_first(self) -> None:
        """Even where it is not shown: a name means one thing."""
        self._apply("vm1", "vm1@monday")
        view = self.table.view(None)
        assert view.offer("vm1@monday").open() is self.volume
        assert self.volume.asked == []
        self._unknown("vm1@monday", names=("vm1",))

    def test_a_part_needs_both_sides(self) -> None:
        """The default export has a name that can be said."""
        self.table.apply([spec("vm1", self.provider)], "vm1")
        for name in ("@monday", "vm1@", "@", "vm2@monday"):
            self._unknown(name)

    def test_a_part_can_be_printed(self) -> None:
        """What a client asks for may come to the log before it is known to exist."""
        self._apply("vm1")
        for part in ("mon\nday", "\x1b[2J", "\u2028"):
            self._unknown(f"vm1@{part}")
        assert self.table.view(None).offer("vm1@größe 1").name == "vm1@größe 1"

    def test_what_is_hidden_has_hidden_parts(self) -> None:
        """By the listener's choice of exports, or for lack of TLS."""
        self._apply("vm1", "vm2", tls_only=True)
        self._unknown("vm1@monday", names=("vm2",))
        self._unknown("vm1@monday", clear_text_only=True)
        assert self.table.view(("vm1",)).offer("vm1@monday").tls_only

    def test_parts_are_not_listed(self) -> None:
        """Not even while they are used."""
        self._apply("vm1")
        view = self.table.view(None)
        view.offer("vm1@monday").open()
        assert [offer.name for offer in view.offers()] == ["vm1"]

    def test_a_reload_that_removes_the_volume_hides_its_parts(self) -> None:
        """Who uses one goes on; the volume closes after the last of them."""
        self._apply("vm1")
        used = self.table.view(None).offer("vm1@monday")
        used.open()
        assert self.table.apply([], None) == ("- export vm1 (1 client, until the last is gone)",)
        self._unknown("vm1@monday")
        assert self.table.unclosed() == ["vm1"]
        used.release()
        assert (self.monday.closes, self.volume.closes) == (1, 1)
        assert self.table.unclosed() == []

    def test_a_reload_that_changes_the_volume_waits_for_users_of_its_parts(self) -> None:
        """Two clients of one name never see two disks (D11)."""
        self._apply("vm1")
        used = self.table.view(None).offer("vm1@monday")
        used.open()
        self._apply("vm1", size=8192)
        with self.assertRaises(ExportUnavailable):
            self.table.view(None).offer("vm1@monday").open()
        used.release()
        assert self.table.view(None).offer("vm1@monday").open() is self.monday

    def test_closing_everything_closes_parts(self) -> None:
        """The stop of the gateway."""
        self._apply("vm1")
        used = self.table.view(None).offer("vm1@monday")
        used.open()
        self.successResultOf(self.table.close_all())
        assert (self.monday.closes, self.volume.closes) == (1, 1)
