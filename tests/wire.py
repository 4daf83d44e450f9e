"""
An NBD client that trusts nobody: builds any request, and checks every byte of the replies.

`Client` speaks over a *connection*: an object with ``send(data)``,
``receive(count)`` (exactly so many bytes, or `EndOfStream`) and ``close()``.
`SocketConnection` is one; the in-memory one is in `tests.protocol.in_memory`.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from tests.wire_format import (
    ACK,
    BLOCK_STATUS,
    DISC,
    ERR,
    EXPORT_NAME,
    EXTENDED_HEADERS,
    GO,
    IHAVEOPT,
    INFO,
    LIST,
    LIST_META,
    MAGIC,
    META,
    PATIENCE,
    PAYLOAD_LEN,
    READ,
    REP_INFO,
    REPLY_MAGIC,
    SERVER,
    SET_META,
    STRUCTURED_REPLY,
    WRITE,
    EndOfStream,
    compact,
    extended,
    info_data,
    meta_data,
    option,
)
from tests.wire_replies import Answer, Replies, Request


class SocketConnection:
    """A blocking socket with bounded waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.settimeout(PATIENCE)

    @classmethod
    def unix(cls, path: str) -> SocketConnection:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(path)
        return cls(sock)

    @classmethod
    def tcp(cls, port: int) -> SocketConnection:
        return cls(socket.create_connection(("127.0.0.1", port), PATIENCE))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        done = 0
        while done < count:
            try:
                got = self.socket.recv_into(view[done:])
            except ConnectionError:
                got = 0
            if not got:
                raise EndOfStream(bytes(data[:done]))
            done += got
        return bytes(data)

    def close(self) -> None:
        self.socket.close()


