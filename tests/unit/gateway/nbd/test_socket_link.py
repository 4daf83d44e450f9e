"""Tests of the link on a bare socket, with a socket and a reactor that only count."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from twisted.internet import main
from twisted.internet.task import Clock

from backends.memory import MemoryProvider
from gateway.info import MIB
from gateway.interfaces import Resources
from gateway.nbd.limits import Limits
from gateway.nbd.session import Session
from gateway.nbd.shared import Shared
from gateway.nbd.socket_link import SocketLink
from gateway.nbd.terms import STRUCTURED, Terms, transmission_flags

READ = struct.Struct(">IHHQQI")
CHUNK = (0x668E33EF).to_bytes(4, "big")


class CountingReactor(Clock):
    """A clock that knows which descriptors wait for what."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader = self.readers.add
        self.addWriter = self.writers.add
        self.removeReader = self.readers.discard
        self.removeWriter = self.writers.discard


class GreedySocket:
    """A peer that has sent ``incoming`` and takes whatever it is sent, up to ``takes`` bytes."""

    family = socket.AF_INET

    def __init__(self, incoming: bytes = b"") -> None:
        self.incoming = incoming
        self.takes = 1 << 62
        self.sent = 0
        self.cookies: list[int] = []

    def recv_into(self, space: memoryview) -> int:
        if not self.incoming:
            raise BlockingIOError
        count = min(len(space), len(self.incoming))
        space[:count] = self.incoming[:count]
        self.incoming = self.incoming[count:]
        return count

    def send(self, data: memoryview) -> int:
        count = min(len(data), self.takes)
        if not count:
            raise BlockingIOError
        self.takes -= count
        self.sent += count
        if data[:4] == CHUNK:  # as every chunk of a long READ begins a piece
            self.cookies.append(int.from_bytes(data[8:16], "big"))
        return count

    def sendmsg(self, pieces: list[memoryview]) -> int:
        return sum(self.send(piece) for piece in pieces)

    def fileno(self) -> int:
        return 77


class Idle:
    """A transport that has been taken over."""

    def __init__(self, handle: GreedySocket) -> None:
        self.handle = handle
        self.lost: list[Any] = []

    def getHandle(self) -> GreedySocket:
        return self.handle

    def stopReading(self) -> None:
        """Nothing was registered."""

    stopWriting = doWrite = stopReading

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason.value)


class Line:
    """A link, its session on a memory disk full of data, and both of its ends."""

    def __init__(self) -> None:
        self.reactor = CountingReactor()
        self.socket = GreedySocket()
        self.transport = Idle(self.socket)
        provider = MemoryProvider()
        resources = Resources(self.reactor, lambda *args: None, "/nowhere")  # type: ignore[arg-type, return-value]
        self.export = provider.open_export(
            "disk", provider.settings(size=64 * MIB), False, resources
        )
        for offset in range(0, 64 * MIB, MIB):
            self.export.write(offset, b"x" * MIB, False)
        info = self.export.info
        shared = Shared(clock=lambda: 0.0)  # turns end for bytes sent, not for time
        terms = Terms(info, STRUCTURED, (), transmission_flags(info, STRUCTURED, False))
        self.link = SocketLink(self.reactor, self.transport, shared)
        self.session = Session(
            terms, self.export, b"", Limits(), shared, self.reactor, self.link.progress
        )
        self.link.start(self.session)

    def client_asks(self, *lengths: int) -> None:
        for cookie, length in enumerate(lengths):
            self.socket.incoming += READ.pack(0x25609513, 0, 0, cookie, 0, length)


@pytest.fixture
def line() -> Line:
    """A client in transmission."""
    return Line()


def test_a_client_that_takes_everything_leaves_others_their_turn(line: Line) -> None:
    """
    However fast one client reads, one turn sends a few MiB, and the reactor
    comes back to it for the rest.
    """
    line.client_asks(*[32 * MIB] * 8)
    line.link.doRead()
    turns = 1
    while line.link in line.reactor.writers:
        before = line.socket.sent
        line.link.doWrite()
        assert line.socket.sent - before <= 3 * MIB
        turns += 1
    assert turns > 8 * 32 / 3
    assert line.socket.sent == 8 * 32 * (MIB + 4 * 28)
    assert line.link in line.reactor.readers


def test_reads_of_up_to_1_mib_are_answered_one_by_one(line: Line) -> None:
    """A client that takes everything has each READ at once: chunks of two do not take turns."""
    line.client_asks(MIB, MIB)
    line.link.doRead()
    while line.link in line.reactor.writers:
        line.link.doWrite()
    assert line.socket.cookies == [0] * 4 + [1] * 4


def test_longer_reads_take_turns(line: Line) -> None:
    """A READ of 32 MiB does not hold up what its client asked for behind it."""
    line.client_asks(32 * MIB, MIB // 4)
    line.link.doRead()
    assert line.socket.cookies[1] == 1


def test_a_socket_that_fails_in_the_middle_of_a_read_ends_the_connection(line: Line) -> None:
    """Sending within a turn hides no failure: the reactor is told that the connection is lost."""
    line.client_asks(MIB)

    def send(data: memoryview) -> int:
        raise ConnectionResetError

    line.socket.send = send  # type: ignore[method-assign]
    assert line.link.doRead() is main.CONNECTION_LOST


def test_a_client_that_takes_nothing_is_not_read_either(line: Line) -> None:
    """Back-pressure: requests wait where the client put them."""
    line.socket.takes = 0
    line.client_asks(*[32 * MIB] * 8)
    line.link.doRead()
    assert line.link in line.reactor.writers
    assert line.link not in line.reactor.readers
    line.socket.takes = 1 << 62
    while line.link in line.reactor.writers:
        line.link.doWrite()
    assert line.link in line.reactor.readers


def test_a_wrong_magic_ends_the_connection(line: Line) -> None:
    """C1: the reactor is told that the connection is lost."""
    line.socket.incoming = bytes(28)
    assert line.link.doRead() is main.CONNECTION_LOST


def test_nothing_to_receive_changes_nothing(line: Line) -> None:
    """A reactor may call too often."""
    assert line.link.doRead() is None
    assert line.link in line.reactor.readers
