"""What HTTP answers, from bytes to bytes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from backends.memory import MemoryExport
from gateway.errors import ExportUnavailable, Unavailable
from gateway.http.raw import PIECE
from gateway.http.sending import STALLED
from gateway.http.site import IDLE
from gateway.traffic import READ, Traffic
from tests.unit.gateway.fakes import FakeProvider, spec
from tests.unit.gateway.http.web import SIZE, TOKEN, Answer, Held, Web, wire

PATTERN = bytes(range(256))


@pytest.fixture
def web() -> Web:
    """Its plain disk begins with a pattern and has zeroes and holes behind it."""
    made = Web()
    made.disk.write(0, PATTERN * 256, False)
    return made


def test_health_is_one_word(web: Web) -> None:
    """That the process turns."""
    answer = web.ask("/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert (web.ask("/healthz", "HEAD").body, web.ask("/healthz", "POST").status) == (b"", 403)


def test_readiness_says_why_not(web: Web) -> None:
    """503, one word, and a line for each reason."""
    assert (web.ask("/readyz").status, web.ask("/readyz").body) == (200, b"ready\n")
    broken = FakeProvider("broken", now=ExportUnavailable("s3://secret is gone"))
    with capturedLogs():
        web.table.apply([spec("gone", broken)], None)
    answer = web.ask("/readyz")
    assert (answer.status, answer.body) == (503, b"unready\nexport gone is not open\n")
    web.standing.stopping = True
    assert web.ask("/readyz").body == b"unready\nthe gateway is stopping\n"


def test_metrics_are_what_prometheus_reads(web: Web) -> None:
    """Both formats; the name of an export may hold anything."""
    text = web.ask("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in parse(text.body.decode())}
    assert {"nbdgw_connections", "nbdgw_build_info", "nbdgw_export_open"} <= names
    asked = web.ask("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(asked.body.decode())} >= {"nbdgw_build"}


def test_connections_are_listed(web: Web) -> None:
    """Who, what, since when, and what they did."""
    traffic = Traffic()
    traffic.requests[READ], traffic.bytes[READ] = 2, 8192
    web.clients.enter("nbd", "10.0.0.1:5", "vm", traffic, True, frozenset({"cn:vm17"}))
    assert web.ask("/v1/connections").json() == {
        "connections": [
            {
                "protocol": "nbd",
                "peer": "10.0.0.1:5",
                "export": "vm",
                "since": 1000.0,
                "tls": True,
                "names": ["cn:vm17"],
                "requests": {"read": 2},
                "bytes": {"read": 8192},
                "in_flight": 0,
                "errors": {},
            }
        ]
    }
    summary = web.ask("/v1/summary").json()
    assert (summary["ready"], summary["connections"]) == (True, 1)
    told = summary["exports"][0]
    assert (told["provider"], told["requests"]) == ("volumes", {"read": 2})
    # In the first bucket, as they did not wait; their bounds are told as well.
    assert told["latency"] == {"read": [2, *[0] * len(summary["latency_bounds"])]}
    assert web.ask("/v1/exports/vm").json()["traffic"]["bytes"] == {"read": 8192}


def test_paths_that_lead_nowhere_are_not_found(web: Web) -> None:
    """And what is only read is not changed."""
    for path in (
        "/dashboard",
        "/dashboard/x",
        "/v2/x",
        "/v1/nothing",
        "/v1/exports/no/raw",
        "/%ff",
        "/v1/exports//raw",
    ):
        assert web.ask(path).status == 404, path
    local = Web(local=True)
    answer = local.ask("/metrics", "DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


# Pages.


def test_the_dashboard_is_at_the_root_and_holds_nothing() -> None:
    """So it needs no token; what it asks for does. Browsers may keep it, and ask again."""
    web = Web(token=TOKEN)
    page = web.ask("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    made_of = re.findall(rb'(?:href|src)="([^"]*)"', page.body)
    assert len(made_of) == 3
    for path in made_of:
        assert web.ask(f"/{path.decode()}").status == 200, path
    head = web.ask("/", "HEAD")
    assert (head.status, head.body, int(head.headers["content-length"])) == (
        200,
        b"",
        len(page.body),
    )
    again = web.ask("/", if_none_match=page.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    for path in ("/v1/summary", "/v1/connections", "/v1/exports/vm/map", "/dashboard/x"):
        assert web.ask(path).status == 401, path
    assert Web(local=True).ask("/", "POST").status == 405


def test_modules_of_the_page_import_what_is_there(web: Web) -> None:
    """Everything is fetched from here, and typed as what it is."""
    asked, waiting = set(), ["main.js"]
    while waiting:
        name = waiting.pop()
        asked.add(name)
        module = web.ask(f"/dashboard/{name}")
        assert (module.status, module.headers["content-type"]) == (
            200,
            "text/javascript; charset=utf-8",
        )
        found = re.findall(r'from "\./([^"]*)"', module.body.decode())
        waiting += [one for one in found if one not in asked]
    assert len(asked) > 5


# Images.


def test_a_disk_is_an_image(web: Web) -> None:
    """Whole, with its exact length, and not to be kept."""
    answer = web.ask("/v1/exports/disk/raw")
    assert (answer.status, answer.headers["content-length"]) == (200, str(SIZE))
    assert answer.body == PATTERN * 256 + bytes(SIZE - 65536)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    head = web.ask("/v1/exports/disk/raw", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(SIZE), b"")


def test_a_range_is_answered_with_just_that(web: Web) -> None:
    """206, and where it lies."""
    answer = web.ask("/v1/exports/disk/raw", range="bytes=10-19")
    assert (answer.status, answer.body) == (206, PATTERN[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{SIZE}"
    assert answer.headers["content-length"] == "10"


def test_what_is_read_counts(web: Web) -> None:
    """As HTTP, for the export of the configuration."""
    web.ask("/v1/exports/disk/raw", range="bytes=0-99")
    total = web.clients.totals()["disk", "http"]
    assert (total.requests[READ], total.bytes[READ], total.in_flight) == (1, 100, 0)
    assert not web.clients.current


@pytest.mark.parametrize("range", [f"bytes={SIZE}-", "bytes=0-1,3-4"])
def test_a_range_that_cannot_be_is_416(web: Web, range: str) -> None:
    """With the size, so that the client knows better."""
    answer = web.ask("/v1/exports/disk/raw", range=range)
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{SIZE}")
    assert answer.headers["content-length"] == str(len(answer.body))


def test_only_a_snapshot_has_a_tag(web: Web) -> None:
    """Its bytes stay; If-Range and If-None-Match work with it."""
    web.volume.write(0, b"a" * 512, False)
    web.volume.take_snapshot("monday")
    assert "etag" not in web.ask("/v1/exports/vm/raw", "HEAD").headers
    path = "/v1/exports/vm@monday/raw"
    tag = web.ask(path, "HEAD").headers["etag"]
    assert re.fullmatch('"[^"]+"', tag)
    assert web.ask(path, if_none_match=tag).status == 304
    assert web.ask(path, range="bytes=0-4", if_range=tag).body == b"aaaaa"
    assert len(web.ask(path, range="bytes=0-4", if_range='"other"').body) == SIZE
    assert len(web.ask("/v1/exports/vm/raw", range="bytes=0-4", if_range='"x"').body) == SIZE
    assert web.table.offers()[0].users == 0


def test_nothing_is_read_before_the_client_has_room() -> None:
    """One piece is held, however large the disk."""
    disk = Held(MemoryExport(SIZE))
    web = Web(disk=disk)
    protocol, transport = web.connect()
    protocol.dataReceived(wire("/v1/exports/disk/raw"))
    assert [read[:2] for read in disk.reads] == [(0, PIECE)]
    assert transport.value() == b"", "nothing is said before the first piece is there"
    disk.reads[0][2].callback(bytes(PIECE))
    transport.producer.pauseProducing()
    disk.reads[1][2].callback(bytes(PIECE))
    assert len(disk.reads) == 2
    transport.producer.resumeProducing()
    assert [read[0] // PIECE for read in disk.reads] == [0, 1, 2]


def test_a_client_that_leaves_is_forgotten() -> None:
    """The export is given back, when storage has answered."""
    disk = Held(MemoryExport(SIZE))
    web = Web(disk=disk)
    protocol, _ = web.connect()
    protocol.dataReceived(wire("/v1/exports/disk/raw"))
    offer = web.table.offers()[1]
    assert offer.users == 1
    disk.reads[0][2].callback(bytes(PIECE))
    protocol.connectionLost(Failure(ConnectionDone()))
    disk.reads[1][2].callback(bytes(PIECE))
    assert (offer.users, len(disk.reads), web.clients.current) == (0, 2, {})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("view", ["raw", "map", "extents", "extents?context=changed&since=x"])
def test_a_client_that_leaves_early_is_no_failure(method: str, view: str) -> None:
    """Whatever it waited for: nothing is logged, and the export is given back."""
    web = Web()
    web.volume.take_snapshot("x")
    opening: Deferred[Any] = Deferred()
    web.table.apply([spec("late", FakeProvider("late", now=opening))], None)
    protocol, transport = web.connect()
    protocol.dataReceived(wire(f"/v1/exports/late/{view}", method))
    protocol.connectionLost(Failure(ConnectionDone()))
    with capturedLogs() as logs:
        opening.callback(web.volume)
        web.clock.pump([0.0] * 5)
    assert transport.value() == b""
    assert not [log for log in logs if log.get("log_failure")]
    assert web.table.offers()[0].users == 0


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    """It keeps an export in use."""
    disk = Held(MemoryExport(SIZE))
    web = Web(disk=disk)
    protocol, transport = web.connect()
    protocol.dataReceived(wire("/v1/exports/disk/raw"))
    disk.reads[0][2].callback(bytes(PIECE))
    transport.producer.pauseProducing()
    disk.reads[1][2].callback(bytes(PIECE))
    web.clock.advance(STALLED - 1)
    assert not transport.aborted
    web.clock.advance(1)
    assert transport.aborted
    protocol.connectionLost(Failure(ConnectionDone()))


def test_a_disk_that_cannot_be_read_is_503() -> None:
    """As long as nothing was sent; the headers of an image are gone."""
    disk = Held(MemoryExport(SIZE))
    web = Web(disk=disk)
    protocol, transport = web.connect()
    protocol.dataReceived(wire("/v1/exports/disk/raw", range="bytes=0-9"))
    disk.reads[0][2].errback(Unavailable("the store is gone"))
    answer = Answer(transport.value())
    assert (answer.status, answer.json()["cause"]) == (503, "unavailable")
    assert "content-range" not in answer.headers
    assert web.clients.totals()["disk", "http"].errors == {"io": 1}


def test_a_disk_that_fails_on_the_way_cuts_the_connection() -> None:
    """A part is not taken for the whole."""
    disk = Held(MemoryExport(SIZE))
    web = Web(disk=disk)
    protocol, transport = web.connect()
    protocol.dataReceived(wire("/v1/exports/disk/raw"))
    disk.reads[0][2].callback(bytes(PIECE))
    with capturedLogs() as logs:
        disk.reads[1][2].errback(Unavailable("the store is gone"))
    assert transport.aborted
    assert [log["why"] for log in logs if "why" in log] == ["the store is gone"]


def test_an_export_that_does_not_open_is_503(web: Web) -> None:
    """Why is for the log: it names files and hosts."""
    broken = FakeProvider("broken", now=ExportUnavailable("s3://secret is gone"))
    with capturedLogs():
        web.table.apply([spec("gone", broken)], None)
        answer = web.ask("/v1/exports/gone/raw")
    assert (answer.status, b"secret" in answer.body) == (503, False)


def test_a_disk_for_some_clients_is_not_there_for_others(web: Web) -> None:
    """In the words of a name that does not exist; with a snapshot as well."""
    provider = FakeProvider("p", now=MemoryExport(512))
    some = spec("some", provider, tls_clients=frozenset({"cn:vm17"}))
    web.table.apply([some], None)
    for name in ("some", "some@monday"):
        answer = web.ask(f"/v1/exports/{name}/raw")
        assert (answer.status, answer.json()["cause"]) == (404, "not-found")


# Extents and maps.


def test_extents_cover_the_disk_once(web: Web) -> None:
    """Data, then what was never written."""
    web.disk.write_zeroes(65536, 65536, False, False, False)
    extents = web.ask("/v1/exports/disk/extents").json()
    assert extents[0] == {"start": 0, "length": 65536, "zero": False, "hole": False}
    ends = [one["start"] + one["length"] for one in extents]
    assert [one["start"] for one in extents] == [0, *ends[:-1]]
    assert ends[-1] == SIZE
    assert all(one["zero"] for one in extents[1:])
    assert web.ask("/v1/exports/disk/extents?context=base:allocation").json() == extents


def test_extents_are_paged(web: Web) -> None:
    """From the end of the last; only within what is asked."""
    first = web.ask("/v1/exports/disk/extents?limit=1").json()
    assert first == [{"start": 0, "length": 65536, "zero": False, "hole": False}]
    rest = web.ask("/v1/exports/disk/extents?start=65536&length=512").json()
    assert [(one["start"], one["length"]) for one in rest] == [(65536, 512)]
    assert web.ask(f"/v1/exports/disk/extents?start={SIZE}").json() == []


def test_changes_since_a_snapshot_are_listed(web: Web) -> None:
    """For incremental copies."""
    web.volume.take_snapshot("monday")
    web.volume.write(4096, b"x" * 512, False)
    answer = web.ask("/v1/exports/vm/extents?context=changed&since=monday").json()
    dirty = [(one["start"], one["length"]) for one in answer if one["dirty"]]
    assert dirty == [(4096, 512)]
    assert sum(one["length"] for one in answer) == SIZE


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("context=nothing", 400),
        ("context=changed", 400),
        ("since=monday", 400),
        ("context=changed&since=never", 404),
        ("limit=0", 400),
        ("limit=x", 400),
        ("start=-1", 400),
        (f"start={SIZE + 1}", 400),
        ("start=1&start=2", 400),
    ],
)
def test_wrong_questions_are_refused(web: Web, query: str, status: int) -> None:
    """With what was expected."""
    answer = web.ask(f"/v1/exports/vm/extents?{query}")
    assert (answer.status, "expected" in answer.json()["detail"] or status == 404) == (status, True)


@pytest.mark.parametrize("cells", [1, 3, 16, 256, 4096])
def test_a_map_has_every_byte_in_a_cell(web: Web, cells: int) -> None:
    """Of whole sectors; never more cells than asked for."""
    value = web.ask(f"/v1/exports/disk/map?cells={cells}").json()
    count = len(value["data"])
    assert count <= cells
    assert value["cell"] % 512 == 0
    held = [sum(kinds) for kinds in zip(value["data"], value["zero"], value["hole"], strict=True)]
    assert held[:-1] == [value["cell"]] * (count - 1)
    assert sum(held) == SIZE
    assert sum(value["data"]) == 65536


def test_a_map_of_more_cells_than_that_is_refused(web: Web) -> None:
    """An answer is bounded, whoever asks."""
    assert web.ask("/v1/exports/disk/map?cells=4097").status == 400


def test_a_disk_without_bytes_has_a_map_and_an_image() -> None:
    """Empty ones."""
    web = Web(disk=MemoryExport(0))
    assert web.ask("/v1/exports/disk/map").json()["data"] == []
    assert web.ask("/v1/exports/disk/extents").json() == []
    answer = web.ask("/v1/exports/disk/raw")
    assert (answer.status, answer.headers["content-length"]) == (200, "0")


# Connections.


def test_idle_connections_are_closed(web: Web) -> None:
    """They are bounded in number."""
    _, transport = web.connect()
    assert len(web.factory.connections) == 1
    web.clock.advance(IDLE)
    assert transport.disconnecting


def test_too_many_connections_are_turned_away(web: Web) -> None:
    """And counted."""
    web.factory._max_connections = 1
    web.connect()
    with capturedLogs():
        assert web.connect()[0] is None
    assert (web.clients.accepted["http"], web.clients.turned_away["http"]) == (1, 1)


def test_shutting_down_lets_answers_end(web: Web) -> None:
    """Those that wait for a request are closed at once; at the latest all after a while."""
    disk = Held(web.disk)
    web = Web(disk=disk)
    idle, idle_transport = web.connect()
    busy, transport = web.connect()
    busy.dataReceived(wire("/v1/exports/disk/raw", range="bytes=0-9"))
    ended: list[object] = []
    web.factory.shut_down().addCallback(ended.append)
    assert (idle_transport.disconnecting, transport.disconnecting) == (True, False)
    assert web.connect()[0] is None
    idle.connectionLost(Failure(ConnectionDone()))
    disk.reads[0][2].callback(b"0123456789")
    assert Answer(transport.value()).body == b"0123456789"
    assert transport.disconnecting
    assert ended == []
    busy.connectionLost(Failure(ConnectionDone()))
    assert ended == [None]


def test_shutting_down_ends_after_a_while(web: Web) -> None:
    """Whatever clients do."""
    disk = Held(web.disk)
    web = Web(disk=disk)
    protocol, transport = web.connect()
    protocol.dataReceived(wire("/v1/exports/disk/raw"))
    web.factory.shut_down()
    web.clock.advance(5)
    assert transport.aborted
    protocol.connectionLost(Failure(ConnectionDone()))
