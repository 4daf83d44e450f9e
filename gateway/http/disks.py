"""Opening what a request is about, for as long as the request lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import deferLater

from gateway.errors import ExportUnavailable, StorageError, Unavailable, UnknownExport
from gateway.http.answers import Refusal, is_gone
from gateway.interfaces import IExport, IExportSource, IVolume
from gateway.traffic import READ, Connections, Traffic

#: Seconds after which other connections have their turn.
_TURN = 0.002


@attrs.frozen
class Disks:
    """
    What one listener offers, for requests.

    Attributes:
        source: its exports.
        clients: who reads counts there.
        reactor: as Twisted's.
        names_of: what a request's TLS handshake proved.
    """

    source: IExportSource
    clients: Connections
    reactor: Any
    names_of: Callable[[Any], frozenset[str]]

    @asynccontextmanager
    async def opened(self, request: Any, name: str) -> AsyncIterator[tuple[IExport, Traffic]]:
        """
        The export called ``name``, and where to count what is read of it.

        Raises:
            Refusal: there is none, for this client, or it does not open.
        """
        names = self.names_of(request)
        offer = self._offer(name, names)
        try:
            opening = offer.open()
            export: IExport = await opening if isinstance(opening, Deferred) else opening
        except UnknownExport:
            raise _unknown(name) from None
        except ExportUnavailable:
            # Why is the operator's to know: it names files and hosts.
            raise Refusal(
                503, "unavailable", f"export {name[:100]!r} cannot be opened, see the gateway's log"
            ) from None
        traffic = Traffic()
        client = self.clients.enter(
            "http", _peer(request), offer.name, traffic, request.isSecure(), names
        )
        try:
            yield export, traffic
        finally:
            self.clients.leave(client)
            offer.release()

    async def tag(self, request: Any, name: str) -> bytes | None:
        """A strong ETag: of snapshots, whose bytes stay; None for what can change."""
        base, at, part = name.rpartition("@")
        if not at or not part:
            return None
        offer = self._offer(base, self.names_of(request), None)
        if offer is None:
            return None
        opening = offer.open()
        try:
            export = await opening if isinstance(opening, Deferred) else opening
        except (UnknownExport, ExportUnavailable):
            return None
        try:
            if not IVolume.providedBy(export):
                return None
            for one in await export.snapshots():
                if one.name == part:
                    # A name can be used again, but not in the same millisecond.
                    return b"%x-%x" % (int(one.created * 1000), one.size)
        finally:
            offer.release()
        return None

    def _offer(self, name: str, names: frozenset[str], *default: Any) -> Any:
        try:
            offer = self.source.offer(name) if name else None
        except UnknownExport:
            offer = None
        # In the words of a name that does not exist: no probing.
        if offer is None or not offer.admits(names):
            if default:
                return default[0]
            raise _unknown(name)
        return offer


async def read(
    export: IExport, traffic: Traffic, offset: int, length: int, clock: Callable[[], float]
) -> bytes:
    """
    Read a piece, and count it.

    Args:
        clock: seconds.

    Raises:
        StorageError: it cannot be read.
    """
    traffic.requests[READ] += 1
    traffic.bytes[READ] += length
    try:
        result = export.read(offset, length)
        if isinstance(result, Deferred):
            traffic.waiting[READ] += 1
            begun = clock()
            try:
                result = await result
            finally:
                traffic.answered(READ, clock() - begun)
        if len(result) != length:
            raise Unavailable(f"read of {length} bytes at {offset} returned {len(result)}")
    except StorageError:
        traffic.fail("io")
        raise
    return result if isinstance(result, bytes) else bytes(result)


class Turns:
    """Lets others have their turn in long work for one request."""

    def __init__(self, reactor: Any, request: Any) -> None:
        self._reactor = reactor
        self._request = request
        self._end = reactor.seconds() + _TURN

    async def rest(self) -> None:
        """
        Wait for another turn of the reactor if this one was long.

        Raises:
            ConnectionLost: nobody waits for what comes of it.
        """
        if is_gone(self._request):
            raise ConnectionLost
        if self._reactor.seconds() >= self._end:
            await deferLater(self._reactor, 0)
            self._end = self._reactor.seconds() + _TURN


async def now(result: Any) -> Any:
    """What was answered, now or later."""
    return await result if isinstance(result, Deferred) else result


def _unknown(name: str) -> Refusal:
    return Refusal(404, "not-found", f"export {name[:100]!r} is not offered here")


def _peer(request: Any) -> str:
    address = request.getClientAddress()
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return f"{host}:{port}" if host is not None else "a client on a Unix socket"
