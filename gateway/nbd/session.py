"""
One connection in transmission: requests of a client carried out on its export.

The session stands between the protocol's bytes (`Inbox`, `Outbox`), which
know no storage, and the export, which knows no protocol. It is the only place
that tells an answer given now from one given later. It moves no bytes itself:
a link receives into `inbox`, calls `serve`, sends what `outbox` holds, and
calls `serve` again when it has drained.

An answer given now costs no Deferred, and of it no more is counted than that
there was one. Answers given later are timed; at the limits of `Limits` no further request is begun
and the link stops receiving. That, with a full outbox, is the back-pressure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.errors import NotFast, StorageError
from gateway.info import MIB
from gateway.interfaces import IExport
from gateway.nbd import constants as c
from gateway.nbd.block_status import BlockStatus
from gateway.nbd.complaints import Complaints
from gateway.nbd.errnos import WORDS, to_nbd
from gateway.nbd.inbox import GOING, Inbox, ProtocolViolation
from gateway.nbd.limits import FEW_IN_FLIGHT, READ_CHUNK, Limits
from gateway.nbd.outbox import Outbox
from gateway.nbd.reading import CutShort, read_in_place, send_chunks, send_data, send_pieces
from gateway.nbd.replies import framing
from gateway.nbd.requests import Refusal, Request, command_name
from gateway.nbd.shared import Shared
from gateway.nbd.terms import Terms
from gateway.nbd.zeroing import PIECE, write_zeroes
from gateway.stages import CLIENT, Stages, stage, stages_of, told
from gateway.traffic import REFUSED, Traffic

#: Seconds after which other connections have their turn.
_TURN = 0.001

#: Bytes. Longer READs are sent in chunks where the framing allows it.
_SHORT_READ = 64 * 1024

#: Bytes. Longer READs make way for others of their client behind each chunk.
_READ_IN_ONE_GO = MIB


class Session:
    """
    Args:
        terms: what the handshake agreed.
        export: open; whoever opened it closes it.
        unparsed: bytes that came behind the handshake.
        shared: with the other connections of the process.
        reactor: for turns between the pieces of long work.
        answered_later: called when replies appeared outside of `serve`.

    Attributes:
        inbox, outbox: for the link to fill and to empty.
        drain: of the link, for `serve` to call: sends now what the outbox
            holds, as far as the client takes it and the link may.
        requests: how many were begun.
        traffic: the same by kind, and what became of them.
        about: fields of every line of the log about a request.
    """

    log = Logger()

    def __init__(
        self,
        terms: Terms,
        export: IExport,
        unparsed: bytes,
        limits: Limits,
        shared: Shared,
        reactor: Any,
        answered_later: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._memory = memory = shared.payload_memory
        self.inbox = Inbox(terms, unparsed, memory)
        self.outbox = Outbox(memory)
        self.requests = 0
        self.traffic = Traffic()
        self.about: dict[str, Any] = {}
        self._terms = terms
        self._export = export
        self._limits = limits
        self._reactor = reactor
        self._answered_later = answered_later
        self._replies = framing(terms.framing, self.outbox)
        self._status = BlockStatus(terms.contexts, export, self._replies)
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._room: list[Deferred[None]] = []
        self._complaints = Complaints(shared.clock)
        self.drain: Callable[[], None] = _nobody
        self._serving = False
        self._until = 0.0
        self._lost = False
        #: Whether one request has the connection to itself, and who waits for that.
        self._alone = False
        self._until_alone: Deferred[None] | None = None
        #: Why the connection must be dropped.
        self._broken = ""

    # What the link asks.

    def serve(self) -> None:
        """
        Begin the requests that are here, as far as outbox, limits and time allow.

        Raises:
            ProtocolViolation: the connection must be dropped.
        """
        # An answer that comes before `serve` returns needs no turn of its own;
        # turns within turns would go as deep as requests are queued.
        self._serving = True
        self._until = self._shared.clock() + _TURN
        try:
            self._serve(self._until)
        finally:
            self._serving = False
        if self._broken:
            raise ProtocolViolation(self._broken)

    def _serve(self, until: float) -> None:
        clock = self._shared.clock
        more = self._begin_requests(until)
        # Long reads go on last: they would fill the outbox again and again,
        # and short requests would never get their turn.
        while self._room and not self.outbox.full and clock() < until:
            self._room.pop(0).callback(None)
            # One that is through with it makes way for the next.
            more = self._begin_requests(until)
        # Nothing else wakes what could go on now: an empty outbox has nothing to send.
        if more or (self._room and not self.outbox.full):
            # Looked up when it is due: the connection may be gone by then.
            self._reactor.callLater(0, lambda: self._answered_later())

    def _begin_requests(self, until: float) -> bool:
        """Answers with whether time ran out before requests did."""
        clock = self._shared.clock
        next_request = self.inbox.next_request
        requests, sizes = self.traffic.requests, self.traffic.bytes
        while not self.stalled:
            request = next_request()
            if request is None:
                return False
            self.requests += 1
            refusal = request.refusal
            if refusal is GOING:
                # No answer: Linux and qemu would hand ESHUTDOWN to the guest as an I/O error.
                # What a lost connection leaves open, they ask the next gateway.
                pass
            elif refusal is not None:
                requests[REFUSED] += 1
                self.traffic.fail(WORDS[refusal.errno])
                self._replies.failed(request, refusal.errno, refusal.text)
            else:
                command = request.type
                if _counts(request):
                    requests[command] += 1
                sizes[command] += request.length
                try:
                    _COMMANDS[command](self, request)
                except Exception:
                    self._fail(Failure(), request)
            if clock() >= until:
                return True
        return False

    @property
    def stalled(self) -> bool:
        """Whether receiving more would only pile up."""
        return (
            self.outbox.full
            or self._alone
            or self._in_flight >= self._limits.max_in_flight
            or self._in_flight_bytes >= self._limits.max_in_flight_bytes
            or (self._in_flight_bytes >= FEW_IN_FLIGHT and self._memory.short)
        )

    @property
    def finished(self) -> bool:
        """Whether the client said goodbye and has all its answers."""
        return self.inbox.disconnecting and not self._in_flight and not self.outbox.pending

    @property
    def in_flight(self) -> int:
        """Requests that storage has not answered."""
        return self._in_flight

    def shut_down(self) -> None:
        """Neither begin nor answer a request any more, but for those begun already."""
        self.inbox.shutting_down = True

    def connection_lost(self) -> None:
        """Nobody reads replies any more; what storage has begun, it finishes."""
        self._lost = True
        # The link holds us and this holds the link: dead connections would
        # keep their buffers until the garbage collector came by.
        self._answered_later = self.drain = _nobody
        self.inbox.abandon()
        self.outbox.abandon()
        waiting, self._room = self._room, []
        for room in waiting:
            room.errback(Failure(ConnectionLost()))
        until_alone, self._until_alone = self._until_alone, None
        if until_alone is not None:
            until_alone.errback(Failure(ConnectionLost()))

    # Commands. Each has passed the gate.

    def _read(self, request: Request) -> None:
        length = request.length
        outbox, replies = self.outbox, self._replies
        in_chunks = replies.chunked and not request.flags & c.NBD_CMD_FLAG_DF
        if length <= (_SHORT_READ if in_chunks else READ_CHUNK):
            if not length:
                replies.done(request)
                return
            if read_in_place(request, self._export, outbox, replies, request.offset, length, True):
                return
        elif in_chunks or not self._memory.fits(length):
            send = send_chunks if in_chunks else self._send_alone
            drain = self._drain if length <= _READ_IN_ONE_GO else _nobody
            sent = send(request, self._export, outbox, replies, drain, self._wait_for_room)
            self._answer(told(sent, self._shared.clock), request, self._sent, READ_CHUNK)
            return
        result = self._export.read(request.offset, length)
        self._answer(result, request, self._have_read, length)

    async def _send_alone(self, request: Request, *how: Any) -> None:
        """One reply in pieces: nothing may come between them, so all others are answered first."""
        self._alone = True
        try:
            if self._in_flight:
                self._until_alone = Deferred()
                await self._until_alone
            await send_pieces(request, *how)
        except CutShort as cut:
            assert cut.__cause__ is not None
            self._broken = (
                f"READ of {request.length} bytes at {request.offset} failed in its answer's middle"
            )
            raise cut.__cause__ from None
        finally:
            self._alone = bool(self._broken)

    def _have_read(self, data: Any, request: Request) -> None:
        offset, length = request.offset, request.length
        send_data(request, self.outbox, self._replies, data, offset, length, True)

    def _sent(self, result: Any, request: Request) -> None:
        """The chunks were the answer."""

    def _write(self, request: Request) -> None:
        if not request.length:
            # Nothing to write, so nothing to make durable either.
            self._replies.done(request)
            return
        fua = bool(request.flags & c.NBD_CMD_FLAG_FUA)
        result = self._export.write(request.offset, request.payload, fua)
        if result is None and request.parts is None:
            # The usual case without a detour.
            self._let_go(request)
            self._replies.done(request)
        else:
            self._answer(result, request, self._written, request.length)

    def _written(self, result: Any, request: Request) -> None:
        self._conclude(request, None)

    def _conclude(self, request: Request, refusal: Refusal | None) -> None:
        """Answer a request that storage is through with, unless it is a part and others are not."""
        self._let_go(request)
        parts = request.parts
        if parts is not None:
            if not parts.answered(refusal):
                return
            request, refusal = parts.whole, parts.refusal
        if refusal is None:
            self._replies.done(request)
        else:
            self.traffic.fail(WORDS[refusal.errno])
            self._replies.failed(request, refusal.errno, refusal.text)

    def _let_go(self, request: Request) -> None:
        """Nobody looks at the payload any more."""
        payload = request.payload
        if isinstance(payload, memoryview):
            request.payload = b""
            self._memory.give_back(payload)

    def _flush(self, request: Request) -> None:
        self._answer(self._export.flush(), request, self._done)

    def _trim(self, request: Request) -> None:
        if not request.length:
            self._replies.done(request)
            return
        fua = bool(request.flags & c.NBD_CMD_FLAG_FUA)
        result = self._export.trim(request.offset, request.length, fua)
        self._answer(result, request, self._done)

    def _cache(self, request: Request) -> None:
        if not request.length:
            self._replies.done(request)
            return
        self._answer(self._export.cache(request.offset, request.length), request, self._done)

    def _write_zeroes(self, request: Request) -> None:
        offset, length, flags = request.offset, request.length, request.flags
        if not length:
            self._replies.done(request)
            return
        may_trim = not flags & c.NBD_CMD_FLAG_NO_HOLE
        fua = bool(flags & c.NBD_CMD_FLAG_FUA)
        fast = bool(flags & c.NBD_CMD_FLAG_FAST_ZERO)
        try:
            if not self._terms.info.abilities.write_zeroes:
                raise NotFast
            result = self._export.write_zeroes(offset, length, may_trim, fua, fast)
        except NotFast:
            if fast:
                raise
            result = told(
                write_zeroes(
                    self._export,
                    offset,
                    length,
                    may_trim,
                    fua,
                    lambda: deferLater(self._reactor, 0),
                    lambda: self._lost,
                ),
                self._shared.clock,
            )
        self._answer(result, request, self._done, min(length, PIECE))

    def _block_status(self, request: Request) -> None:
        self._answer(self._status.ask(request), request, self._status.tell)

    def _done(self, result: Any, request: Request) -> None:
        """A command whose success carries no data."""
        self._replies.done(request)

    # Answers.

    def _answer(
        self,
        result: Any,
        request: Request,
        answer: Callable[[Any, Request], None],
        cost: int = 0,
    ) -> None:
        """
        Call ``answer`` with the result: now, or when it comes.

        Args:
            cost: bytes held until then.
        """
        # The first test is the usual answer, and much quicker than the second.
        if result is None or not isinstance(result, Deferred):
            answer(result, request)
            return
        self._in_flight += 1
        self._in_flight_bytes += cost
        if not isinstance(request.payload, memoryview):  # those count already
            self._memory.hold(cost)
        if _counts(request):
            self.traffic.waiting[request.type] += 1
        stages = stages_of(result)
        result.addBoth(self._arrived, request, answer, cost, stages, self._shared.clock())

    def _arrived(
        self,
        result: Any,
        request: Request,
        answer: Callable[[Any, Request], None],
        cost: int,
        stages: Stages | None,
        since: float,
    ) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= cost
        if not isinstance(request.payload, memoryview):
            self._memory.hold(-cost)
        took = self._shared.clock() - since
        slow = self._shared.slow
        if slow is not None and slow.threshold and took >= slow.threshold:
            op, offset, length = _op(request), request.offset, request.length
            slow.answered(took, stages, op, offset, length, **self.about)
        if self._lost:
            self._let_go(request)
            if isinstance(result, Failure) and not result.check(StorageError, ConnectionLost):
                self.log.failure("request failed after its client left", result)
            return
        if _counts(request):
            self.traffic.answered(request.type, took)
        if not isinstance(result, Failure):
            try:
                answer(result, request)
            except Exception:
                result = Failure()
        if isinstance(result, Failure):
            self._fail(result, request, stages)
        if self._until_alone is not None and self._in_flight == 1:
            until_alone, self._until_alone = self._until_alone, None
            until_alone.callback(None)
        if not self._serving:
            self._answered_later()

    def _fail(self, failure: Failure, request: Request, stages: Stages | None = None) -> None:
        error = failure.value
        assert error is not None
        errno, text = to_nbd(error, request)
        about = self._about(request, stages)
        self._complaints.failed(self.log, request, failure, errno, text, about)
        self._conclude(request, Refusal(errno, text))

    def _about(self, request: Request, stages: Stages | None) -> dict[str, Any]:
        """Fields of a line of the log."""
        notes = {} if stages is None else stages.notes
        return {
            **notes,
            **self.about,
            "op": _op(request),
            "offset": request.offset,
            "length": request.length,
        }

    def _drain(self) -> None:
        """Make room at once, in a turn that has time left."""
        if self._serving and self._shared.clock() < self._until:
            self.drain()

    async def _wait_for_room(self) -> None:
        with stage(CLIENT):
            await self._room_in_outbox()

    def _room_in_outbox(self) -> Deferred[None]:
        if self._lost:
            # There will be no room any more, and who waits must not try again.
            return fail(ConnectionLost())
        room: Deferred[None] = Deferred()
        self._room.append(room)
        if not self._serving:
            # What fills the outbox came from storage just now: nobody sends it yet.
            self._answered_later()
        return room


def _counts(request: Request) -> bool:
    """Whether it is a request of the client, or stands for one that came in parts."""
    parts = request.parts
    return parts is None or parts.whole.offset == request.offset


def _op(request: Request) -> str:
    """As the log calls it."""
    return command_name(request.type).lower()


def _nobody() -> None:
    """Who waits for answers when the connection is gone, and who sends at once when none does."""


_COMMANDS: dict[int, Callable[[Session, Request], None]] = {
    c.NBD_CMD_READ: Session._read,
    c.NBD_CMD_WRITE: Session._write,
    c.NBD_CMD_FLUSH: Session._flush,
    c.NBD_CMD_TRIM: Session._trim,
    c.NBD_CMD_CACHE: Session._cache,
    c.NBD_CMD_WRITE_ZEROES: Session._write_zeroes,
    c.NBD_CMD_BLOCK_STATUS: Session._block_status,
}
