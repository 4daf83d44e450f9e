"""
What listens for HTTP: every path, and bounds on what clients may cost.

Paths are routed here; who may ask is for `gateway.http.guard`. What is below
``/v1`` and not ours is handed to the operators' resource, which is lent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site

from gateway.http.answers import TEXT, Refusal, is_gone, refuse, send, send_json
from gateway.http.disks import Disks
from gateway.http.exposition import encode
from gateway.http.guard import SAFE, Guard
from gateway.http.layout import extents, layout
from gateway.http.raw import raw
from gateway.http.standing import InThread, Standing
from gateway.traffic import Connections

#: Seconds without a byte of a request, or between two, after which a connection is closed.
IDLE = 60.0

_VIEWS: dict[str, Callable[[Disks, Any, str], Awaitable[None]]] = {
    "raw": raw,
    "extents": extents,
    "map": layout,
}


@attrs.frozen
class Parts:
    """
    What the paths are made of.

    Attributes:
        guard: lets requests in.
        disks: what is offered here.
        standing: of the gateway.
        operators: answers what is below ``/v1`` and not answered here.
        in_thread: for the exposition.
        pages: answers everything else; None for nothing.
    """

    guard: Guard
    disks: Disks
    standing: Standing
    operators: IResource
    in_thread: InThread
    pages: IResource | None = None


class Paths(Resource):
    """Every path there is."""

    isLeaf = True
    _log = Logger()

    def __init__(self, parts: Parts) -> None:
        Resource.__init__(self)
        self._parts = parts

    def render(self, request: Any) -> Any:
        try:
            self._parts.guard.admit(request)
            answering = self._route(request)
        except Refusal as refusal:
            refuse(request, refusal)
            return NOT_DONE_YET
        if answering is None:
            return self._parts.operators.render(request)
        if isinstance(answering, Resource):
            return answering.render(request)
        Deferred.fromCoroutine(answering).addErrback(self._failed, request)
        return NOT_DONE_YET

    def _route(self, request: Any) -> Any:
        """A coroutine that answers, a resource that does, or None for the operators'."""
        try:
            segments = [segment.decode() for segment in request.postpath]
        except UnicodeDecodeError:
            raise Refusal(404, "not-found", "there is nothing at this path") from None
        only_read: Any = None
        match segments:
            case ["healthz"]:
                only_read = self._health
            case ["readyz"]:
                only_read = self._ready
            case ["metrics"]:
                only_read = self._metrics
            case ["v1", "connections"]:
                only_read = self._connections
            case ["v1", "summary"]:
                only_read = self._summary
            case ["v1", "exports", name, view] if view in _VIEWS:
                do = _VIEWS[view]

                def only_read(request: Any) -> Awaitable[None]:
                    return do(self._parts.disks, request, name)

            case ["v1", *_]:
                return None
            case _:
                if self._parts.pages is None:
                    raise Refusal(404, "not-found", "there is nothing at this path")
                return self._parts.pages
        if request.method.decode("latin-1") not in SAFE:
            allow = {b"allow": ", ".join(SAFE).encode()}
            method = request.method.decode("latin-1")[:20]
            raise Refusal(405, "method-not-allowed", f"got {method}, expected GET or HEAD", allow)
        return only_read(request)

    def _failed(self, failure: Failure, request: Any) -> None:
        refusal = failure.value
        if isinstance(refusal, ConnectionLost):
            return
        if not isinstance(refusal, Refusal):
            self._log.failure("a request over HTTP failed", failure=failure)
            refusal = Refusal(500, "failed", "the gateway failed, see its log")
        if is_gone(request):
            return
        if request.startedWriting:
            request.channel.forceAbortClient()
            return
        for name in (b"content-length", b"content-range", b"etag"):
            request.responseHeaders.removeHeader(name)
        refuse(request, refusal)

    # Pages of a line or a few.

    async def _health(self, request: Any) -> None:
        # That this is answered is the answer: the reactor turns.
        send(request, b"ok\n", TEXT)

    async def _ready(self, request: Any) -> None:
        reasons = self._parts.standing.reasons()
        text = "\n".join(["unready" if reasons else "ready", *reasons, ""])
        send(request, text.encode(), TEXT, 503 if reasons else 200)

    async def _metrics(self, request: Any) -> None:
        accept = (request.getHeader(b"accept") or b"").decode("latin-1")
        # The numbers are read here, between two turns; the text takes longer than that.
        samples = self._parts.standing.samples()
        body, kind = await self._parts.in_thread(encode, accept, samples)
        send(request, body, kind.encode())

    async def _connections(self, request: Any) -> None:
        send_json(request, {"connections": self._parts.standing.connections()})

    async def _summary(self, request: Any) -> None:
        send_json(request, self._parts.standing.summary())


