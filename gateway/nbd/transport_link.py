"""
The link between a session and any Twisted transport: TLS takes this way.

Bytes are copied into and out of the session's buffers; back-pressure goes
through Twisted's producer interface.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from gateway.nbd.inbox import ProtocolViolation
from gateway.nbd.session import Session

#: Seconds for a client to take its last replies and, with TLS, to say goodbye.
_GOODBYE = 2.0


@implementer(IPushProducer)
class TransportLink:
    """
    A session on a Twisted transport.

    Args:
        reactor: for time.
        transport: any ``ITransport`` that takes a push producer.
    """

    def __init__(self, reactor: Any, transport: Any) -> None:
        self._reactor = reactor
        self._transport = transport
        self._deadline: Any = None
        self._blocked = False
        self._paused = False
        self._closed = False
        #: Received, but there was no room for it in the inbox.
        self._held = memoryview(b"")

    def start(self, session: Session) -> None:
        """Serve what came behind the handshake, and what will come."""
        self.session = session
        self._transport.registerProducer(self, True)
        self.progress()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._held = memoryview(bytes(self._held) + data if self._held else data)
        self.progress()

    def progress(self) -> None:
        """Serve and send as far as client and storage keep up."""
        if self._closed:
            return
        session = self.session
        try:
            self._turn(session)
        except ProtocolViolation as violation:
            session.log.info("dropping a client: {reason}", reason=violation)
            self.abort()
            return
        except Exception:
            session.log.failure("bug: dropping a client")
            self.abort()
            return
        if session.finished:
            self.close()
            return
        paused = session.stalled or self._blocked
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()

    def _turn(self, session: Session) -> None:
        outbox = session.outbox
        while True:
            session.serve()
            sent = False
            while not self._blocked and (pieces := outbox.head()):
                sent = True
                for piece in pieces:
                    self._transport.write(bytes(piece))
                    outbox.taken(len(piece))
            if self._held and not session.stalled:
                space = session.inbox.space()
                count = min(len(space), len(self._held))
                space[:count] = self._held[:count]
                self._held = self._held[count:]
                session.inbox.received(count)
            elif not sent:
                return

    def pauseProducing(self) -> None:
        """The transport holds enough."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """The transport has sent what it held."""
        self._blocked = False
        self.progress()

    def stopProducing(self) -> None:
        """The connection is gone; `close` or the protocol's own notice follows."""
        self._blocked = True

    def close(self) -> None:
        """End in order: what was sent arrives, if the client takes it in time."""
        if not self._closed:
            self._closed = True
            self._transport.unregisterProducer()
            self._transport.loseConnection()
            # A silent client would otherwise keep TLS waiting for its goodbye.
            self._deadline = self._reactor.callLater(_GOODBYE, self._transport.abortConnection)

    def abort(self) -> None:
        """End now."""
        if not self._closed:
            self._closed = True
            self._transport.unregisterProducer()
        self._transport.abortConnection()

    def ended(self) -> None:
        """The connection is gone."""
        self._closed = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
