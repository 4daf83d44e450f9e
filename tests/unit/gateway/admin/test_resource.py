"""The operator's HTTP, from bytes to bytes."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.admin.operations import Operations
from gateway.admin.resource import AdminSite
from gateway.admin.wire import BODY_LIMIT, Cause
from gateway.errors import Corrupt, ExportBusy, ExportUnavailable, Fenced, NoSpace, Unavailable
from gateway.exports import ExportTable
from tests.doubles.volume import Volume
from tests.unit.gateway.fakes import FakeExport, FakeProvider, resources, spec

SIZE = 1 << 20


class AdminTests(SynchronousTestCase):
    """A gateway with a volume, a plain disk, and a disk that does not open."""

    def setUp(self) -> None:
        self.volume = Volume(SIZE)
        self.table = ExportTable(resources())
        self.table.apply(
            [
                spec("vm", FakeProvider("volumes", now=self.volume), description="one disk"),
                spec("a/b ä", FakeProvider("plain", now=FakeExport(4096))),
                spec("gone", FakeProvider("broken", now=ExportUnavailable("no bucket"))),
            ],
            None,
        )
        self.site = AdminSite(Operations(self.table), Clock())
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)

    def connect(self) -> tuple[Any, StringTransport]:
        protocol = self.site.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(
        self, method: str, path: str, value: Any = None, kind: str = "application/json"
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and what the JSON says; None without a body."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        if value is None:
            body = b""
        protocol, transport = self.connect()
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        if body and kind:
            head += f"content-type: {kind}\r\n"
        protocol.dataReceived(head.encode() + b"\r\n" + body)
        return parsed(transport.value())

    def problem(self, *request: Any, **named: Any) -> tuple[int, str, str]:
        """Status, cause and detail."""
        status, headers, value = self.ask(*request, **named)
        assert headers["content-type"] == "application/problem+json"
        assert value["status"] == status
        assert value["title"] == value["cause"].replace("-", " ")
        return status, value["cause"], value["detail"]

    def test_exports_are_listed_in_the_configured_order(self) -> None:
        """Open or not; nothing is opened for it."""
        status, headers, value = self.ask("GET", "/v1/exports")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert value["exports"][0] == {
            "name": "vm",
            "description": "one disk",
            "provider": "volumes",
            "storage": "",
            "read_only": False,
            "open": True,
            "volume": True,
            "size": SIZE,
            "clients": 0,
        }
        names = [(one["name"], one["open"], one["volume"]) for one in value["exports"]]
        assert names == [("vm", True, True), ("a/b ä", True, False), ("gone", False, False)]
        assert value["exports"][2]["size"] is None

    def test_one_export_comes_with_its_facts(self) -> None:
        """Those that storage knows; names are percent-encoded UTF-8."""
        _, _, value = self.ask("GET", "/v1/exports/vm")
        assert value["facts"] == {"uuid": "0" * 32, "snapshots": 0}
        _, _, value = self.ask("GET", "/v1/exports/a%2Fb%20%C3%A4")
        assert (value["name"], value["size"]) == ("a/b ä", 4096)
        assert "facts" not in value

    def test_clients_are_counted_and_operators_are_not(self) -> None:
        """Whoever looks does not see itself."""
        self.table.view(None).offer("vm").open()
        assert self.ask("GET", "/v1/exports/vm")[2]["clients"] == 1

    def test_head_is_get_without_a_body(self) -> None:
        """As HTTP has it."""
        status, headers, value = self.ask("HEAD", "/v1/exports")
        assert (status, value) == (200, None)
        assert int(headers["content-length"]) > 0

    def test_snapshots_are_taken_listed_and_deleted(self) -> None:
        """What was made says where it is."""
        status, headers, value = self.ask("POST", "/v1/exports/vm/snapshots", {"name": "mon:1"})
        monday = {"name": "mon:1", "size": SIZE, "created": 1_700_000_000.0}
        assert (status, value) == (201, monday)
        assert headers["location"] == "/v1/exports/vm/snapshots/mon%3A1"
        assert self.ask("GET", "/v1/exports/vm/snapshots")[2] == {"snapshots": [monday]}
        status, headers, value = self.ask("DELETE", headers["location"])
        assert (status, value) == (204, None)
        assert self.ask("GET", "/v1/exports/vm/snapshots")[2] == {"snapshots": []}

    def test_a_volume_is_rolled_back(self) -> None:
        """When nobody uses it."""
        self.volume.write(0, b"a" * 512, False)
        self.ask("POST", "/v1/exports/vm/snapshots", {"name": "monday"})
        self.volume.write(0, b"b" * 512, False)
        path, wish = "/v1/exports/vm/rollback", {"snapshot": "monday"}
        self.table.view(None).offer("vm").open()
        assert self.problem("POST", path, wish) == (409, "busy", "vm has 1 client connected")
        assert bytes(self.volume.read(0, 1)) == b"b"
        self.table.view(None).offer("vm").release()
        assert self.ask("POST", path, wish)[2] == {"export": "vm", "snapshot": "monday"}
        assert bytes(self.volume.read(0, 1)) == b"a"

    def test_an_export_is_reopened(self) -> None:
        """Any, when nobody uses it."""
        path = "/v1/exports/a%2Fb%20%C3%A4/reopen"
        status, _, value = self.ask("POST", path, {})
        assert (status, value["name"], value["open"], value["size"]) == (200, "a/b ä", True, 4096)
        self.table.view(None).offer("a/b ä").open()
        assert self.problem("POST", path) == (409, "busy", "a/b ä has 1 client connected")
        status, cause, detail = self.problem("POST", "/v1/exports/gone/reopen")
        assert (status, cause, detail) == (503, "unavailable", "no bucket")

    def test_a_snapshot_is_cloned(self) -> None:
        """Under the name that is asked for."""
        self.ask("POST", "/v1/exports/vm/snapshots", {"name": "monday"})
        wish = {"snapshot": "monday", "name": "vm2"}
        status, _, value = self.ask("POST", "/v1/exports/vm/clones", wish)
        assert (status, value) == (201, {"export": "vm", **wish})
        assert list(self.volume.clones) == ["vm2"]

    def test_a_volume_grows(self) -> None:
        """And does not shrink."""
        path = "/v1/exports/vm/resize"
        assert self.ask("POST", path, {"size": 2 * SIZE})[2] == {"export": "vm", "size": 2 * SIZE}
        assert self.ask("GET", "/v1/exports/vm")[2]["size"] == 2 * SIZE
        status, cause, detail = self.problem("POST", path, {"size": SIZE})
        assert (status, cause) == (409, "refused")
        assert "expected at least" in detail

    def test_garbage_is_collected(self) -> None:
        """With or without an empty object."""
        for value in (None, {}):
            done = self.ask("POST", "/v1/exports/vm/collect", value)[2]
            assert done == {"export": "vm", "emptied": 2, "swept": 1}

    def test_what_is_not_there_is_not_found(self) -> None:
        """Exports, snapshots, and paths."""
        for path in ("/v1/exports/no", "/v1/exports/", "/v1/exports/no/snapshots"):
            assert self.problem("GET", path)[:2] == (404, "not-found")
        assert self.problem("DELETE", "/v1/exports/vm/snapshots/no")[:2] == (404, "not-found")
        for path in ("/", "/v2/exports", "/v1/exports/vm/no", "/v1/exports/%ff", "/v1/exports/vm/"):
            status, cause, detail = self.problem("GET", path)
            assert (status, cause) == (404, "not-found"), path

    def test_methods_are_told_where_one_is_wrong(self) -> None:
        """In the header and for people."""
        status, headers, value = self.ask("PUT", "/v1/exports/vm/snapshots")
        assert (status, headers["allow"]) == (405, "GET, POST")
        assert value["cause"] == "method-not-allowed"
        assert self.problem("GET", "/v1/exports/vm/collect")[0] == 405

    def test_what_is_no_volume_says_so(self) -> None:
        """Not what it is, but what that means."""
        for path, value in (("snapshots", {"name": "x"}), ("resize", {"size": 1})):
            status, cause, detail = self.problem(
                "POST", f"/v1/exports/a%2Fb%20%C3%A4/{path}", value
            )
            assert (status, cause) == (409, "not-a-volume")
            assert "its storage is no volume" in detail

    def test_what_does_not_open_is_unavailable(self) -> None:
        """With the reason that its storage gave."""
        path = "/v1/exports/gone/snapshots"
        assert self.problem("GET", path) == (503, "unavailable", "no bucket")

    def test_kinds_of_failures_have_their_causes(self) -> None:
        """Who asks again, and who calls somebody, depends on them."""
        kinds = (
            (ExportBusy("x"), 409, "busy"),
            (ExportUnavailable("x"), 409, "refused"),
            (Fenced("x"), 409, "fenced"),
            (Corrupt("x"), 500, "corrupt"),
            (NoSpace("x"), 507, "no-space"),
            (Unavailable("x"), 503, "unavailable"),
        )
        for error, *expected in kinds:

            def fail(error: Exception = error) -> None:
                raise error

            self.patch(self.volume, "collect", fail)
            assert self.problem("POST", "/v1/exports/vm/collect") == (*expected, "x")

    def test_a_bug_is_in_the_log_and_not_in_the_answer(self) -> None:
        """Whoever asks learns nothing of our inside."""
        self.patch(self.volume, "collect", lambda: 1 / 0)
        with capturedLogs() as logs:
            status, cause, detail = self.problem("POST", "/v1/exports/vm/collect")
        assert (status, cause) == (500, "failed")
        assert "division" not in detail
        assert any("log_failure" in log for log in logs)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_bodies_are_checked(self) -> None:
        """What was got, and what was expected."""
        for path, value, expected in (
            ("snapshots", b"{", "expected JSON"),
            ("snapshots", b"[" * 60000, "expected JSON"),
            ("snapshots", [1], "got list, expected an object with name (string)"),
            ("snapshots", {}, "name is missing, expected name (string)"),
            ("snapshots", None, "name is missing"),
            ("snapshots", {"name": 7}, "name: got int, expected a string"),
            ("snapshots", {"name": "x", "nme": 1}, "got 'nme', expected name (string)"),
            ("resize", {"size": True}, "size: got bool, expected a whole number"),
            ("resize", {"size": "1G"}, "size: got str"),
            ("collect", {"x": 1}, "got 'x', expected no members"),
        ):
            status, cause, detail = self.problem("POST", f"/v1/exports/vm/{path}", value)
            assert (status, cause) == (400, "bad-request")
            assert expected in detail
        self.assertEqual(self.ask("GET", "/v1/exports/vm/snapshots")[2], {"snapshots": []})

    def test_bodies_are_json_by_their_header(self) -> None:
        """A form of a browser is none."""
        for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
            status, cause, _ = self.problem(
                "POST", "/v1/exports/vm/snapshots", {"name": "x"}, kind=kind
            )
            assert (status, cause) == (415, "unsupported-media-type")
        charset = "Application/JSON; charset=utf-8"
        status, _, _ = self.ask("POST", "/v1/exports/vm/snapshots", {"name": "x"}, kind=charset)
        assert status == 201

    def test_a_long_body_is_refused_and_an_endless_one_cut_off(self) -> None:
        """Neither stays in memory."""
        body = b" " * (BODY_LIMIT + 1)
        status, cause, _ = self.problem("POST", "/v1/exports/vm/snapshots", body)
        assert (status, cause) == (413, "too-large")
        protocol, transport = self.connect()
        protocol.dataReceived(
            b"POST /v1/exports/vm/snapshots HTTP/1.1\r\nhost: x\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(20):
            protocol.dataReceived(b"%x\r\n%s\r\n" % (BODY_LIMIT, b" " * BODY_LIMIT))
        assert transport.disconnecting

    def test_what_was_begun_ends_without_the_one_who_asked(self) -> None:
        """A command that was interrupted leaves no half-done work."""
        taking: Deferred[Any] = Deferred()
        self.patch(self.volume, "take_snapshot", lambda name: taking)
        protocol, transport = self.connect()
        body = b'{"name": "x"}'
        protocol.dataReceived(
            b"POST /v1/exports/vm/snapshots HTTP/1.1\r\nhost: x\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        protocol.connectionLost(Failure(ConnectionDone()))
        with capturedLogs() as logs:
            taking.errback(Unavailable("the store went away"))
        assert transport.value() == b""
        assert [log["why"] for log in logs] == ["the store went away"]

    def test_answers_are_not_kept_by_anybody(self) -> None:
        """Nor do they tell what is inside."""
        _, headers, _ = self.ask("GET", "/v1/exports")
        assert (headers["cache-control"], headers["server"]) == ("no-store", "nbdgateway")


def test_every_cause_has_a_word_of_its_own() -> None:
    """Clients go by it, and take unknown ones for failures."""
    assert len({cause.word for cause in Cause}) == len(Cause)
    assert Cause.called("busy") is Cause.BUSY
    assert Cause.called("of a later version") is Cause.called(None) is Cause.FAILED


def parsed(data: bytes) -> tuple[int, dict[str, str], Any]:
    """Of one answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body) if body else None
