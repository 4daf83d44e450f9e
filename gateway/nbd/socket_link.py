"""
The link between a session and a plain socket, around Twisted's transport.

It takes the descriptor over and receives straight into the session's buffers
and sends straight out of them: the transport itself reads 64 KiB strings and
joins what it writes, which costs a factor of three to ten here
(docs/explanation/performance.md). Connections with TLS, and in tests, use
`gateway.nbd.transport_link` instead.
"""

from __future__ import annotations

from socket import AF_UNIX, SO_SNDBUF, SOL_SOCKET, socket
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.info import MIB
from gateway.nbd.inbox import ProtocolViolation
from gateway.nbd.outbox import Outbox
from gateway.nbd.polling import TURN, WINDOW
from gateway.nbd.session import Session
from gateway.nbd.shared import Shared

#: Bytes; the kernel gives as much of it as ``net.core.wmem_max`` allows.
_SEND_BUFFER = MIB

#: A long payload comes in pieces of what the client's socket holds; this many
#: are received in one turn.
_RECEIVES = 16

#: Bytes sent in one turn; then other connections have theirs.
_SENDS = 2 * MIB

#: Requests in one turn up to which the client is taken to wait for answers.
_SHALLOW = 2

#: No bytes were there to receive.
_NOTHING = object()


def _do_nothing() -> None:
    """Stands in for a transport's method while a link has its descriptor."""


def takes_over(transport: Any) -> bool:
    """
    Whether a `SocketLink` can have this transport's descriptor: a plain
    socket with nothing left to send.
    """
    if not isinstance(transport, Connection) or transport.TLS:
        return False
    # Send the end of the handshake now; it is short and the line is idle.
    transport.doWrite()
    return len(transport.dataBuffer) == transport.offset and transport.connected == 1


