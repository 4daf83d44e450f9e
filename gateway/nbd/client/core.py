"""
What an NBD client says and hears, without I/O: bytes in, events out.

Fixed newstyle; structured replies and block status where the server has them.
Source: doc/proto.md of the NBD project.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import NamedTuple

from gateway.nbd import constants as c
from gateway.nbd.strings import quoted

#: Bytes. No server that we would talk to has longer answers to an option.
_MAX_OPTION_REPLY = 1 << 20
#: Bytes of one structured reply that is no READ: 4 for each context, 8 for each extent.
_MAX_STATUS = 16 << 20

ALLOCATION = "base:allocation"

_GREETING = struct.Struct(">QQH")
_OPTION = struct.Struct(">QII")
_OPTION_REPLY = struct.Struct(">QIII")
_EXPORT = struct.Struct(">HQH")
_REQUEST = struct.Struct(">IHHQQI")
_SIMPLE = struct.Struct(">IQ")
_CHUNK = struct.Struct(">HHQI")

#: Asks for so many bytes, and is sent them.
_Listening = Generator[int, memoryview, None]


class Refused(Exception):
    """The server does not let us in; the text has its reason."""


class Misspoken(Exception):
    """The server said what NBD does not allow; the connection is of no more use."""


class Secure(NamedTuple):
    """The transport has to begin TLS now; nothing was said in clear but that wish."""


class Connected(NamedTuple):
    """
    The export is ours.

    Attributes:
        size: bytes.
        flags: ``NBD_FLAG_...``.
        structured: holes and block status can be told.
        status: block status of ``base:allocation`` can be asked for.
    """

    size: int
    flags: int
    structured: bool
    status: bool


class Answered(NamedTuple):
    """
    A request is over.

    Attributes:
        cookie: of the request.
        error: ``NBD_E...``; 0 for success.
        text: the server's, about the error; may be empty.
        data: of a READ.
        extents: of a BLOCK_STATUS: (bytes, status word).
    """

    cookie: int
    error: int
    text: str
    data: bytearray | None
    extents: list[tuple[int, int]]


class _Pending:
    """A request without its answer."""

    __slots__ = ("data", "error", "extents", "left", "offset", "text", "type")

    def __init__(self, type: int, offset: int, length: int) -> None:
        self.type = type
        self.offset = offset
        self.data = bytearray(length) if type == c.NBD_CMD_READ else None
        self.left = length
        self.error = 0
        self.text = ""
        self.extents: list[tuple[int, int]] = []


Event = Secure | Connected | Answered


class ClientCore:
    """
    One connection.

    Args:
        name: of the export; empty for the server's default.
        tls: insist on it.

    Attributes:
        out: what is to be sent; whoever sends it takes it out.
    """

    def __init__(self, name: str, tls: bool = False) -> None:
        self.out = bytearray()
        self._name = name
        self._tls = tls
        self._events: list[Event] = []
        self._pending: dict[int, _Pending] = {}
        self._cookie = 0
        self._in = bytearray()
        self._context = -1
        self._waits_for_tls = False
        self._listening = self._talk()
        self._wanted = next(self._listening)

    def receive(self, data: bytes) -> list[Event]:
        """
        Take bytes from the server.

        Returns:
            What they mean. After `Secure` whatever is left over is refused: it came in clear.

        Raises:
            Refused, Misspoken: the connection is to be closed.
        """
        self._in += data
        at = 0
        view = memoryview(self._in)
        try:
            while len(view) - at >= self._wanted and not self._waits_for_tls:
                # Whoever listens copies what it keeps.
                with view[at : at + self._wanted] as piece:
                    at += self._wanted
                    self._wanted = self._listening.send(piece)
        finally:
            view.release()
            del self._in[:at]
        events, self._events = self._events, []
        return events

    def secured(self) -> None:
        """
        The transport has begun TLS: what is said from now on goes through it.

        Raises:
            Misspoken: somebody slipped bytes in before it did.
        """
        if self._in:
            raise Misspoken("got bytes in clear behind the answer to STARTTLS")
        self._waits_for_tls = False
        self._wanted = self._listening.send(memoryview(b""))

    # Requests.

    def request(self, type: int, offset: int, length: int, flags: int = 0) -> int:
        """
        Ask for something.

        Args:
            length: bytes, less than 2^32; of a WRITE, the caller sends as many behind `out`.

        Returns:
            The cookie that `Answered` will have.
        """
        self._cookie += 1
        self._pending[self._cookie] = _Pending(type, offset, length)
        self.out += _REQUEST.pack(c.NBD_REQUEST_MAGIC, flags, type, self._cookie, offset, length)
        return self._cookie

    def goodbye(self) -> None:
        """Nothing more will be asked."""
        self.out += _REQUEST.pack(c.NBD_REQUEST_MAGIC, 0, c.NBD_CMD_DISC, 0, 0, 0)

    # Listening.

    def _talk(self) -> _Listening:
        yield from self._greet()
        if self._tls:
            yield from self._secure()
        structured = yield from self._option(c.NBD_OPT_STRUCTURED_REPLY, b"")
        contexts: list[tuple[int, bytes]] | None = None
        if structured is not None:
            contexts = yield from self._option(c.NBD_OPT_SET_META_CONTEXT, self._query())
        for _, data in contexts or ():
            if data[4:] == ALLOCATION.encode():
                self._context = int.from_bytes(data[:4], "big")
        size, flags = yield from self._go()
        self._events.append(Connected(size, flags, structured is not None, self._context >= 0))
        while True:
            yield from self._reply()

    def _greet(self) -> _Listening:
        magic, option, flags = _GREETING.unpack((yield _GREETING.size))
        if magic != c.NBDMAGIC or option != c.IHAVEOPT:
            raise Misspoken("got no greeting of an NBD server")
        if not flags & c.NBD_FLAG_FIXED_NEWSTYLE:
            raise Refused("the server does not speak fixed newstyle")
        self.out += (flags & c.NBD_FLAG_NO_ZEROES | c.NBD_FLAG_C_FIXED_NEWSTYLE).to_bytes(4, "big")

    def _secure(self) -> _Listening:
        if (yield from self._option(c.NBD_OPT_STARTTLS, b"")) is None:
            raise Refused(f"the server does not offer TLS{self._said()}")
        self._events.append(Secure())
        self._waits_for_tls = True
        yield 0  # until `secured`

    def _query(self) -> bytes:
        name, context = self._name.encode(), ALLOCATION.encode()
        return b"".join(
            (
                len(name).to_bytes(4, "big"),
                name,
                (1).to_bytes(4, "big"),
                len(context).to_bytes(4, "big"),
                context,
            )
        )

    def _go(self) -> Generator[int, memoryview, tuple[int, int]]:
        name = self._name.encode()
        replies = yield from self._option(
            c.NBD_OPT_GO, len(name).to_bytes(4, "big") + name + bytes(2)
        )
        if replies is None:
            raise Refused(
                f"the server does not let us use export {quoted(self._name)}{self._said()}"
            )
        for _, data in replies:
            if len(data) == _EXPORT.size and data[:2] == bytes(2):
                _, size, flags = _EXPORT.unpack(data)
                return size, flags
        raise Misspoken("GO was answered without the export's size")

    #: The error of the last option, and its text.
    _refusal = 0, ""

    def _said(self) -> str:
        number, text = self._refusal
        return f": error 0x{number:x}{f', {text}' if text else ''}"

    def _option(
        self, number: int, data: bytes
    ) -> Generator[int, memoryview, list[tuple[int, bytes]] | None]:
        """What the server answers before its ACK; None if it refuses."""
        self.out += _OPTION.pack(c.IHAVEOPT, number, len(data)) + data
        replies: list[tuple[int, bytes]] = []
        while True:
            magic, answered, kind, length = _OPTION_REPLY.unpack((yield _OPTION_REPLY.size))
            if magic != c.REPLY_MAGIC or answered != number or length > _MAX_OPTION_REPLY:
                name = c.OPTION_NAMES[number]
                raise Misspoken(f"got something else than an answer to {name}")
            body = bytes((yield length)) if length else b""
            if kind == c.NBD_REP_ACK:
                return replies
            if kind >> 31:
                self._refusal = kind, _readable(body)
                return None
            replies.append((kind, body))

    def _reply(self) -> _Listening:
        magic = int.from_bytes((yield 4), "big")
        if magic == c.NBD_SIMPLE_REPLY_MAGIC:
            error, cookie = _SIMPLE.unpack((yield _SIMPLE.size))
            pending = self._known(cookie)
            if pending.data and not error:
                pending.data[:] = yield len(pending.data)
            pending.error, pending.left = error, 0
            self._over(cookie, pending)
        elif magic == c.NBD_STRUCTURED_REPLY_MAGIC:
            flags, kind, cookie, length = _CHUNK.unpack((yield _CHUNK.size))
            pending = self._known(cookie)
            yield from self._chunk(pending, kind, length)
            if flags & c.NBD_REPLY_FLAG_DONE:
                if pending.data and pending.left and not pending.error:
                    raise Misspoken(f"a READ was answered {pending.left} bytes short")
                self._over(cookie, pending)
        else:
            raise Misspoken(f"got 0x{magic:08x}, expected the start of a reply")

    def _chunk(self, pending: _Pending, kind: int, length: int) -> _Listening:
        if kind == c.NBD_REPLY_TYPE_NONE and not length:
            return
        if kind == c.NBD_REPLY_TYPE_OFFSET_DATA and length > 8:
            offset = int.from_bytes((yield 8), "big")
            room = self._room(pending, offset, length - 8)
            room[:] = yield length - 8
            room.release()
        elif kind == c.NBD_REPLY_TYPE_OFFSET_HOLE and length == 12:
            body = bytes((yield 12))
            hole = int.from_bytes(body[8:], "big")
            self._room(pending, int.from_bytes(body[:8], "big"), hole).release()
        elif kind == c.NBD_REPLY_TYPE_BLOCK_STATUS and 12 <= length <= _MAX_STATUS:
            words = struct.unpack(f">{length // 4}I", bytes((yield length))[: length // 4 * 4])
            if words[0] == self._context:
                pending.extents = [*zip(words[1::2], words[2::2], strict=False)]
        elif kind >> 15 and 6 <= length <= _MAX_OPTION_REPLY:
            body = bytes((yield length))
            pending.error = int.from_bytes(body[:4], "big") or c.NBD_EIO
            pending.text = _readable(body[6 : 6 + int.from_bytes(body[4:6], "big")])
        else:
            raise Misspoken(f"got a chunk of type {kind} with {length} bytes")

    def _room(self, pending: _Pending, offset: int, length: int) -> memoryview:
        """Where bytes of a READ belong."""
        start = offset - pending.offset
        if pending.data is None or not 0 <= start <= len(pending.data) - length:
            raise Misspoken("got data that was not asked for")
        pending.left -= length
        return memoryview(pending.data)[start : start + length]

    def _known(self, cookie: int) -> _Pending:
        pending = self._pending.get(cookie)
        if pending is None:
            raise Misspoken("got an answer to what was not asked")
        return pending

    def _over(self, cookie: int, pending: _Pending) -> None:
        del self._pending[cookie]
        self._events.append(
            Answered(cookie, pending.error, pending.text, pending.data, pending.extents)
        )


def _readable(text: bytes) -> str:
    """A server's text as it may stand in a message of ours."""
    shown = text[:500].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in shown)