class Client(Replies):
    """
    One connection's client.

    Attributes:
        flags: the export's transmission flags, once it was chosen.
    """

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.flags = 0
        self._options: list[int] = []
        self._cookie = 0xC0_0000_0000_0000_00

    # Handshake.

    def greet(self, flags: int = 3) -> Client:
        """Check the greeting and send our flags."""
        assert self.connection.receive(18) == struct.pack(">QQH", MAGIC, IHAVEOPT, 3)
        self.connection.send(struct.pack(">I", flags))
        return self

    def send_option(self, number: int, data: bytes = b"") -> None:
        self._options.append(number)
        self.connection.send(option(number, data))

    def option_reply(self) -> tuple[int, bytes]:
        """One option reply, checked; ``(type, data)``."""
        magic, number, kind, length = struct.unpack(">QIII", self.connection.receive(20))
        assert magic == REPLY_MAGIC
        assert number == self._options[0], "the reply is to another option"
        assert length <= 4096 + 4096 + 4
        data = self.connection.receive(length)
        if kind & ERR:
            assert length <= 4096
            assert "\0" not in data.decode("utf-8")
        if kind & ERR or kind == ACK:
            del self._options[0]
            assert kind & ERR or not data
        else:
            allowed = {LIST: SERVER, INFO: REP_INFO, GO: REP_INFO, LIST_META: META, SET_META: META}
            assert kind == allowed.get(number), "not a reply type of this option"
        return kind, data

    def option(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """Send an option and collect its replies; the last one is an ACK or an error."""
        self.send_option(number, data)
        return self.option_replies()

    def option_replies(self) -> list[tuple[int, bytes]]:
        replies = [self.option_reply()]
        while replies[-1][0] != ACK and not replies[-1][0] & ERR:
            replies.append(self.option_reply())
        return replies

    def ack(self, number: int, data: bytes = b"") -> list[bytes]:
        """An option that must succeed; the data of the replies before the ACK."""
        replies = self.option(number, data)
        assert replies[-1][0] == ACK, f"0x{replies[-1][0]:x} {replies[-1][1]!r}"
        return [payload for _, payload in replies[:-1]]

    def error(self, number: int, data: bytes = b"") -> int:
        """An option that must fail, with nothing before the error; the error's type."""
        replies = self.option(number, data)
        assert len(replies) == 1
        assert replies[0][0] & ERR, "expected an error, got an ACK"
        return replies[0][0]

    def agree(self, framing: str) -> Client:
        """Negotiate a framing."""
        if framing != "simple":
            self.ack(STRUCTURED_REPLY if framing == "structured" else EXTENDED_HEADERS)
        self.framing = framing
        return self

    def set_contexts(self, name: str, *queries: str) -> dict[int, str]:
        replies = self.ack(SET_META, meta_data(name, *queries))
        self.contexts = {int.from_bytes(data[:4], "big"): data[4:].decode() for data in replies}
        assert len(self.contexts) == len(replies), "context ids are not unique"
        return self.contexts

    def info(self, number: int, name: str, *items: int) -> dict[int, bytes]:
        """INFO or GO that must succeed: item to its data."""
        replies = self.ack(number, info_data(name, *items))
        found = {int.from_bytes(data[:2], "big"): data[2:] for data in replies}
        assert len(found) == len(replies), "an information item came twice"
        size, flags = struct.unpack(">QH", found[0])
        assert size < 1 << 63
        if number == GO:
            self.size, self.flags = size, flags
        return found

    def go(self, name: str = "", *items: int) -> Client:
        self.info(GO, name, *items)
        return self

    def export_name(self, name: str, no_zeroes: bool = True) -> Client:
        self.connection.send(option(EXPORT_NAME, name.encode()))
        self.size, self.flags = struct.unpack(">QH", self.connection.receive(10))
        if not no_zeroes:
            assert self.connection.receive(124) == bytes(124)
        return self

    def exports(self) -> dict[str, str]:
        """LIST: name to description."""
        found = {}
        for data in self.ack(LIST):
            length = int.from_bytes(data[:4], "big")
            found[data[4 : 4 + length].decode()] = data[4 + length :].decode()
        return found

    # Transmission.

    def submit(
        self,
        type: int,
        offset: int = 0,
        length: int = 0,
        flags: int = 0,
        data: bytes | None = None,
        cookie: int | None = None,
    ) -> Request:
        """
        Send one request in this connection's framing and remember it.

        Args:
            data: the payload; sets length, and PAYLOAD_LEN where it belongs.
        """
        request = self.remember(type, offset, length, flags, cookie)
        if data is not None:
            request.length = len(data)
            if self.framing == "extended":
                request.flags |= PAYLOAD_LEN
        pack = extended if self.framing == "extended" else compact
        self.connection.send(
            pack(type, offset, request.length, request.flags, request.cookie, data or b"")
        )
        return request

    def remember(
        self, type: int, offset: int, length: int, flags: int = 0, cookie: int | None = None
    ) -> Request:
        """Expect the answer to a request that the caller sends as raw bytes."""
        if cookie is None:
            self._cookie += 0x0101
            cookie = self._cookie
        request = Request(type, flags, cookie, offset, length)
        return self.expect(request)

    def call(self, *args: Any, **kwargs: Any) -> Answer:
        """Submit, and return the answer; nothing else may be pending."""
        assert not self.pending
        self.submit(*args, **kwargs)
        return self.answer()

    def read(self, offset: int, length: int, flags: int = 0) -> bytes:
        answer = self.call(READ, offset, length, flags)
        assert answer.error == 0, answer
        return bytes(answer.data)

    def write(self, offset: int, data: bytes, flags: int = 0) -> None:
        assert self.call(WRITE, offset, flags=flags, data=data).error == 0

    def done(self, *args: Any, **kwargs: Any) -> None:
        """A command that must succeed."""
        answer = self.call(*args, **kwargs)
        assert answer.error == 0, answer

    def status(self, offset: int, length: int, flags: int = 0) -> dict[str, list[tuple[int, int]]]:
        answer = self.call(BLOCK_STATUS, offset, length, flags)
        assert answer.error == 0, answer
        return answer.extents

    def disconnect(self) -> None:
        """DISC, and the end of the stream."""
        pack = extended if self.framing == "extended" else compact
        self.connection.send(pack(DISC))
        self.expect_end()

    def expect_end(self) -> None:
        """The server closes without another byte."""
        assert self.rest() == b""

    def rest(self) -> bytes:
        """All bytes until the server closes."""
        got = bytearray()
        while True:
            try:
                got += self.connection.receive(1)
            except EndOfStream:
                return bytes(got)
