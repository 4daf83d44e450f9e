"""Our own client and our own server in one process, with a wire between them that a test turns."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gateway.nbd.client.remote import RemoteProtocol
from gateway.nbd.limits import Limits
from gateway.nbd.server import NBDFactory
from tests.protocol.in_memory import MemoryConnection


class Wire:
    """
    One connection of a `RemoteProtocol` to a server.

    Args:
        source: an `IExportSource`.
        name: of the export that the client asks for.
        segment: bytes that arrive at a time, on either end.
    """

    def __init__(self, source, name, clock=None, segment=65536):
        self.clock = Clock() if clock is None else clock
        factory = NBDFactory(source, reactor=self.clock, limits=Limits())
        self.client = RemoteProtocol(name)
        self._server = MemoryConnection(factory, self.clock, segment)
        self._segment = segment
        self._closed = False
        self.client.makeConnection(self)

    def turn(self):
        """Everything that is under way arrives."""
        if self._closed:
            return
        self._server.settle()
        while data := self._server.transport.taken(self._segment):
            self.client.dataReceived(data)
            self._server.settle()
        if self._server.ended:
            self._lose()

    # What a client's transport has.

    def write(self, data):
        assert not self._closed
        self._server.send(data)

    def loseConnection(self):
        """What was written arrives first, as it has."""

    def abortConnection(self):
        self._server.close()

    def _lose(self):
        self._closed = True
        self.client.connectionLost(Failure(ConnectionDone()))
