"""The emulated store: what it does beside what every store does."""

from __future__ import annotations

import http.client
import json

import pytest

from benchmarks.s3_emulator.answers import S3, Request
from benchmarks.s3_emulator.conditions import PROFILES, Conditions, Faults
from benchmarks.s3_emulator.counters import dollars
from benchmarks.s3_emulator.process import BUCKET, running
from benchmarks.s3_emulator.service import Emulator


def request(method, target, body=b"", **headers):
    """A request; underscores in headers' names are hyphens."""
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request.parse(method, target, found, bytearray(body))


class Loop:
    """An emulator whose delays are noted instead of waited for."""

    def __init__(self, monkeypatch, **conditions):
        self.emulator = Emulator("disks", conditions=Conditions(**conditions))
        self.delays = []
        monkeypatch.setattr(self.emulator, "_later", self._later)

    def _later(self, began, seconds, do, *arguments):
        self.delays.append(seconds)
        do(*arguments)

    def ask(self, method, target, body=b"", **headers):
        """The answer; None if the connection is cut."""
        answers = []
        self.emulator.serve(request(method, target, body, **headers), 0.0, answers.append)
        (answer,) = answers
        return answer

    def counter(self, verb):
        return self.emulator.counters.by_verb[verb]


@pytest.mark.parametrize(
    ("method", "target", "verb"),
    [
        ("PUT", "/disks/a/b", "PUT"),
        ("GET", "/disks/a", "GET"),
        ("HEAD", "/disks/a", "HEAD"),
        ("DELETE", "/disks/a", "DELETE"),
        ("POST", "/disks?delete", "DELETES"),
        ("GET", "/disks?list-type=2&prefix=a%2F", "LIST"),
        ("GET", "/disks", "LIST"),
        ("GET", "/disks/?marker=a", "LIST"),
        ("GET", "/disks?versioning", "OTHER"),
        ("HEAD", "/disks", "OTHER"),
    ],
)
def test_what_is_counted_as_what(method, target, verb):
    """Listings cost as much as puts: what is one must not be taken for a read."""
    assert request(method, target).verb == verb


def test_both_kinds_of_listings_go_on_where_the_last_page_ended():
    """The old one by its marker, the new one by its token."""
    s3 = S3("disks")
    for number in range(5):
        s3.answer(request("PUT", f"/disks/k{number}", b"x"))
    pages = {}
    for more, token in (("", "NextMarker"), ("list-type=2&", "NextContinuationToken")):
        found, position = [], ""
        for _ in range(3):
            text = s3.answer(request("GET", f"/disks?{more}max-keys=2{position}")).body.decode()
            found.append([part[:2] for part in text.split("<Key>")[1:]])
            last = found[-1][-1]
            assert (f"<{token}>{last}</{token}>" in text) == (len(found) < 3)
            name = "marker" if token == "NextMarker" else "continuation-token"
            position = f"&{name}={last}"
        pages[token] = found
    expected = [["k0", "k1"], ["k2", "k3"], ["k4"]]
    assert pages == {"NextMarker": expected, "NextContinuationToken": expected}


def test_metadata_is_kept():
    """s3backer keeps the size of its disk in it."""
    s3 = S3("disks")
    s3.answer(request("PUT", "/disks/a", b"x", x_amz_meta_size="123"))
    assert s3.answer(request("HEAD", "/disks/a")).headers["x-amz-meta-size"] == "123"


