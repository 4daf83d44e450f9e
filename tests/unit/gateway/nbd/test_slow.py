"""A session tells of requests that storage answered late, and of failures with their fields."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from gateway.errors import Unavailable
from gateway.info import MIB, ExportInfo, Extent
from gateway.nbd.limits import Limits
from gateway.nbd.session import Session
from gateway.nbd.shared import Shared
from gateway.nbd.terms import STRUCTURED, Terms, transmission_flags
from gateway.slow import SlowOperations
from gateway.stages import note, stage, told
from tests.unit.gateway.nbd.test_session import READ, WRITE, request


class Late:
    """An export whose answers the test gives, and which tells of its stages."""

    info = ExportInfo(64 * MIB)

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        return False

    def read(self, offset: int, length: int) -> Deferred[Any]:
        return told(self._later())

    def write(self, offset: int, data: Any, fua: bool) -> Deferred[Any]:
        return told(self._later())

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        return [Extent(length, False, False)]

    async def _later(self) -> Any:
        self.waiting.append(Deferred())
        with stage("store"):
            result = await self.waiting[-1]
        note("s3_request_id", "4442587FB7D0A2F9")
        return result


class Desk:
    """A session that finds anything slow that takes a second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.export: Any = Late()
        self.session = Session(
            Terms(
                self.export.info,
                STRUCTURED,
                (),
                transmission_flags(self.export.info, STRUCTURED, False),
            ),
            self.export,
            b"",
            Limits(),
            Shared(clock=self.clock.seconds, slow=SlowOperations(1.0, self.clock.seconds)),
            self.clock,
            lambda: None,
        )
        self.session.about = {"export": "vm1", "connection": 7, "peer": "a client"}

    def receive(self, data: bytes) -> None:
        space = self.session.inbox.space()
        space[: len(data)] = data
        self.session.inbox.received(len(data))
        self.session.serve()


def test_a_request_that_storage_answers_late_is_told_with_its_stage() -> None:
    """Not one that is in time."""
    desk = Desk()
    desk.receive(request(READ, 4096, 512) + request(WRITE, 0, 512) + bytes(512))
    with capturedLogs() as events:
        desk.clock.advance(0.9)
        desk.export.waiting[1].callback(None)
        desk.clock.advance(0.3)
        desk.export.waiting[0].callback(bytes(512))
    (event,) = events
    told_of = {name: event[name] for name in ("op", "offset", "length", "export", "connection")}
    assert told_of == {
        "op": "read",
        "offset": 4096,
        "length": 512,
        "export": "vm1",
        "connection": 7,
    }
    assert (event["ms"], event["stage"]) == (1200.0, "store")
    assert event["s3_request_id"] == "4442587FB7D0A2F9"


def test_a_reader_that_takes_its_time_makes_no_slow_request() -> None:
    """A long read is sent in chunks as there is room for them."""
    desk = Desk()
    desk.receive(request(READ, 0, 16 * MIB))
    outbox = desk.session.outbox
    with capturedLogs() as events:
        while desk.session.in_flight:
            while desk.export.waiting and not desk.export.waiting[-1].called:
                desk.export.waiting[-1].callback(bytes(256 * 1024))
            if outbox.full:
                desk.clock.advance(2)
            while outbox.pending:
                outbox.taken(sum(map(len, outbox.head())))
            desk.session.serve()
    assert events == []
    assert desk.clock.seconds() > 10


def test_a_request_that_fails_is_told_with_its_fields() -> None:
    """Those that a program would look for."""
    desk = Desk()
    desk.receive(request(READ, 4096, 512))
    with capturedLogs() as events:
        desk.export.waiting[0].errback(Unavailable("the store is away"))
    (event,) = events
    assert (event["op"], event["offset"], event["length"]) == ("read", 4096, 512)
    assert (event["export"], event["connection"], event["error"]) == (
        "vm1",
        7,
        "the store is away",
    )
