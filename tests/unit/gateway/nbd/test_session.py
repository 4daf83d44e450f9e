"""Tests of a session without any link: what it begins, what it leaves for later, what it keeps."""

from __future__ import annotations

import gc
import struct
import weakref
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from backends.memory import MemoryProvider
from gateway.errors import Unavailable
from gateway.info import MIB
from gateway.interfaces import Resources
from gateway.nbd.limits import Limits
from gateway.nbd.session import Session
from gateway.nbd.shared import Shared
from gateway.nbd.terms import STRUCTURED, Terms, transmission_flags
from gateway.traffic import OPS

REQUEST = struct.Struct(">IHHQQI")
READ, WRITE = 0, 1


def request(kind: int, offset: int, length: int) -> bytes:
    return REQUEST.pack(0x25609513, 0, kind, 1, offset, length)


class Ticking:
    """A clock that each look at moves on."""

    def __init__(self, tick: float) -> None:
        self.now = 0.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


class Desk:
    """A session on a memory disk, with everything it was given."""

    def __init__(self, tick: float = 0.0) -> None:
        self.reactor = Clock()
        self.clock = Ticking(tick)
        self.turns = 0
        resources = Resources(self.reactor, lambda *args: Deferred(), "/nowhere")
        provider = MemoryProvider()
        settings = provider.settings(size=64 * MIB)
        self.export: Any = provider.open_export("disk", settings, False, resources)
        info = self.export.info
        flags = transmission_flags(info, STRUCTURED, False)
        self.session = Session(
            Terms(info, STRUCTURED, (), flags),
            self.export,
            b"",
            Limits(),
            Shared(clock=self.clock),
            self.reactor,
            self.turn,
        )

    def turn(self) -> None:
        self.turns += 1
        self.session.serve()

    def receive(self, data: bytes) -> None:
        space = self.session.inbox.space()
        space[: len(data)] = data
        self.session.inbox.received(len(data))
        self.session.serve()


def test_many_requests_are_served_over_several_turns() -> None:
    """
    What one client has sent at once does not hold up the others: after a
    millisecond the rest waits for the reactor's next turn.
    """
    desk = Desk(tick=0.0001)
    desk.receive(request(READ, 0, 512) * 100)
    assert 0 < desk.session.requests < 20
    desk.reactor.advance(0)
    assert desk.turns > 5
    assert desk.session.requests == 100
    assert not desk.reactor.getDelayedCalls()


def test_what_is_left_over_is_forgotten_with_the_connection() -> None:
    """A turn that was still to come serves nobody."""
    desk = Desk(tick=0.0001)
    desk.receive(request(READ, 0, 512) * 100)
    before = desk.session.requests
    desk.session.connection_lost()
    desk.reactor.advance(1)
    assert (desk.session.requests, desk.turns) == (before, 0)


def test_a_turn_without_time_leaves_long_reads_to_the_next() -> None:
    """
    A thread may hold the processor from one look at the clock to the next. What
    waits for room in an outbox that is empty by then has nobody else to wake it.
    """
    desk = Desk()
    desk.export.write(0, b"x" * 8 * MIB, False)
    desk.receive(request(READ, 0, 8 * MIB))
    outbox = desk.session.outbox
    assert outbox.full and desk.session.in_flight
    sent = 0
    while desk.session.in_flight:
        while outbox.pending:
            count = sum(map(len, outbox.head()))
            outbox.taken(count)
            sent += count
        desk.clock.tick = 0.01
        desk.session.serve()
        desk.clock.tick = 0.0
        assert not outbox.pending and desk.reactor.getDelayedCalls()
        desk.reactor.advance(0)
    assert sent + outbox.pending > 8 * MIB


@pytest.mark.parametrize("offset", [0, 100, 511])
def test_long_reads_are_cut_where_no_block_is(offset: int) -> None:
    """
    D4: each block of 512 bytes is read in one go, so that none is half of a
    write that comes in between.
    """
    desk = Desk()
    desk.export.write(0, b"x" * 4 * MIB, False)
    seen: list[tuple[int, int]] = []
    read_into = desk.export.read_into

    def record(at: int, buffer: memoryview) -> bool:
        seen.append((at, len(buffer)))
        return bool(read_into(at, buffer))

    desk.session._export = desk.export = type("Export", (), {
        "info": desk.export.info,
        "extents": staticmethod(desk.export.extents),
        "read_into": staticmethod(record),
    })()  # fmt: skip
    desk.receive(request(READ, offset, 2 * MIB))
    while pieces := desk.session.outbox.head():
        desk.session.outbox.taken(len(pieces[0]))
        desk.session.serve()
    assert sum(length for _, length in seen) == 2 * MIB
    assert all(at % 512 == 0 for at, _ in seen[1:])


def test_a_dead_session_is_freed_without_the_garbage_collector() -> None:
    """Clients that come and go cost no memory until the collector happens to run."""
    desk = Desk()
    desk.receive(request(WRITE, 0, 32 * MIB))
    gc.disable()
    try:
        session = desk.session
        gone = weakref.ref(session)
        session.connection_lost()
        del desk.session, session
        assert gone() is None
    finally:
        gc.enable()


def test_what_is_asked_for_is_counted() -> None:
    """By kind and by bytes, with what was refused and why."""
    desk = Desk()
    desk.receive(request(WRITE, 0, 4096) + bytes(4096) + request(READ, 0, 512) * 2)
    desk.receive(request(READ, 64 * MIB, 512) + request(77, 0, 0))
    traffic = desk.session.traffic
    kinds = [traffic.requests[OPS.index(op)] for op in ("write", "read", "refused")]
    assert kinds == [1, 2, 2]
    assert (traffic.bytes_written, traffic.bytes_read) == (4096, 1024)
    assert traffic.errors == {"invalid": 2}
    assert traffic.in_flight == 0


def test_only_what_waits_is_timed() -> None:
    """From its begin to storage's answer, failures as well."""
    desk = Desk()
    waiting: list[Deferred[Any]] = []

    def later(offset: int, length: int) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    desk.receive(request(READ, 0, 512))
    desk.session._export = desk.export = type("Export", (), {
        "read_into": staticmethod(lambda offset, buffer: False),
        "read": staticmethod(later),
    })()  # fmt: skip
    desk.receive(request(READ, 0, 512) * 2)
    traffic = desk.session.traffic
    assert (traffic.in_flight, sum(traffic.latencies(READ))) == (2, 1)
    desk.clock.now += 0.3
    waiting[0].callback(bytes(512))
    waiting[1].errback(Unavailable("gone"))
    assert traffic.latencies(READ) == [1, 0, 0, 0, 0, 2, 0, 0, 0, 0]
    assert round(traffic.seconds[READ], 6) == 0.6
    assert (traffic.in_flight, traffic.errors) == (0, {"io": 1})
