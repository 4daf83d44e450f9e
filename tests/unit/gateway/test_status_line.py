"""How a gateway gets on, in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gateway.errors import ExportUnavailable
from gateway.exports import ExportTable
from gateway.status_line import StatusLine
from tests.unit.gateway.fakes import FakeExport, FakeProvider, resources, spec


def standing(connections: int, **providers: Any) -> tuple[StatusLine, ExportTable]:
    table = ExportTable(resources())
    listener = SimpleNamespace(doorway=SimpleNamespace(count=lambda: connections))
    told = StatusLine(table, lambda: {"one": listener})
    table.apply([spec(name, provider) for name, provider in providers.items()], None)
    return told, table


def test_while_it_starts_it_names_the_exports_that_are_not_tried_yet() -> None:
    """With what storage says that it is busy with."""
    late = FakeProvider()
    told, table = standing(0, a=FakeProvider(now=FakeExport(1)), b=late)
    assert told.starting() == "opening exports, 1 of 2 done; b"
    told.tell("b", "replaying its journal, 3 of 17 records")
    assert told.starting() == (
        "opening exports, 1 of 2 done; b (replaying its journal, 3 of 17 records)"
    )
    told.tell("b", "")
    tried: list[object] = []
    table.when_tried().addCallback(tried.append)
    assert tried == []
    late.attempts[0][1].callback(FakeExport(1))
    assert tried == [None]
    assert told.starting() == "opening exports, 2 of 2 done"


def test_while_it_serves_it_counts_clients_and_names_what_is_not_open() -> None:
    """An export that its storage refused was tried as well."""
    told, table = standing(
        2, a=FakeProvider(now=FakeExport(1)), b=FakeProvider(now=ExportUnavailable("gone"))
    )
    tried: list[object] = []
    table.when_tried().addCallback(tried.append)
    assert tried == [None]
    assert told.serving() == "serving 1 of 2 exports, 2 clients connected; not open: b"


def test_while_it_stops_it_waits_for_clients_and_then_for_exports() -> None:
    """Those that are still to be flushed."""
    told, _ = standing(1)
    assert told.stopping() == "stopping, 1 client connected"
    told, table = standing(0, **{name: FakeProvider() for name in "abcde"})
    table.close_all()
    told.tell("a", "storing 12.0 MiB")
    assert told.stopping() == (
        "stopping, exports are flushed and closed; a (storing 12.0 MiB), b, c, 2 more"
    )
