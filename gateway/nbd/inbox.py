"""
Bytes from the client on their way in: where to receive them, and requests out of them.

The embedder receives into `Inbox.space` and says how much came with
`Inbox.received`; `Inbox.next_request` then returns each complete request in
turn. Requests and short payloads are parsed out of one buffer by a cursor. A
long payload gets a buffer of its own as soon as its header is here, and
`space` then is that buffer: the bytes land where they stay. If there is no
memory for one, the WRITE is cut into short ones, `Parts`.

The payload of a refused WRITE is read past and never parsed (C12).

Source: proto.md, "Request message"; section 2 of the support matrix.
"""

from __future__ import annotations

import struct

from gateway.info import KIB
from gateway.nbd import constants as c
from gateway.nbd.limits import MAX_PAYLOAD, SMALL_PAYLOAD, WRITE_DRAIN_MAX
from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.requests import Parts, Refusal, Request, command_name, judge, rules
from gateway.nbd.terms import EXTENDED, Terms

#: Bytes. Holds 32 requests with 4 KiB each, what a busy client sends at once.
CAPACITY = 2 * SMALL_PAYLOAD + 32 * KIB

#: Of what comes after the end has begun. Its error number is for those who answer all the same.
GOING = Refusal(c.NBD_ESHUTDOWN, "the server is shutting down")

#: Bytes received at once while a client sends long payloads: of the next one, little
#: more than the header comes into the buffer of requests and has to be copied out.
_AFTER_LONG = 4 * KIB

_COMPACT = struct.Struct(">IHHQQI")
_EXTENDED = struct.Struct(">IHHQQQ")


class ProtocolViolation(Exception):
    """The stream cannot be followed any further; the connection must be dropped."""


