"""
One client on Twisted: from the greeting to the end of its connection.

The protocol feeds a `Handshake` and acts on its events. When transmission
begins it makes a `Session` and hands the connection to a link.
"""

from __future__ import annotations

import typing
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.errors import ExportUnavailable, UnknownExport
from gateway.interfaces import IChangedBlocks, IExport, IExportSource, IOffer
from gateway.nbd import handshake as hs
from gateway.nbd.events import (
    Close,
    Drop,
    ExportWanted,
    ListWanted,
    StartTLS,
    TransmissionBegins,
)
from gateway.nbd.limits import Limits
from gateway.nbd.session import Session
from gateway.nbd.shared import Shared
from gateway.nbd.socket_link import SocketLink, takes_over
from gateway.nbd.strings import quoted
from gateway.nbd.tls import ServerTLS, UnauthenticatedPeer
from gateway.nbd.transport_link import TransportLink
from gateway.traffic import Connection


class Host(typing.Protocol):
    """What a connection needs of the factory that made it."""

    source: IExportSource
    reactor: Any
    tls: ServerTLS | None
    tls_mode: str
    limits: Limits
    shared: Shared
    shutting_down: bool

    def admit(self, protocol: NBDProtocol) -> bool:
        """Count a new connection in, unless there are too many."""

    def gone(self, protocol: NBDProtocol) -> None:
        """A connection has ended."""


