"""A whole server without sockets: a connection in memory, with time in the test's hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gateway.nbd.connection import NBDProtocol
from gateway.nbd.server import NBDFactory
from tests.wire_format import EndOfStream, NothingMore


class MemoryTransport:
    """
    What the server writes to: a transport with a buffer of limited size.

    Attributes:
        unread: written by the server, not taken by the client.
        paused: the server does not want to read.
        closing, aborted: how the server ended it; None and False if not.
    """

    #: Bytes; more unread ones pause the producer, as in Twisted's own transports.
    HIGH_WATER = 65536

    def __init__(self) -> None:
        self.unread = bytearray()
        self.paused = False
        self.closing = False
        self.aborted = False
        self.most_unread = 0
        self._producer: Any = None
        self._blocked = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.closing:
            return
        self.unread += data
        self.most_unread = max(self.most_unread, len(self.unread))
        self._tell()

    def taken(self, count: int) -> bytes:
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data

    def drained(self) -> bool:
        """The reactor's word that all is sent; whether that was news to the producer."""
        if self._blocked and not self.unread:
            self._blocked = False
            if self._producer is not None:
                self._producer.resumeProducing()
            return True
        return False

    def _tell(self) -> None:
        if self._producer is not None and not self._blocked and len(self.unread) > self.HIGH_WATER:
            self._blocked = True
            self._producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self._producer is None
        self._producer = producer
        self._tell()

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        assert not self.closing
        self.paused = False

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:
        self.closing = self.aborted = True

    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(None)

    def getHost(self) -> UNIXAddress:
        return UNIXAddress(None)


class MemoryConnection:
    """
    The client's end.

    Args:
        segment: bytes that reach the server at a time.
    """

    def __init__(self, factory: NBDFactory, clock: Clock, segment: int = 65536) -> None:
        protocol = factory.buildProtocol(UNIXAddress(None))
        assert isinstance(protocol, NBDProtocol)
        self.protocol = protocol
        self.transport = MemoryTransport()
        self.clock = clock
        self.ended = False
        self._segment = segment
        self._to_server = bytearray()
        protocol.makeConnection(self.transport)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        self._to_server += data
        self._deliver()

    def receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self.transport.taken(count - len(data))
            if len(data) < count and not self._turn():
                if self.ended:
                    raise EndOfStream(bytes(data))
                raise NothingMore(f"got {len(data)} of {count} bytes")
        return bytes(data)

    def settle(self) -> None:
        """Let the server do all that it can do without time passing, or bytes being read."""
        while self._turn():
            pass

    def close(self) -> None:
        """The client vanishes."""
        if not self.ended:
            self.ended = True
            self.transport.closing = True
            self.protocol.connectionLost(Failure(ConnectionLost()))

    def _deliver(self) -> bool:
        progress = False
        position = 0
        while position < len(self._to_server) and self._listening():
            piece = bytes(self._to_server[position : position + self._segment])
            position += len(piece)
            self.protocol.dataReceived(piece)
            progress = True
        del self._to_server[:position]
        return progress

    def _listening(self) -> bool:
        return not (self.transport.paused or self.transport.closing or self.ended)

    def _turn(self) -> bool:
        """One turn of a reactor; whether anything happened."""
        if self.ended:
            return False
        if self._deliver() or self.transport.drained():
            return True
        if self.transport.closing:
            self.ended = True
            error = ConnectionAborted if self.transport.aborted else ConnectionDone
            self.protocol.connectionLost(Failure(error()))
            return True
        due = [call.getTime() - self.clock.seconds() for call in self.clock.getDelayedCalls()]
        if due and min(due) <= 1.0:  # storage answers; timeouts are farther away
            self.clock.advance(max(min(due), 0))
            return True
        return False
