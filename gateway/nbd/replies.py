"""
Replies as bytes: the three framings behind one face.

A framing packs into an `Outbox`. Which one a connection uses is fixed by its
terms; `framing` picks it. Source: proto.md, "Simple reply message",
"Structured reply chunk message", "Extended reply chunk message".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain

from gateway.nbd import constants as c
from gateway.nbd.outbox import Outbox
from gateway.nbd.requests import Request
from gateway.nbd.strings import utf8
from gateway.nbd.terms import EXTENDED, SIMPLE

_DONE = c.NBD_REPLY_FLAG_DONE
_SIMPLE = struct.Struct(">IIQ")
_CHUNK = struct.Struct(">IHHQI")
_CHUNK_WITH_OFFSET = struct.Struct(">IHHQIQ")
_EXTENDED = struct.Struct(">IHHQQQ")
_EXTENDED_WITH_OFFSET = struct.Struct(">IHHQQQQ")
_ERROR = struct.Struct(">IH")
_HOLE = struct.Struct(">QI")


class SimpleReplies:
    """
    Framing without negotiation: one header per request, data only for READ.

    Attributes:
        data_header: bytes in front of READ data.
        longest_status: bytes that one block status descriptor may describe.
        chunked: whether one READ may be answered in several pieces.
    """

    data_header = _SIMPLE.size
    chunked = False
    longest_status = 0

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def put(self, data: bytes) -> None:
        """Send a short reply that exists as bytes."""
        outbox = self.outbox
        position = outbox.reserve(len(data))
        if position < 0:
            outbox.append(data)
        else:
            outbox.buffer[position : position + len(data)] = data
            outbox.commit(len(data))

    def done(self, request: Request) -> None:
        """Success of a command without data."""
        outbox = self.outbox
        position = outbox.reserve(_SIMPLE.size)
        if position < 0:
            outbox.append(_SIMPLE.pack(c.NBD_SIMPLE_REPLY_MAGIC, 0, request.cookie))
        else:
            _SIMPLE.pack_into(outbox.buffer, position, c.NBD_SIMPLE_REPLY_MAGIC, 0, request.cookie)
            outbox.commit(_SIMPLE.size)

    def failed(self, request: Request, errno: int, text: str) -> None:
        """Failure; the text is lost in this framing."""
        self.put(_SIMPLE.pack(c.NBD_SIMPLE_REPLY_MAGIC, errno, request.cookie))

    def pack_data(
        self,
        buffer: memoryview | bytearray,
        position: int,
        request: Request,
        offset: int,
        length: int,
        last: bool,
    ) -> None:
        """Pack the header of READ data that follows it, ``length`` > 0 bytes from ``offset``."""
        _SIMPLE.pack_into(buffer, position, c.NBD_SIMPLE_REPLY_MAGIC, 0, request.cookie)

    def hole(self, request: Request, offset: int, length: int, last: bool) -> None:
        """Part of a READ that is all zeroes."""
        raise AssertionError("simple replies have no holes")

    def status(
        self, request: Request, context_id: int, words: Sequence[tuple[int, int]], last: bool
    ) -> None:
        """The block status of one context, as ``(bytes, word)`` descriptors."""
        raise AssertionError("simple replies have no block status")


class StructuredReplies(SimpleReplies):
    """
    Chunks with 32-bit lengths.

    Success of a command without data stays a simple reply, which the
    specification allows and which is shorter.
    """

    data_header = _CHUNK_WITH_OFFSET.size
    chunked = True
    # A multiple of every block size, so that cut descriptors stay aligned.
    longest_status = (1 << 32) - 65536

    def done(self, request: Request) -> None:
        if request.type == c.NBD_CMD_READ:
            # A READ of nothing: data chunks must hold at least one byte.
            self._chunk(request, c.NBD_REPLY_TYPE_NONE, b"", True)
        else:
            SimpleReplies.done(self, request)  # half as long as with super()

    def failed(self, request: Request, errno: int, text: str) -> None:
        message = utf8(text)
        self._chunk(
            request, c.NBD_REPLY_TYPE_ERROR, _ERROR.pack(errno, len(message)) + message, True
        )

    def pack_data(
        self,
        buffer: memoryview | bytearray,
        position: int,
        request: Request,
        offset: int,
        length: int,
        last: bool,
    ) -> None:
        _CHUNK_WITH_OFFSET.pack_into(
            buffer,
            position,
            c.NBD_STRUCTURED_REPLY_MAGIC,
            _DONE if last else 0,
            c.NBD_REPLY_TYPE_OFFSET_DATA,
            request.cookie,
            length + 8,
            offset,
        )

    def hole(self, request: Request, offset: int, length: int, last: bool) -> None:
        self._chunk(request, c.NBD_REPLY_TYPE_OFFSET_HOLE, _HOLE.pack(offset, length), last)

    def status(
        self, request: Request, context_id: int, words: Sequence[tuple[int, int]], last: bool
    ) -> None:
        payload = struct.pack(f">I{2 * len(words)}I", context_id, *chain.from_iterable(words))
        self._chunk(request, c.NBD_REPLY_TYPE_BLOCK_STATUS, payload, last)

    def _chunk(self, request: Request, kind: int, payload: bytes | bytearray, last: bool) -> None:
        header = _CHUNK.pack(
            c.NBD_STRUCTURED_REPLY_MAGIC,
            _DONE if last else 0,
            kind,
            request.cookie,
            len(payload),
        )
        self.put(header + payload)


class ExtendedReplies(StructuredReplies):
    """Chunks with 64-bit lengths, which also echo the request's offset; nothing else is sent."""

    data_header = _EXTENDED_WITH_OFFSET.size
    longest_status = (1 << 64) - 65536

    def done(self, request: Request) -> None:
        self._chunk(request, c.NBD_REPLY_TYPE_NONE, b"", True)

    def pack_data(
        self,
        buffer: memoryview | bytearray,
        position: int,
        request: Request,
        offset: int,
        length: int,
        last: bool,
    ) -> None:
        _EXTENDED_WITH_OFFSET.pack_into(
            buffer,
            position,
            c.NBD_EXTENDED_REPLY_MAGIC,
            _DONE if last else 0,
            c.NBD_REPLY_TYPE_OFFSET_DATA,
            request.cookie,
            request.offset,
            length + 8,
            offset,
        )

    def status(
        self, request: Request, context_id: int, words: Sequence[tuple[int, int]], last: bool
    ) -> None:
        count = len(words)
        payload = struct.pack(f">II{2 * count}Q", context_id, count, *chain.from_iterable(words))
        self._chunk(request, c.NBD_REPLY_TYPE_BLOCK_STATUS_EXT, payload, last)

    def _chunk(self, request: Request, kind: int, payload: bytes | bytearray, last: bool) -> None:
        header = _EXTENDED.pack(
            c.NBD_EXTENDED_REPLY_MAGIC,
            _DONE if last else 0,
            kind,
            request.cookie,
            request.offset,
            len(payload),
        )
        self.put(header + payload)


def framing(name: str, outbox: Outbox) -> SimpleReplies:
    """The framing called ``name`` in `gateway.nbd.terms`."""
    if name == SIMPLE:
        return SimpleReplies(outbox)
    return ExtendedReplies(outbox) if name == EXTENDED else StructuredReplies(outbox)