class Inbox:
    """
    The receiving side of one connection in transmission.

    Attributes:
        disconnecting: the client sent DISC; nothing behind it is looked at.
        shutting_down: set it, and every request is refused as `GOING`.
    """

    def __init__(self, terms: Terms, unparsed: bytes, memory: PayloadMemory) -> None:
        self._terms = terms
        self._rules = rules(terms)
        self._extended = terms.framing == EXTENDED
        self._header = _EXTENDED if self._extended else _COMPACT
        self._magic = c.NBD_EXTENDED_REQUEST_MAGIC if self._extended else c.NBD_REQUEST_MAGIC
        self._buffer = bytearray(max(CAPACITY, len(unparsed)))
        self._view = memoryview(self._buffer)
        self._view[: len(unparsed)] = unparsed
        self._start = 0
        self._end = len(unparsed)
        #: The request whose payload is still on its way.
        self._incomplete: Request | None = None
        self._payload: memoryview | None = None
        self._filled = 0
        self._memory = memory
        #: Whether the last WRITE was long; so is the next, probably.
        self._long = False
        self._drain = 0
        #: The next part of a WRITE that is cut.
        self._part: Request | None = None
        self.disconnecting = False
        self.shutting_down = False

    def space(self) -> memoryview:
        """Where the next bytes go; at least one byte once `next_request` returned None."""
        if self._payload is not None:
            return self._payload[self._filled :]
        start, end = self._start, self._end
        if start == end:
            self._start = self._end = end = 0
            if self._long:
                return self._view[:_AFTER_LONG]
        elif start and end > len(self._buffer) - SMALL_PAYLOAD:
            count = end - start
            self._buffer[:count] = self._buffer[start:end]
            self._start, self._end = 0, count
            end = count
        return self._view[end:]

    def received(self, count: int) -> None:
        """``count`` bytes were put at the start of `space`."""
        if self._payload is not None:
            self._filled += count
        else:
            self._end += count

    @property
    def wants_payload(self) -> bool:
        """Whether a long payload is on its way: nothing can be served before more comes."""
        return self._payload is not None and self._filled < len(self._payload)

    def next_request(self) -> Request | None:
        """
        The next complete request, judged; None until more bytes come.

        Raises:
            ProtocolViolation: wrong magic, or a payload of absurd length.
        """
        if self._incomplete is not None:
            return self._complete()
        if self._part is not None:
            return self._next_part()
        if self.disconnecting:
            self._start = self._end
            return None
        start = self._start
        header = self._header
        body = start + header.size
        if body > self._end:
            return None
        magic, flags, type, cookie, offset, length = header.unpack_from(self._buffer, start)
        if magic != self._magic:
            raise ProtocolViolation(f"request magic 0x{magic:08x}, expected 0x{self._magic:08x}")
        if type == c.NBD_CMD_WRITE or flags & c.NBD_CMD_FLAG_PAYLOAD_LEN:
            return self._with_payload(flags, type, cookie, offset, length, body)
        self._start = body
        if type == c.NBD_CMD_DISC:
            self.disconnecting = True
            return None
        return Request(
            type, flags, cookie, offset, length, self._judge(type, flags, offset, length)
        )

    def _judge(self, type: int, flags: int, offset: int, length: int) -> Refusal | None:
        if self.shutting_down:
            return GOING
        return judge(self._rules, self._terms, type, flags, offset, length)

    def _invalid(self, text: str) -> Refusal:
        """The refusal of a payload that cannot be judged as a range."""
        return GOING if self.shutting_down else Refusal(c.NBD_EINVAL, text)

    def _with_payload(
        self, flags: int, type: int, cookie: int, offset: int, length: int, body: int
    ) -> Request | None:
        """A request that carries data, or says so."""
        if type == c.NBD_CMD_DISC:
            self.disconnecting = True
            return None
        if self._extended:
            if not flags & c.NBD_CMD_FLAG_PAYLOAD_LEN:
                # Nothing follows by the text, but a client that forgets the
                # flag sends the data all the same; its bytes are no requests.
                raise ProtocolViolation("WRITE without PAYLOAD_LEN under extended headers")
            if length > MAX_PAYLOAD:
                raise ProtocolViolation(f"{command_name(type)} with a payload of {length} bytes")
        elif type != c.NBD_CMD_WRITE:
            # The flag means nothing under compact headers: no payload follows.
            self._start = body
            return Request(
                type, flags, cookie, offset, length, self._judge(type, flags, offset, length)
            )
        elif length > WRITE_DRAIN_MAX:
            raise ProtocolViolation(f"WRITE of {length} bytes")

        if type == c.NBD_CMD_BLOCK_STATUS:
            return self._status_with_payload(flags, cookie, offset, length, body)
        refusal = self._judge(type, flags, offset, length)
        if refusal is None and type != c.NBD_CMD_WRITE:
            refusal = Refusal(c.NBD_EINVAL, f"{command_name(type)} takes no payload")
        request = Request(type, flags, cookie, offset, length, refusal)
        available = self._end - body
        self._long = False
        if refusal is not None:
            self._start = body
            self._incomplete, self._drain = request, length
            return self._complete()
        if length <= SMALL_PAYLOAD:
            if available < length:
                return None
            self._start = body + length
            request.payload = bytes(self._view[body : self._start])
            return request
        payload = self._memory.take(length)
        if payload is None:
            self._start = body
            self._cut(request)
            return self._next_part()
        self._long = True
        request.payload = payload
        have = min(available, length)
        payload[:have] = self._view[body : body + have]
        self._start = body + have
        self._incomplete, self._payload, self._filled = request, payload, have
        return self._complete()

    def _complete(self) -> Request | None:
        """Finish `_incomplete` if its payload is all here, or read past."""
        if self._payload is not None:
            if self._filled < len(self._payload):
                return None
            self._payload = None
        elif self._drain:
            count = min(self._drain, self._end - self._start)
            self._start += count
            self._drain -= count
            if self._drain:
                return None
        request, self._incomplete = self._incomplete, None
        return request

    def _cut(self, request: Request) -> None:
        """Let a WRITE come in parts."""
        count = -(-(request.offset % SMALL_PAYLOAD + request.length) // SMALL_PAYLOAD)
        self._begin_part(Parts(request, count), request.offset)

    def _begin_part(self, parts: Parts, offset: int) -> None:
        """Next is the part from ``offset``; it ends at a multiple, so that no block is in two."""
        whole = parts.whole
        length = min(whole.offset + whole.length - offset, SMALL_PAYLOAD - offset % SMALL_PAYLOAD)
        part = Request(whole.type, whole.flags, whole.cookie, offset, length, None)
        part.parts = parts
        self._part = part

    def _next_part(self) -> Request | None:
        part = self._part
        assert part is not None and part.parts is not None, "called while a WRITE is cut"
        body, end = self._start, self._start + part.length
        if end > self._end:
            return None
        part.payload = bytes(self._view[body:end])
        self._start = end
        whole, stop = part.parts.whole, part.offset + part.length
        if stop < whole.offset + whole.length:
            self._begin_part(part.parts, stop)
        else:
            self._part = None
        return part

    def abandon(self) -> None:
        """No more bytes come: give back the memory of a payload that is not complete."""
        payload, self._payload = self._payload, None
        if payload is not None:
            self._incomplete = None
            self._memory.give_back(payload)

    def _status_with_payload(
        self, flags: int, cookie: int, offset: int, length: int, body: int
    ) -> Request | None:
        """BLOCK_STATUS for some of the contexts: effect length and ids follow the header."""
        selected = {context.id for context in self._terms.contexts}
        type = c.NBD_CMD_BLOCK_STATUS
        if length > 8 + 4 * len(selected):
            # Longer than any valid one: not worth holding, only worth an answer.
            text = f"BLOCK_STATUS: payload of {length} bytes for {len(selected)} contexts"
            self._start = body
            self._incomplete = Request(type, flags, cookie, offset, length, self._invalid(text))
            self._drain = length
            return self._complete()
        if self._end - body < length:
            return None
        self._start = body + length
        if length < 12 or length % 4:
            text = f"BLOCK_STATUS: payload of {length} bytes, expected 8 + 4 for each context"
            return Request(type, flags, cookie, offset, length, self._invalid(text))
        effect, *ids = struct.unpack_from(f">Q{(length - 8) // 4}I", self._buffer, body)
        refusal = self._judge(type, flags, offset, effect)
        if refusal is None and (len(set(ids)) < len(ids) or not selected.issuperset(ids)):
            refusal = Refusal(
                c.NBD_EINVAL, "BLOCK_STATUS: payload names a context twice or one not negotiated"
            )
        request = Request(type, flags, cookie, offset, effect, refusal)
        request.context_ids = tuple(ids)
        return request