def test_the_etag_of_a_small_object_is_its_md5():
    """s3backer compares it."""
    s3 = S3("disks")
    answer = s3.answer(request("PUT", "/disks/a", b"abc"))
    assert answer.headers["ETag"] == '"900150983cd24fb0d6963f7d28e17f72"'


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "text"),
    [
        ("GET", "/others/a", {}, 404, "NoSuchBucket"),
        ("GET", "/disks/none", {}, 404, "NoSuchKey"),
        ("PUT", "/disks/a", {"if_none_match": "*"}, 412, "PreconditionFailed"),
        ("PUT", "/disks/a", {"if_match": '"other"'}, 412, "PreconditionFailed"),
        ("PUT", "/disks/a", {"x_amz_copy_source": "/disks/b"}, 501, "NotImplemented"),
        ("PUT", "/disks/a", {"content_encoding": "aws-chunked"}, 501, "NotImplemented"),
        ("GET", "/disks/a", {"range": "bytes=9-"}, 416, "InvalidRange"),
        ("GET", "/disks?delimiter=/", {}, 501, "NotImplemented"),
        ("PUT", "/disks/" + "k" * 1025, {}, 400, "KeyTooLongError"),
        ("DELETE", "/disks", {}, 409, "BucketNotEmpty"),
    ],
)
def test_what_cannot_be_done_is_refused_as_s3_does(method, target, headers, status, text):
    """With the code that clients look at; and nothing is pretended."""
    s3 = S3("disks")
    s3.answer(request("PUT", "/disks/a", b"12345678"))
    answer = s3.answer(request(method, target, **headers))
    assert answer.status == status
    assert f"<Code>{text}</Code>" in answer.body.decode()


def test_requests_take_latency_and_their_bytes_time(monkeypatch):
    """As long as the profile says, by verb; listings and heads move no data."""
    loop = Loop(monkeypatch, put=0.030, get=0.015, list=0.040, bandwidth=1e6)
    loop.ask("PUT", "/disks/a", bytes(10_000))
    loop.ask("GET", "/disks/a", range="bytes=0-4999")
    loop.ask("HEAD", "/disks/a")
    loop.ask("GET", "/disks?list-type=2")
    loop.ask("DELETE", "/disks/a")
    assert loop.delays == pytest.approx([0.040, 0.020, 0.015, 0.040, 0.015])


def test_requests_and_bytes_are_counted_by_verb(monkeypatch):
    """Data alone: no headers, and no texts that say what is wrong."""
    loop = Loop(monkeypatch)
    loop.ask("PUT", "/disks/a", b"12345")
    loop.ask("PUT", "/disks/a", b"678", if_none_match="*")
    loop.ask("GET", "/disks/a", range="bytes=1-2")
    loop.ask("GET", "/disks/b")
    put, get = loop.counter("PUT"), loop.counter("GET")
    assert (put.requests, put.failed, put.received) == (2, 1, 8)
    assert (get.requests, get.not_found, get.failed, get.sent) == (2, 1, 0, 2)
    assert loop.counter("LIST").requests == 0


@pytest.mark.parametrize(
    ("fault", "status", "done"),
    [
        ("slow_down", 503, False),
        ("error_before", 500, False),
        ("error_after", 500, True),
        ("reset_before", None, False),
        ("reset_after", None, True),
        ("stall", 200, True),
    ],
)
def test_a_fault_does_what_it_says(monkeypatch, fault, status, done):
    """The client hears of it, the counters know it, and the deed is done or not."""
    loop = Loop(monkeypatch, faults=Faults(**{fault: 1.0}, stall_seconds=7.0))
    answer = loop.ask("PUT", "/disks/a", b"12345")
    assert (None if answer is None else answer.status) == status
    assert (loop.emulator.s3.buckets["disks"].get("a") is not None) == done
    assert loop.counter("PUT").faults == loop.counter("PUT").requests == 1
    assert loop.delays == [7.0 if fault == "stall" else 0]