class HTTPFactory(ServerFactory):
    """
    All connections of one listener.

    Args:
        parts: see there.
        reactor: as Twisted's.
        clients: counts connections.
        request: what a request is made of, with its bounds.
        tls: makes server connections for TLS; None for clear text.
        max_connections: more are closed at once.
        shutdown_timeout: seconds in which answers may be finished at the end.

    Attributes:
        connections: those there are.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        parts: Parts,
        *,
        reactor: Any,
        clients: Connections,
        request: Any,
        tls: Any = None,
        max_connections: int = 1024,
        shutdown_timeout: float = 30.0,
    ) -> None:
        self._reactor = reactor
        self._clients = clients
        self._max_connections = max_connections
        self._shutdown_timeout = shutdown_timeout
        make: Any = _Site  # which Twisted has not annotated
        self._site = make(
            Paths(parts),
            requestFactory=request,
            reactor=reactor,
            timeout=IDLE,
            parsePOSTFormSubmission=False,
        )
        self._site.protocol = _Channel
        self._site.host = self
        self._tls = None if tls is None else TLSMemoryBIOFactory(tls, False, self._site, reactor)
        self._all_gone: Deferred[None] | None = None
        self._call: Any = None
        self.shutting_down = False
        self.connections: set[Any] = set()

    def startFactory(self) -> None:
        self._site.doStart()

    def stopFactory(self) -> None:
        self._site.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        if self.shutting_down:
            return None
        if len(self.connections) >= self._max_connections:
            self._log.warn("too many connections over HTTP; one turned away")
            self._clients.turn_away("http")
            return None
        self._clients.accept("http")
        return (self._tls or self._site).buildProtocol(addr)

    def came(self, channel: Any) -> None:
        """A connection was made."""
        self.connections.add(channel)

    def gone(self, channel: Any) -> None:
        """A connection has ended."""
        self.connections.discard(channel)
        if not self.connections and self._all_gone is not None:
            all_gone, self._all_gone = self._all_gone, None
            if self._call.active():
                self._call.cancel()
            all_gone.callback(None)

    def shut_down(self) -> Deferred[None]:
        """
        End every connection: those that wait for a request now, the others
        with their answers, or when time is up.
        """
        self.shutting_down = True
        for channel in list(self.connections):
            if channel.requests:
                channel.persistent = False
                channel.requests[-1].responseHeaders.setRawHeaders(b"connection", [b"close"])
            else:
                channel.transport.loseConnection()
        if not self.connections:
            return succeed(None)
        self._all_gone = Deferred()
        self._call = self._reactor.callLater(self._shutdown_timeout, self._cut_off)
        return self._all_gone

    def _cut_off(self) -> None:
        for channel in list(self.connections):
            channel.forceAbortClient()


class _Channel(HTTPChannel):
    """A connection that tells when it comes and goes."""

    # HTTP/1.1 alone: what Twisted has for HTTP/2 is not bounded.
    factory: Any

    def connectionMade(self) -> None:
        self.factory.host.came(self)
        HTTPChannel.connectionMade(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        HTTPChannel.connectionLost(self, reason)
        self.factory.host.gone(self)


class _Site(Site):
    """Makes the channels of an `HTTPFactory`."""

    noisy = False
    host: HTTPFactory

    def log(self, request: Any) -> None:
        """No line for each question."""