@implementer(IReadWriteDescriptor)
class SocketLink:
    """
    A session on a bare non-blocking socket.

    The transport keeps owning the socket: it closes it, and tells the
    protocol so. Until then it is not registered with the reactor; this is.

    Args:
        reactor: one that polls descriptors.
        transport: a stream connection of Twisted's, idle.
        shared: with the other connections of the process.
    """

    def __init__(self, reactor: Any, transport: Any, shared: Shared) -> None:
        self._shared = shared
        self._reactor = reactor
        self._transport = transport
        self._socket: socket = transport.getHandle()
        self._writing = False
        self._reading = True
        self._closed = False
        #: Bytes that this turn may yet send.
        self._left = 0

    def start(self, session: Session) -> None:
        """Take over, and serve what came behind the handshake."""
        self.session = session
        session.drain = self._drain
        # The reactor may yet finish a turn of the transport's, in which that
        # would stop the writing of its descriptor, now ours.
        self._transport.doWrite = _do_nothing
        self._transport.stopReading()
        self._transport.stopWriting()
        if self._socket.family == AF_UNIX:
            # TCP sizes its buffers itself, a Unix socket never: with the
            # default every 100 KiB of a long reply costs a wake-up.
            self._socket.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER)
        self._reactor.addReader(self)
        self.progress()

    def fileno(self) -> int:
        return -1 if self._closed else self._socket.fileno()

    def logPrefix(self) -> str:
        return "NBD"

    def doRead(self) -> Any:
        """Receive what is there, begin what came, send what was answered."""
        before = self.session.requests
        why = self._receive()
        # A client with many requests in flight is served best in batches,
        # which gather while we are away.
        shallow = self.session.requests - before <= _SHALLOW
        if why is None and shallow and self._shared.polling.worthwhile(self):
            why = self._ask_on()
        return None if why is _NOTHING else why

    def _receive(self) -> Any:
        """
        One turn, if bytes are there.

        Returns:
            None, `_NOTHING` if there are none, or why the connection is lost.
        """
        inbox = self.session.inbox
        received = False
        try:
            for _ in range(_RECEIVES):
                count = self._socket.recv_into(inbox.space())
                if not count:
                    return main.CONNECTION_DONE
                inbox.received(count)
                received = True
                if not inbox.wants_payload:
                    break
        except (BlockingIOError, InterruptedError):
            if not received:
                return _NOTHING
        except OSError:
            return main.CONNECTION_LOST
        # Bytes of a payload that is not complete yet bring nothing about.
        return None if inbox.wants_payload else self._turn()

    def _ask_on(self) -> Any:
        """More turns without the reactor, as long as each next request comes at once."""
        clock, polling, session = self._shared.clock, self._shared.polling, self.session
        last = clock()
        end = last + TURN
        # With answers outstanding it is not the client that we wait for.
        while self._reading and not (self._writing or self._closed or session.in_flight):
            before = session.requests
            why = self._receive()
            now = clock()
            if why is None:
                polling.found()
                last = now
                if now > end or session.requests - before > _SHALLOW:
                    return None
            elif why is not _NOTHING:
                return why
            elif now - last > WINDOW:
                polling.missed()
                return None
        return None

    def doWrite(self) -> Any:
        """The client takes bytes again."""
        return self._turn()

    def progress(self) -> None:
        """Replies appeared, or may: serve and send outside of the reactor's turn."""
        if not self._closed:
            why = self._turn()
            if why is not None:
                self._reactor.removeReader(self)
                self._reactor.removeWriter(self)
                self.connectionLost(Failure(why))

    def _turn(self) -> Any:
        """
        Serve and send by turns until the client is slow, storage is slow, or
        nothing is left; then wait for exactly that.
        """
        session = self.session
        outbox = session.outbox
        self._left = _SENDS
        more = True
        try:
            while more and self._left > 0:
                session.serve()
                # Once more if sending makes room; if it is storage that holds
                # everything up, its answer comes with a turn of its own.
                more = session.stalled and outbox.pending > 0
                self._send(outbox)
                more = more and not outbox.pending
        except OSError:
            return main.CONNECTION_LOST
        except ProtocolViolation as violation:
            session.log.info("dropping a client: {reason}", reason=violation)
            return main.CONNECTION_LOST
        except Exception:
            session.log.failure("bug: dropping a client")
            return main.CONNECTION_LOST
        if session.finished:
            self.close()
            return None
        self._want(writing=more or outbox.pending > 0, reading=not session.stalled)
        return None

    def _drain(self) -> None:
        """Send in the middle of a turn what the client takes and the turn has left."""
        if self._left > 0:
            try:
                self._send(self.session.outbox)
            except OSError:
                pass  # the end of the turn meets it again

    def _send(self, outbox: Outbox) -> None:
        """Send until nothing is left or the client takes no more."""
        while pieces := outbox.head():
            try:
                if len(pieces) == 1:
                    count = self._socket.send(pieces[0])
                else:
                    count = self._socket.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                break
            outbox.taken(count)
            self._left -= count

    def _want(self, writing: bool, reading: bool) -> None:
        """Tell the reactor what to wait for, if that changed."""
        if writing is not self._writing:
            self._writing = writing
            (self._reactor.addWriter if writing else self._reactor.removeWriter)(self)
        if reading is not self._reading:
            self._reading = reading
            (self._reactor.addReader if reading else self._reactor.removeReader)(self)

    def close(self) -> None:
        """End in order; what was sent still arrives."""
        if not self._closed:
            self._give_back()
            self._transport.loseConnection()

    def abort(self) -> None:
        """End now."""
        if not self._closed:
            self._give_back()
            self._transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor's word that the socket is dead."""
        if not self._closed:
            self._give_back()
            self._transport.connectionLost(reason)

    def ended(self) -> None:
        """The connection is gone; `_give_back` was all there is to do."""

    def _give_back(self) -> None:
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._shared.polling.forget(self)
        del self._transport.doWrite
        self._closed = True
