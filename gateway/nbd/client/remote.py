"""A disk that another NBD server has, as an export."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.errors import Closed, NoSpace, NotFast, ReadOnly, StorageError, Unavailable
from gateway.info import MIB, Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, NowOrLater
from gateway.nbd import constants as c
from gateway.nbd.client.core import (
    Answered,
    ClientCore,
    Connected,
    Event,
    Misspoken,
    Refused,
    Secure,
)

#: Bytes of one READ or WRITE; every server takes as much.
MOST = 32 * MIB
#: Bytes of one request that moves no data; a multiple of every block size.
_MOST_RANGE = 1 << 30

_KINDS: dict[int, type[StorageError]] = {
    c.NBD_EPERM: ReadOnly,
    c.NBD_ENOSPC: NoSpace,
    c.NBD_ENOTSUP: NotFast,
    c.NBD_ESHUTDOWN: Closed,
}


class RemoteProtocol(Protocol):
    """
    One connection.

    Args:
        name: of the export.
        tls: how to begin TLS; None for a connection in clear.

    Attributes:
        connected_to: fires with the `RemoteExport`, or fails with `Unavailable`.
    """

    def __init__(self, name: str, tls: Any = None) -> None:
        self._core = ClientCore(name, tls is not None)
        self._tls = tls
        self._waiting: dict[int, Deferred[Answered]] = {}
        self._why: Exception | None = None
        self.connected_to: Deferred[RemoteExport] = Deferred(lambda _: self._give_up())
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        try:
            for event in self._core.receive(data):
                self._happened(event)
        except (Refused, Misspoken) as problem:
            self._why = problem
            self._transport.abortConnection()
            return
        self._send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        why = self._why or Closed("the server closed the connection")
        failure = Unavailable(str(why))
        if not self.connected_to.called:
            self.connected_to.errback(failure)
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.errback(Unavailable(str(why)))
        self.lost.callback(None)

    def ask(
        self, type: int, offset: int, length: int, flags: int = 0, payload: Buffer = b""
    ) -> Deferred[Answered]:
        """
        Send a request.

        Raises:
            StorageError: through the ``Deferred``: of the kind that the error number means.
        """
        answer: Deferred[Answered] = Deferred()
        if self.lost.called:
            answer.errback(Unavailable(str(self._why or "the connection is gone")))
            return answer
        self._waiting[self._core.request(type, offset, length, flags)] = answer
        self._send()
        if payload:
            self._transport.write(bytes(payload))
        return answer

    def end(self) -> Deferred[None]:
        """Say goodbye; fires when the connection is gone."""
        if not self.lost.called:
            self._core.goodbye()
            self._send()
            self._transport.loseConnection()
        gone: Deferred[None] = Deferred()
        self.lost.chainDeferred(gone)
        return gone

    def abort(self) -> None:
        """Leave at once."""
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    def _happened(self, event: Event) -> None:
        if isinstance(event, Answered):
            answer = self._waiting.pop(event.cookie)
            if event.error:
                kind = _KINDS.get(event.error, Unavailable)
                said = event.text or f"error {event.error}"
                answer.errback(kind(f"the server says: {said}"))
            else:
                answer.callback(event)
        elif isinstance(event, Secure):
            self._transport.startTLS(self._tls)
            self._core.secured()
        else:
            self.connected_to.callback(RemoteExport(self, event))

    def _send(self) -> None:
        if self._core.out:
            self._transport.write(bytes(self._core.out))
            self._core.out.clear()

    def _give_up(self) -> None:
        self._why = Unavailable("not waited for")
        self._transport.abortConnection()


@implementer(IExport)
class RemoteExport:
    """
    The contract of `IExport` over a connection.

    Args:
        protocol: connected.
        found: what the server told of the export.
    """

    def __init__(self, protocol: RemoteProtocol, found: Connected) -> None:
        self._protocol = protocol
        self._found = found
        self._closed = False
        flags = found.flags

        def can(bit: int) -> bool:
            return bool(flags & bit)

        self.info = ExportInfo(
            size=found.size,
            read_only=can(c.NBD_FLAG_READ_ONLY),
            preferred_block=MIB,
            rotational=can(c.NBD_FLAG_ROTATIONAL),
            abilities=Abilities(
                flush=can(c.NBD_FLAG_SEND_FLUSH),
                fua=can(c.NBD_FLAG_SEND_FUA),
                trim=can(c.NBD_FLAG_SEND_TRIM),
                write_zeroes=can(c.NBD_FLAG_SEND_WRITE_ZEROES),
                fast_zero=can(c.NBD_FLAG_SEND_FAST_ZERO),
                cache=can(c.NBD_FLAG_SEND_CACHE),
                multi_conn=can(c.NBD_FLAG_CAN_MULTI_CONN),
            ),
        )

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """Never at once."""
        self._check()
        return False

    async def _read(self, offset: int, length: int) -> Buffer:
        answer = await self._protocol.ask(c.NBD_CMD_READ, offset, length)
        assert answer.data is not None
        return answer.data

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        """As `IExport.read`; at most `MOST` bytes."""
        self._check()
        return Deferred.fromCoroutine(self._read(offset, length))

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        """As `IExport.write`; at most `MOST` bytes."""
        self._check()
        asked = self._protocol.ask(c.NBD_CMD_WRITE, offset, len(data), _fua(fua), data)
        return asked.addCallback(_nothing)

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        """As `IExport.write_zeroes`."""
        flags = _fua(fua)
        flags |= 0 if may_trim else c.NBD_CMD_FLAG_NO_HOLE
        flags |= c.NBD_CMD_FLAG_FAST_ZERO if fast else 0
        return self._in_parts(c.NBD_CMD_WRITE_ZEROES, offset, length, flags)

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        """As `IExport.trim`."""
        return self._in_parts(c.NBD_CMD_TRIM, offset, length, _fua(fua))

    def flush(self) -> NowOrLater[None]:
        """As `IExport.flush`."""
        self._check()
        return self._protocol.ask(c.NBD_CMD_FLUSH, 0, 0).addCallback(_nothing)

    def extents(self, offset: int, length: int, first_only: bool) -> NowOrLater[list[Extent]]:
        """As `IExport.extents`; all data where the server does not tell."""
        self._check()
        if not self._found.status:
            return [Extent(length, False, False)]
        return Deferred.fromCoroutine(self._extents(offset, length, first_only))

    async def _extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        flags = c.NBD_CMD_FLAG_REQ_ONE if first_only else 0
        asked = min(length, _MOST_RANGE)
        answer = await self._protocol.ask(c.NBD_CMD_BLOCK_STATUS, offset, asked, flags)
        extents, left = [], self.info.size - offset
        for count, word in answer.extents:
            count = min(count, left)
            left -= count
            zero = bool(word & c.NBD_STATE_ZERO)
            if count:
                # A hole that may read as anything is no hole of ours.
                extents.append(Extent(count, zero and bool(word & c.NBD_STATE_HOLE), zero))
        if not extents:
            raise Unavailable("the server told the status of no block")
        return extents

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        """As `IExport.cache`."""
        return self._in_parts(c.NBD_CMD_CACHE, offset, length, 0)

    def close(self) -> NowOrLater[None]:
        """As `IExport.close`."""
        if self._closed:
            return self._protocol.end()
        self._closed = True
        return Deferred.fromCoroutine(self._close())

    def _check(self) -> None:
        if self._closed:
            raise Closed("the export is closed")

    async def _close(self) -> None:
        try:
            if self.info.abilities.flush and not self._protocol.lost.called:
                await self._protocol.ask(c.NBD_CMD_FLUSH, 0, 0)
        finally:
            await self._protocol.end()

    def _in_parts(self, type: int, offset: int, length: int, flags: int) -> Deferred[None]:
        self._check()
        return Deferred.fromCoroutine(self._ask_in_parts(type, offset, length, flags))

    async def _ask_in_parts(self, type: int, offset: int, length: int, flags: int) -> None:
        end = offset + length
        for start in range(offset, end, _MOST_RANGE):
            await self._protocol.ask(type, start, min(_MOST_RANGE, end - start), flags)


def client_tls(hostname: str, **more: Any) -> Any:
    """What `RemoteProtocol` begins TLS with; ``more`` is as for Twisted's `optionsForClientTLS`."""
    return optionsForClientTLS(hostname, **more)


def _fua(fua: bool) -> int:
    return c.NBD_CMD_FLAG_FUA if fua else 0


def _nothing(_: object) -> None:
    return None