def test_faults_befall_as_many_requests_as_their_rates_say(monkeypatch):
    """And other requests not at all."""
    loop = Loop(monkeypatch, faults=Faults(slow_down=0.2, error_after=0.1))
    statuses = [loop.ask("PUT", f"/disks/{number}", b"x").status for number in range(2000)]
    assert 340 < statuses.count(503) < 460
    assert 150 < statuses.count(500) < 250
    assert statuses.count(200) == 2000 - statuses.count(503) - statuses.count(500)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"put": -1}', "put: got -1, expected 0 or more"),
        ('{"faults": {"stall": 2}}', "stall: got 2, expected a rate from 0 to 1"),
        ('{"faults": {"stall": 0.6, "slow_down": 0.6}}', "add up to 1.2"),
        ('{"faults": {"flood": 0.1}}', "flood"),
        ('{"speed": 1}', "speed"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(text, expected):
    """With what was wrong."""
    with pytest.raises(ValueError, match=expected):
        Conditions.from_json(text)


def test_conditions_survive_the_wire():
    """All of them, named ones too."""
    for conditions in (*PROFILES.values(), Conditions(put=1.5, faults=Faults(stall=0.5))):
        assert Conditions.from_json(conditions.as_json()) == conditions


def test_prices_are_those_of_s3():
    """Puts and lists five dollars a million, reads forty cents, deletes nothing."""
    requests = {"PUT": 1_000_000, "LIST": 1_000_000, "GET": 1_000_000, "DELETE": 5_000_000}
    assert dollars(requests) == pytest.approx(10.4)


@pytest.fixture(scope="module")
def store():
    """One process for all tests."""
    with running("none") as store:
        yield store


class TestProcess:
    """A real one, over HTTP."""

    @pytest.fixture
    def client(self, store):
        store.empty()
        store.be(Conditions())
        store.reset()
        client = http.client.HTTPConnection(store.url.removeprefix("http://"), timeout=30)
        yield client
        client.close()

    def ask(self, client, method, target, body=None, **headers):
        client.request(method, target, body, headers)
        answer = client.getresponse()
        return answer.status, answer.read()

    def test_one_connection_is_good_for_many_requests(self, store, client):
        """Of all kinds and sizes, one after the other."""
        for number in range(20):
            body = bytes([number]) * number * 50_000
            assert self.ask(client, "PUT", f"/{BUCKET}/{number}", body)[0] == 200
            assert self.ask(client, "GET", f"/{BUCKET}/{number}") == (200, body)
            assert self.ask(client, "HEAD", f"/{BUCKET}/{number}") == (200, b"")
        asked = store.asked()
        assert asked.requests == {"PUT": 20, "GET": 20, "HEAD": 20}
        assert asked.sent == asked.got == asked.stored == sum(range(20)) * 50_000
        assert asked.objects == 20

    def test_a_client_may_wait_for_leave_to_send(self, store, client):
        """As boto3 does before every put."""
        client.putrequest("PUT", f"/{BUCKET}/a")
        client.putheader("Content-Length", "5")
        client.putheader("Expect", "100-continue")
        client.endheaders()
        assert client.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"12345")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert self.ask(client, "GET", f"/{BUCKET}/a") == (200, b"12345")

    def test_a_cut_connection_is_cut(self, store, client):
        """Without an answer, though the object is there."""
        store.be(Conditions(faults=Faults(reset_after=1.0)))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            self.ask(client, "PUT", f"/{BUCKET}/a", b"12345")
        store.be(Conditions())
        client.close()
        assert self.ask(client, "GET", f"/{BUCKET}/a") == (200, b"12345")

    @pytest.mark.parametrize(
        "text",
        [b"nonsense\r\n\r\n", b"PUT /disks/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    )
    def test_what_is_no_request_is_refused(self, store, client, text):
        """And the connection closed; others go on."""
        client.connect()
        client.sock.sendall(text)
        received = b""
        while piece := client.sock.recv(4096):
            received += piece
        assert received.startswith(b"HTTP/1.1 400 ")
        client.close()
        assert self.ask(client, "GET", f"/{BUCKET}/none")[0] == 404

    def test_whoever_measures_is_told_what_is_wrong(self, store, client):
        """Conditions that make no sense, and requests for nothing."""
        status, text = self.ask(client, "PUT", "/-/conditions", b'{"put": -1}')
        assert (status, b"expected 0 or more" in text) == (400, True)
        assert self.ask(client, "GET", "/-/nothing")[0] == 404
        status, text = self.ask(client, "GET", "/-/conditions")
        assert json.loads(text)["put"] == 0
        assert store.asked().total == 0
