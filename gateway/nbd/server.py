"""
All clients of one listener on Twisted: admission, and an end in order.

What one client says and gets is the business of `gateway.nbd.connection`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from gateway.interfaces import IExportSource
from gateway.nbd.connection import NBDProtocol
from gateway.nbd.handshake import TLS_OFF
from gateway.nbd.limits import Limits
from gateway.nbd.shared import Shared
from gateway.nbd.tls import ServerTLS


class NBDFactory(ServerFactory):
    """
    All connections of one listener.

    Args:
        source: the exports offered here.
        reactor: for time and descriptors.
        tls: needed unless ``tls_mode`` is "off".
        tls_mode: "off", "allow" (exports decide) or "require".
        shared: with the other listeners on the same reactor.
    """

    log = Logger()
    protocol = NBDProtocol  # type: ignore[assignment]  # Twisted's annotation is narrower
    noisy = False

    def __init__(
        self,
        source: IExportSource,
        *,
        reactor: Any,
        tls: ServerTLS | None = None,
        tls_mode: str = TLS_OFF,
        limits: Limits | None = None,
        shared: Shared | None = None,
    ) -> None:
        if tls is None and tls_mode != TLS_OFF:
            raise ValueError(f"tls_mode {tls_mode} without TLS material")
        self.source = source
        self.reactor = reactor
        self.tls = tls
        self.tls_mode = tls_mode
        self.limits = limits or Limits()
        self.shutting_down = False
        self.shared = shared or Shared()
        self.connections: set[NBDProtocol] = set()
        self._all_gone: Deferred[None] | None = None

    def admit(self, protocol: NBDProtocol) -> bool:
        """Count a new connection in, unless there are too many."""
        if len(self.connections) >= self.limits.max_connections:
            self.log.warn("too many connections: {peer} turned away", peer=protocol.peer)
            self.shared.clients.turn_away("nbd")
            return False
        self.shared.clients.accept("nbd")
        self.connections.add(protocol)
        return True

    def gone(self, protocol: NBDProtocol) -> None:
        """A connection has ended."""
        self.connections.discard(protocol)
        if not self.connections and self._all_gone is not None:
            all_gone, self._all_gone = self._all_gone, None
            all_gone.callback(None)

    def shut_down(self) -> Deferred[None]:
        """
        End every connection, in order as far as clients let us.

        New requests are left unanswered, begun ones finish, idle clients get
        a moment to say goodbye; then connections are closed (D9).

        Returns:
            Fires when no connection is left; at the latest after
            `Limits.shutdown_timeout` seconds.
        """
        self.shutting_down = True
        if not self.connections:
            return defer.succeed(None)
        for protocol in list(self.connections):
            protocol.shut_down()
        all_gone = self._all_gone = Deferred()
        self._deadline = self.reactor.seconds() + self.limits.shutdown_timeout
        self._call = self.reactor.callLater(self.limits.disconnect_grace, self._close_idle)
        return all_gone.addBoth(self._stop_calling)

    def _close_idle(self) -> None:
        late = self.reactor.seconds() >= self._deadline
        self._call = self.reactor.callLater(0.05, self._close_idle)
        for protocol in list(self.connections):
            if late:
                self.log.warn("{peer} cut off at shutdown", peer=protocol.peer)
                protocol.abort()
            elif not protocol.busy:
                protocol.close()

    def _stop_calling(self, result: None) -> None:
        if self._call.active():
            self._call.cancel()
