"""Listening ports: opened from endpoint strings or handed over, one protocol behind each."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger

from gateway import unix_sockets
from gateway.activation import ActivationError, Inherited, choose
from gateway.config import ListenerSpec
from gateway.exports import ExportTable
from gateway.http.standing import InThread, Standing
from gateway.nbd.limits import Limits
from gateway.nbd.server import NBDFactory
from gateway.nbd.shared import Shared
from gateway.slow import SlowOperations
from gateway.traffic import Connections

#: Makes what speaks a protocol behind a listener. The last argument is how many
#: seconds there are for what is in flight when it stops.
MakeFactory = Callable[[ListenerSpec, ExportTable, Any, float], Any]


class CannotListen(Exception):
    """A listener did not get its port; the text says which and why."""


class NBDFactories:
    """
    Makes the NBD factories of one gateway; all of them share what there is one of.

    Args:
        clients: where they count.
        slow: is told of the requests that storage answered later.
    """

    def __init__(self, clients: Connections, slow: SlowOperations | None = None) -> None:
        self._shared = Shared(clients=clients, slow=slow)

    def __call__(
        self, spec: ListenerSpec, table: ExportTable, reactor: Any, shutdown_timeout: float
    ) -> NBDFactory:
        return NBDFactory(
            table.view(spec.exports, clear_text_only=spec.tls == "off"),
            reactor=reactor,
            tls=spec.server_tls,
            tls_mode=spec.tls,
            limits=Limits(
                handshake_timeout=spec.handshake_timeout,
                max_connections=spec.max_connections,
                shutdown_timeout=shutdown_timeout,
            ),
            shared=self._shared,
        )


class HTTPFactories:
    """
    Makes the HTTP factories of one gateway.

    Args:
        clients: where they count.
        standing: what monitors are told.
        in_thread: for what takes a while and must not wait for storage.
    """

    def __init__(self, clients: Connections, standing: Standing, in_thread: InThread) -> None:
        self._clients = clients
        self._standing = standing
        self._in_thread = in_thread

    def __call__(
        self, spec: ListenerSpec, table: ExportTable, reactor: Any, shutdown_timeout: float
    ) -> Any:
        # Late: nobody else needs twisted.web or prometheus_client.
        from gateway.admin.operations import Operations
        from gateway.admin.resource import AdminResource, BoundedRequest
        from gateway.http.disks import Disks
        from gateway.http.guard import OPEN_PATHS, Guard
        from gateway.http.pages import Pages
        from gateway.http.site import HTTPFactory, Parts

        tls = spec.server_tls if spec.tls == "require" else None

        def names_of(request: Any) -> frozenset[str]:
            if tls is None:
                return frozenset()
            names: frozenset[str] = tls.peer_names(request.channel.transport.getHandle())
            return names

        source = table.view(spec.exports, clear_text_only=spec.tls == "off")
        pages = Pages()
        return HTTPFactory(
            Parts(
                Guard(spec.token, open_paths=pages.paths.union(OPEN_PATHS)),
                Disks(source, self._clients, reactor, names_of),
                self._standing,
                AdminResource(Operations(table, self._clients)),
                self._in_thread,
                pages,
            ),
            reactor=reactor,
            clients=self._clients,
            request=BoundedRequest,
            tls=None if tls is None else tls.context_factory(),
            max_connections=spec.max_connections,
            shutdown_timeout=shutdown_timeout,
        )


def factories(
    clients: Connections,
    standing: Standing,
    in_thread: InThread,
    slow: SlowOperations | None = None,
) -> dict[str, MakeFactory]:
    """For one gateway: how to speak each protocol; arguments as for those that make them."""
    return {
        "nbd": NBDFactories(clients, slow),
        "http": HTTPFactories(clients, standing, in_thread),
    }


class Doorway(ServerFactory):
    """
    Stands between a port and its protocol, so that a reload can put another
    factory behind an open port. Connections keep the factory they came with.

    Attributes:
        factory: for those who connect from now on. Beside what Twisted asks
            of one it has ``shut_down()``, which ends its connections, and
            ``connections``, a collection of those there are.
    """

    _log = Logger()
    noisy = False

    def __init__(self, factory: Any, max_connections: int) -> None:
        """
        Args:
            max_connections: more are closed at once, those of former
                factories included.
        """
        self.factory = factory
        self._max_connections = max_connections
        self._former: list[Any] = []

    def startFactory(self) -> None:
        self.factory.doStart()

    def stopFactory(self) -> None:
        self.factory.doStop()

    def buildProtocol(self, addr: Any) -> Protocol | None:
        # Factories count their own.
        if self._former and self.count() >= self._max_connections:
            self._log.warn("too many connections, with those from before a reload; one turned away")
            return None
        protocol: Protocol | None = self.factory.buildProtocol(addr)
        return protocol

    def replace(self, factory: Any, max_connections: int) -> None:
        """Put ``factory`` behind the port."""
        factory.doStart()
        self.factory.doStop()
        self._former.append(self.factory)
        self.factory = factory
        self._max_connections = max_connections
        self.count()

    def take_over(self, other: Doorway) -> None:
        """Answer for the connections that came through a doorway whose port is closed."""
        self._former += [other.factory, *other._former]
        self.count()

    def count(self) -> int:
        """How many connections that came through here there are."""
        # Not for ever: SIGHUP may come each night.
        self._former = [former for former in self._former if former.connections]
        return sum(len(factory.connections) for factory in (self.factory, *self._former))

    def shut_down(self) -> Deferred[Any]:
        """End every connection that came through here; fires when all are gone."""
        return gatherResults(
            [maybeDeferred(factory.shut_down) for factory in (self.factory, *self._former)]
        )


class Listener:
    """
    One listener while it listens.

    Attributes:
        spec: what it was made from.
        doorway: with the protocol's factory behind it.
        ports: one; with socket activation perhaps several.
    """

    _log = Logger()

    def __init__(self, spec: ListenerSpec, doorway: Doorway, ports: list[Any]) -> None:
        self.spec = spec
        self.doorway = doorway
        self.ports = ports

    def change(self, spec: ListenerSpec, factory: Any) -> None:
        """Go on listening at the same address, with other settings."""
        if spec.mode != self.spec.mode:
            for port in self.ports:
                if isinstance(port, unix_sockets.OwnPort):
                    try:
                        port.change_mode(spec.mode)
                    except OSError as error:
                        self._log.error("{reason}", reason=str(error))
        self.doorway.replace(factory, spec.max_connections)
        self.spec = spec

    def stop_listening(self) -> Deferred[Any]:
        """Accept nobody any more; connections go on."""
        ports, self.ports = self.ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])


@attrs.define
class Opener:
    """
    Opens listeners.

    Attributes:
        reactor: a Twisted reactor.
        inherited: sockets handed over to the process.
    """

    reactor: Any
    inherited: tuple[Inherited, ...] = ()
    _taken: set[int] = attrs.field(factory=set, init=False)

    def open(self, spec: ListenerSpec, doorway: Doorway) -> Deferred[Listener]:
        """
        Start to listen. For everything but unusual endpoints the answer is
        there at once, before anyone can have connected.

        Raises:
            CannotListen: with the reason, through the ``Deferred``.
        """
        opening: Deferred[list[Any]] = maybeDeferred(self._ports, spec, doorway)

        def opened(ports: list[Any]) -> Listener:
            return Listener(spec, doorway, ports)

        def refused(failure: Any) -> Any:
            failure.trap(Exception)
            raise CannotListen(
                f"[listen:{spec.name}] cannot listen on {spec.address.text}: {failure.value}"
            ) from failure.value

        return opening.addCallbacks(opened, refused)

    def _ports(self, spec: ListenerSpec, doorway: Doorway) -> Any:
        address = spec.address
        if address.kind == "unix":
            return [unix_sockets.listen(self.reactor, address.path, spec.mode, doorway)]
        if address.kind == "systemd":
            return self._handed_over(spec, doorway)
        listening: Deferred[IListeningPort] = serverFromString(self.reactor, address.text).listen(
            doorway
        )
        return listening.addCallback(lambda port: [port])

    def _handed_over(self, spec: ListenerSpec, doorway: Doorway) -> list[Any]:
        chosen = choose(spec.address, self.inherited, self._taken)
        for found in chosen:
            if not found.is_local and spec.protocol == "http" and spec.token is None:
                raise ActivationError(
                    "other machines can reach the socket that was handed over; expected token_file"
                )
            if not (found.is_local or spec.tls == "require" or spec.allow_insecure):
                raise ActivationError(
                    "other machines can reach the socket that was handed over; "
                    "expected tls = require, or allow_insecure = yes"
                )
        self._taken.update(found.descriptor for found in chosen)
        return [self._adopt(found, doorway) for found in chosen]

    def _adopt(self, found: Inherited, doorway: Doorway) -> Any:
        port: Any
        if found.family == "UNIX":
            port = unix_sockets.AdoptedPort.adopt(self.reactor, found.descriptor, doorway)
        else:
            family = {"INET": 2, "INET6": 10}[found.family]
            port = self.reactor.adoptStreamPort(found.descriptor, family, doorway)
        # The port works on a duplicate.
        os.close(found.descriptor)
        return port