@implementer(IHandshakeListener)
class NBDProtocol(Protocol):
    """
    One client.

    Attributes:
        session: set once transmission has begun.
    """

    log = Logger()
    factory: Host
    transport: Any

    def __init__(self) -> None:
        self.session: Session | None = None
        self._link: SocketLink | TransportLink | None = None
        self._opened: dict[str, tuple[IOffer, IExport]] = {}
        self._peer_names: frozenset[str] = frozenset()
        self._timeout: Any = None
        self._awaits_tls = False
        self._negotiating = False
        self._ended = False
        self._export_name = ""
        self._client: Connection | None = None

    # What Twisted calls.

    def connectionMade(self) -> None:
        factory = self.factory
        self.peer = _peer_text(self.transport)
        self.number = next(factory.shared.numbers)
        if not factory.admit(self):
            self._ended = True
            self.transport.abortConnection()
            return
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            if hasattr(self.transport, option):
                getattr(self.transport, option)(True)
        limits = factory.limits
        self._handshake = hs.Handshake(factory.tls_mode, limits)
        if factory.shutting_down:
            self._handshake.shut_down()
        self._timeout = factory.reactor.callLater(limits.handshake_timeout, self._timed_out)
        self._negotiate()

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        if isinstance(self._link, TransportLink):
            self._link.data_received(data)
        elif self.session is None:
            self._handshake.receive_data(data)
            self._negotiate()

    def handshakeCompleted(self) -> None:
        tls = self.factory.tls
        assert tls is not None
        try:
            self._peer_names = tls.peer_names(self.transport.getHandle())
        except UnauthenticatedPeer as problem:
            self._drop("tls", str(problem))
            return
        self._awaits_tls = False
        self._handshake.tls_established()
        self._negotiate()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended = True
        self._stop_timeout()
        if self._link is not None:
            self._link.ended()
        if self.session is not None:
            self._count_out(self.session)
            self.session.connection_lost()
        elif self._awaits_tls:
            self.factory.shared.clients.fail("nbd", "tls")
            self.log.info(
                "{peer}: no TLS connection came about: {reason}",
                peer=self.peer,
                connection=self.number,
                reason=reason.getErrorMessage(),
            )
        self._link = self.session = None
        self.factory.gone(self)
        self._release_all_but("")

    def _count_out(self, session: Session) -> None:
        assert self._client is not None, "in transmission"
        traffic = session.traffic
        self.log.info(
            "{peer} left export {export} after {seconds:.1f} s: {requests} requests, "
            "{bytes_read} bytes read, {bytes_written} written, {errors} errors, TLS {tls}",
            peer=self.peer,
            connection=self.number,
            export=self._export_name,
            seconds=self.factory.shared.clock() - self._begun,
            requests=sum(traffic.requests),
            bytes_read=traffic.bytes_read,
            bytes_written=traffic.bytes_written,
            errors=traffic.failed,
            tls="on" if self._client.tls else "off",
        )
        self.factory.shared.clients.leave(self._client)

    def _release_all_but(self, name: str) -> None:
        """Give back the exports that were looked at, but for one in use."""
        for opened in [*self._opened]:
            if opened != name or self._ended:
                self._opened.pop(opened)[0].release()

    # The handshake.

    def _negotiate(self) -> None:
        """Act on all that the handshake has to say, and send its replies."""
        if self._negotiating:
            return
        self._negotiating = True
        try:
            self._act()
        finally:
            self._negotiating = False

    def _act(self) -> None:
        handshake = self._handshake
        while not self._ended:
            event = handshake.next_event()
            data = handshake.data_to_send()
            if data:
                self.transport.write(data)
            if event is None:
                return
            if isinstance(event, ExportWanted):
                self._look_up(event.name)
            elif isinstance(event, ListWanted):
                handshake.exports_listed(
                    (offer.name, offer.description)
                    for offer in self.factory.source.offers()
                    if self._may_use(offer)
                )
            elif isinstance(event, StartTLS):
                assert self.factory.tls is not None
                self._awaits_tls = True
                self.transport.startTLS(self.factory.tls.context_factory())
                return
            elif isinstance(event, TransmissionBegins):
                self._begin(event)
                return
            elif isinstance(event, Drop):
                self._drop("protocol", event.reason)
            elif isinstance(event, Close):
                self._ended = True
                self.transport.loseConnection()

    def _may_use(self, offer: IOffer) -> bool:
        if offer.tls_only and not self._handshake.secure:
            return False
        return offer.admits(self._peer_names)

    def _look_up(self, name: str) -> None:
        handshake = self._handshake
        try:
            offer = self.factory.source.offer(name)
        except UnknownExport:
            self._refuse_unknown(name)
            return
        if offer.tls_only and not handshake.secure:
            self.factory.shared.clients.fail("nbd", "needs_tls")
            handshake.export_refused(hs.NEEDS_TLS, f"export {quoted(name)} needs TLS")
            return
        if not offer.admits(self._peer_names):
            # In the words of a name that does not exist: no probing.
            self._refuse_unknown(name)
            return
        if offer.name in self._opened:
            self._export_opened(self._opened[offer.name][1], offer)
            return
        opening = defer.maybeDeferred(offer.open)
        opening.addCallbacks(
            self._export_opened, self._export_failed, callbackArgs=(offer,), errbackArgs=(offer,)
        )
        # Now, that does nothing: who called us goes on negotiating.
        opening.addCallback(lambda _: self._negotiate())

    def _refuse_unknown(self, name: str) -> None:
        self.factory.shared.clients.fail("nbd", "unknown_export")
        self._handshake.export_refused(hs.UNKNOWN, f"export {quoted(name)} is not offered here")

    def _export_opened(self, export: IExport, offer: IOffer) -> None:
        if self._ended:
            offer.release()
            return
        self._opened[offer.name] = offer, export
        self._handshake.export_opened(
            offer.name, offer.description, export.info, self._references(export, offer)
        )

    def _references(self, export: IExport, offer: IOffer) -> list[str]:
        """The points in time since which changes are known; none where that is not offered."""
        try:
            return list(export.references()) if IChangedBlocks.providedBy(export) else []
        except Exception:
            self.log.failure("bug: asking export {export} for its references", export=offer.name)
            return []

    def _export_failed(self, failure: Failure, offer: IOffer) -> None:
        if self._ended:
            return
        if failure.check(UnknownExport):
            self._refuse_unknown(offer.name)
            return
        if not failure.check(ExportUnavailable):
            self.log.failure("bug: opening export {export}", failure, export=offer.name)
        self.factory.shared.clients.fail("nbd", "export_unavailable")
        # Why is the operator's to know: it names files and hosts.
        self._handshake.export_refused(
            hs.UNKNOWN, f"export {quoted(offer.name)} cannot be opened, see the server's log"
        )

    def _drop(self, kind: str, reason: str) -> None:
        """``kind`` is a word of `gateway.traffic.FAILURES`."""
        self.factory.shared.clients.fail("nbd", kind)
        self.log.info(
            "{peer} dropped: {reason}", peer=self.peer, connection=self.number, reason=reason
        )
        self._ended = True
        # In order, so that replies sent before still arrive; a client that
        # does not take them is cut off by the timeout.
        self.transport.loseConnection()

    def _timed_out(self) -> None:
        self._timeout = None
        if not self._ended:
            self.factory.shared.clients.fail("nbd", "timeout")
            self.log.info(
                "{peer} dropped: handshake took too long", peer=self.peer, connection=self.number
            )
        self._ended = True
        self.transport.abortConnection()

    def _stop_timeout(self) -> None:
        timeout, self._timeout = self._timeout, None
        if timeout is not None:
            timeout.cancel()

    # Transmission.

    def _begin(self, event: TransmissionBegins) -> None:
        self._stop_timeout()
        self._export_name = event.name
        factory = self.factory
        self.log.info(
            "{peer} uses export {export} ({framing} replies)",
            peer=self.peer,
            connection=self.number,
            export=event.name,
            framing=event.terms.framing,
        )
        link: SocketLink | TransportLink
        if takes_over(self.transport):
            link = SocketLink(factory.reactor, self.transport, factory.shared)
        else:
            link = TransportLink(factory.reactor, self.transport)
        self._link = link
        session = self.session = Session(
            event.terms,
            self._opened[event.name][1],
            self._handshake.unparsed(),
            factory.limits,
            factory.shared,
            factory.reactor,
            link.progress,
        )
        self._begun = factory.shared.clock()
        self._client = factory.shared.clients.enter(
            "nbd",
            self.peer,
            event.name,
            self.session.traffic,
            self._handshake.secure,
            self._peer_names,
        )
        session.about = {"export": event.name, "connection": self.number, "peer": self.peer}
        if factory.shutting_down:
            self.session.shut_down()
        self._release_all_but(event.name)
        link.start(self.session)

    # Shutdown.

    @property
    def busy(self) -> bool:
        """Whether a request is being carried out, or a reply is on its way."""
        session = self.session
        return session is not None and bool(session.in_flight or session.outbox.pending)

    def shut_down(self) -> None:
        """Refuse options, and leave requests open, from now on."""
        if self.session is not None:
            self.session.shut_down()
        else:
            self._handshake.shut_down()

    def close(self) -> None:
        """End the connection."""
        if self._link is not None:
            self._link.close()
        elif not self._ended:
            self._ended = True
            self.transport.abortConnection()

    def abort(self) -> None:
        """End the connection at once."""
        if self._link is not None:
            self._link.abort()
        else:
            self.transport.abortConnection()


def _peer_text(transport: Any) -> str:
    """Whom a log line is about."""
    peer = transport.getPeer()
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    return f"{host}:{port}" if host is not None else "a client on a Unix socket"
