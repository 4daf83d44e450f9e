"""The table of exports, across reloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.errors import ExportBusy, ExportUnavailable, UnknownExport
from gateway.exports import ExportTable
from gateway.interfaces import IExportSource
from tests.unit.gateway.fakes import FakeExport, FakeProvider, resources, spec


class ExportTableTests(SynchronousTestCase):
    """All exports, also across reloads."""

    def setUp(self) -> None:
        self.provider = FakeProvider(now=FakeExport(4096))
        self.table = ExportTable(resources())
        self.spec: Callable[..., Any] = lambda name, **values: spec(name, self.provider, **values)

    def _names(self) -> list[str]:
        return [offer.name for offer in self.table.view(None).offers()]

    def test_exports_are_opened_when_they_appear(self) -> None:
        """Mistakes show at start, not at the first client."""
        self.table.apply([self.spec("b"), self.spec("a")], None)
        assert [name for name, _ in self.provider.attempts] == ["b", "a"]
        assert self._names() == ["b", "a"]

    def test_one_that_does_not_open_leaves_the_others_alone(self) -> None:
        """A missing disk is no reason to serve none."""
        broken = FakeProvider("broken", now=ExportUnavailable("gone"))
        self.table.apply([spec("x", broken), self.spec("a")], None)
        assert self._names() == ["x", "a"]
        assert self.table.view(None).offer("a").open() is self.provider.now

    def test_a_reload_without_changes_changes_nothing(self) -> None:
        """SIGHUP is harmless."""
        self.table.apply([self.spec("a")], None)
        assert self.table.apply([self.spec("a")], None) == ()
        assert len(self.provider.attempts) == 1

    def test_a_reload_adds_removes_and_reopens(self) -> None:
        """The difference is what the log gets."""
        self.table.apply([self.spec("a"), self.spec("b"), self.spec("c")], None)
        self.table.view(None).offer("b").open()
        changes = self.table.apply(
            [self.spec("a"), self.spec("c", size=8192), self.spec("d")], None
        )
        assert changes == (
            "- export b (1 client, until the last is gone)",
            "~ export c",
            "+ export d",
        )
        assert self._names() == ["a", "c", "d"]

    def test_a_new_export_is_told_beside_one_whose_name_it_begins(self) -> None:
        """Names are compared as a whole."""
        self.table.apply([self.spec("ab")], None)
        assert self.table.apply([self.spec("a")], None) == ("- export ab", "+ export a")

    def test_a_change_of_words_leaves_the_export_open(self) -> None:
        """Descriptions and allow lists need no reopening."""
        self.table.apply([self.spec("a")], None)
        self.table.view(None).offer("a").open()
        changes = self.table.apply([self.spec("a", description="new", tls_only=True)], None)
        assert changes == ("~ export a, stays open",)
        assert self.table.view(None).offer("a").description == "new"
        assert self.provider.now.closes == 0

    def test_a_changed_export_waits_for_the_clients_of_the_old_one(self) -> None:
        """Two clients of one name never see two disks (D11)."""
        self.table.apply([self.spec("a")], None)
        old = self.table.view(None).offer("a")
        old.open()
        self.table.apply([self.spec("a", size=8192)], None)
        with self.assertRaisesRegex(ExportBusy, "1 client of its former configuration"):
            self.table.view(None).offer("a").open()
        assert len(self.provider.attempts) == 1
        old.release()
        assert len(self.provider.attempts) == 2
        assert self.table.view(None).offer("a").open() is self.provider.now

    def test_a_renamed_export_waits_until_its_store_is_closed(self) -> None:
        """The new name does not open the file under the old one."""
        closing: Deferred[None] = Deferred()
        self.provider.now.closing = closing
        self.table.apply([self.spec("a", place="x")], None)
        self.table.apply([self.spec("b", place="x")], None)
        assert [name for name, _ in self.provider.attempts] == ["a"]
        closing.callback(None)
        assert [name for name, _ in self.provider.attempts] == ["a", "b"]

    def test_closing_all_closes_what_is_retired_as_well(self) -> None:
        """Nothing is forgotten at the end."""
        self.table.apply([self.spec("a"), self.spec("b")], None)
        self.table.view(None).offer("b").open()
        self.table.apply([self.spec("a")], None)
        self.successResultOf(self.table.close_all())
        assert self.provider.now.closes == 2

    def test_those_that_do_not_close_are_known_by_name(self) -> None:
        """For the log, when there is no more time."""
        stuck = FakeExport(4096)
        stuck.closing = Deferred()
        self.table.apply([self.spec("a"), spec("b", FakeProvider(now=stuck))], None)
        done = self.table.close_all()
        assert self.table.unclosed() == ["b"]
        stuck.closing.callback(None)
        self.successResultOf(done)
        assert self.table.unclosed() == []

    def test_closing_all_opens_nothing(self) -> None:
        """One that could not be opened is not tried again for one that has closed."""
        broken = FakeProvider("broken", now=ExportUnavailable("gone"))
        self.table.apply([self.spec("a"), spec("x", broken)], None)
        self.successResultOf(self.table.close_all())
        assert len(broken.attempts) == 1

    def test_a_view_provides_what_protocols_ask_for(self) -> None:
        """It is an IExportSource."""
        assert verifyObject(IExportSource, self.table.view(None))

    def test_a_view_shows_its_names_in_the_configured_order(self) -> None:
        """Listeners may offer less than everything."""
        self.table.apply([self.spec(name) for name in "cab"], None)
        view = self.table.view(("b", "c"))
        assert [offer.name for offer in view.offers()] == ["c", "b"]
        with self.assertRaises(UnknownExport):
            view.offer("a")

    def test_a_view_follows_reloads(self) -> None:
        """Listeners stay open while exports come and go."""
        view = self.table.view(None)
        self.table.apply([self.spec("a")], None)
        assert view.offer("a").name == "a"
        self.table.apply([], None)
        with self.assertRaises(UnknownExport):
            view.offer("a")

    def test_the_empty_name_is_the_default_where_it_is_shown(self) -> None:
        """A hidden default is no default."""
        self.table.apply([self.spec("a"), self.spec("b")], "b")
        assert self.table.view(None).offer("").name == "b"
        with self.assertRaises(UnknownExport):
            self.table.view(("a",)).offer("")

    def test_without_a_default_the_empty_name_is_unknown(self) -> None:
        """Nothing is guessed."""
        self.table.apply([self.spec("a"), self.spec("b")], None)
        with self.assertRaises(UnknownExport):
            self.table.view(None).offer("")

    def test_what_is_for_tls_only_is_hidden_where_there_is_none(self) -> None:
        """Its name is not told in clear text either."""
        self.table.apply([self.spec("a", tls_only=True)], "a")
        view = self.table.view(None, clear_text_only=True)
        assert view.offers() == []
        for name in ("a", ""):
            with self.assertRaises(UnknownExport):
                view.offer(name)
