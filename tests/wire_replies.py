"""Replies read from a connection and checked byte by byte, in all three framings."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from tests.wire_format import (
    BLOCK_STATUS,
    DF,
    ENOTSUP,
    EOVERFLOW,
    ERROR,
    ERROR_OFFSET,
    ERRORS,
    EXTENDED_CHUNK,
    FAST_ZERO,
    NONE,
    OFFSET_DATA,
    OFFSET_HOLE,
    READ,
    REQ_ONE,
    SIMPLE_REPLY,
    STATUS,
    STATUS_EXT,
    STRUCTURED_CHUNK,
    WRITE_ZEROES,
)


@dataclass
class Answer:
    """
    The whole reply to one request.

    Attributes:
        error: 0 for success.
        text: what an error chunk said; None in simple replies.
        data: what a READ got, holes as zeroes.
        chunks: ``(type, flags, payload)`` in order of arrival.
        extents: of each context by name: ``(length, status)``.
    """

    request: Request
    error: int = 0
    text: str | None = None
    data: bytearray = field(default_factory=bytearray)
    chunks: list[tuple[int, int, bytes]] = field(default_factory=list)
    extents: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    covered: list[tuple[int, int]] = field(default_factory=list)

    @property
    def kinds(self) -> list[int]:
        return [kind for kind, _, _ in self.chunks]


@dataclass
class Request:
    """A request on its way; ``length`` is what it works on, ``contexts`` what it asks of."""

    type: int
    flags: int
    cookie: int
    offset: int
    length: int
    contexts: tuple[int, ...] | None = None


class Replies:
    """
    What a client waits for, and the rules that every reply must keep.

    Attributes:
        framing: how replies must come, by what was negotiated.
        size: the export's, in bytes.
        contexts: selected ones, id to name.
        pending: requests not answered in full, by cookie.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.framing = "simple"
        self.size = 0
        self.contexts: dict[int, str] = {}
        self.pending: dict[int, list[tuple[Request, Answer]]] = {}

    def expect(self, request: Request) -> Request:
        """Expect the answer to a request."""
        self.pending.setdefault(request.cookie, []).append((request, Answer(request)))
        return request

    def answer(self) -> Answer:
        """The next answer that becomes complete, whichever request it is for."""
        while True:
            answer = self._chunk()
            if answer is not None:
                return answer

    def _chunk(self) -> Answer | None:
        magic = int.from_bytes(self.connection.receive(4), "big")
        if magic == SIMPLE_REPLY:
            return self._simple()
        offset = None
        if self.framing == "structured":
            assert magic == STRUCTURED_CHUNK, f"reply magic 0x{magic:x}"
            flags, kind, cookie, length = struct.unpack(">HHQI", self.connection.receive(16))
        else:
            assert self.framing == "extended", f"reply magic 0x{magic:x}"
            assert magic == EXTENDED_CHUNK, f"reply magic 0x{magic:x}"
            header = self.connection.receive(28)
            flags, kind, cookie, offset, length = struct.unpack(">HHQQQ", header)
        assert length <= (32 << 20) + 8, "chunk payload above the maximum"
        payload = self.connection.receive(length)
        request, answer = self._find(cookie, offset)
        assert flags in (0, 1), f"chunk flags 0x{flags:x}"
        answer.chunks.append((kind, flags, payload))
        _CHUNKS[kind](self, request, answer, flags, payload)
        if not flags:
            return None
        self._forget(cookie, answer)
        self._check(request, answer)
        return answer

    def _simple(self) -> Answer:
        assert self.framing != "extended", "a simple reply under extended headers"
        error, cookie = struct.unpack(">IQ", self.connection.receive(12))
        request, answer = self._find(cookie, None)
        answer.error = error
        if request.type == READ:
            assert self.framing == "simple", "a simple reply to a READ"
            if not error:
                answer.data[:] = self.connection.receive(request.length)
        elif request.type == BLOCK_STATUS:
            assert error, "a simple reply to BLOCK_STATUS"
        assert not answer.chunks, "a simple reply behind chunks"
        self._forget(cookie, answer)
        self._check_error(request, error) if error else None
        return answer

    def _find(self, cookie: int, offset: int | None) -> tuple[Request, Answer]:
        """The oldest pending request that a reply can be meant for."""
        assert cookie in self.pending, f"reply for cookie 0x{cookie:x}, which is not pending"
        request, answer = self.pending[cookie][0]
        assert offset is None or offset == request.offset, "the request's offset is not echoed"
        return request, answer

    def _forget(self, cookie: int, answer: Answer) -> None:
        self.pending[cookie] = [pair for pair in self.pending[cookie] if pair[1] is not answer]
        if not self.pending[cookie]:
            del self.pending[cookie]

    def _check(self, request: Request, answer: Answer) -> None:
        """What must hold for the chunks of one reply together."""
        if answer.error:
            assert sum(kind in (ERROR, ERROR_OFFSET) for kind in answer.kinds) == 1
        elif request.type == READ:
            position = request.offset
            for start, end in sorted(answer.covered):
                assert start == position, "a gap or an overlap in READ's chunks"
                position = end
            assert position == request.offset + request.length, "READ is not covered"
            if request.flags & DF:
                assert len(answer.covered) <= 1, "DF, and several content chunks"
        elif request.type == BLOCK_STATUS:
            wanted = self.contexts if request.contexts is None else request.contexts
            assert sorted(answer.extents) == sorted(self.contexts[key] for key in wanted)

    def _check_error(self, request: Request, error: int) -> None:
        assert error in ERRORS, f"error {error} is none of the protocol's"
        if error == ENOTSUP:
            assert request.type == WRITE_ZEROES
            assert request.flags & FAST_ZERO
        if error == EOVERFLOW:
            assert not request.flags & FAST_ZERO

    def _none(self, request: Request, answer: Answer, flags: int, payload: bytes) -> None:
        assert flags == 1, "NONE without DONE"
        assert payload == b""
        assert request.type != BLOCK_STATUS or answer.chunks[:-1], "no status at all"

    def _content(self, request: Request, answer: Answer, start: int, content: bytes) -> None:
        assert request.type == READ
        assert content, "an empty content chunk"
        assert request.offset <= start
        assert start + len(content) <= request.offset + request.length
        answer.data.extend(bytes(request.length - len(answer.data)))
        at = start - request.offset
        answer.data[at : at + len(content)] = content
        answer.covered.append((start, start + len(content)))

    def _data(self, request: Request, answer: Answer, flags: int, payload: bytes) -> None:
        assert len(payload) >= 9
        self._content(request, answer, int.from_bytes(payload[:8], "big"), payload[8:])

    def _hole(self, request: Request, answer: Answer, flags: int, payload: bytes) -> None:
        start, length = struct.unpack(">QI", payload)
        self._content(request, answer, start, bytes(length))

    def _status(self, request: Request, answer: Answer, flags: int, payload: bytes) -> None:
        assert self.framing == "structured"
        (context,) = struct.unpack_from(">I", payload)
        self._extents(request, answer, context, list(struct.iter_unpack(">II", payload[4:])))

    def _status_ext(self, request: Request, answer: Answer, flags: int, payload: bytes) -> None:
        assert self.framing == "extended"
        context, count = struct.unpack_from(">II", payload)
        extents = list(struct.iter_unpack(">QQ", payload[8:]))
        assert count == len(extents)
        assert all(word < 1 << 32 for _, word in extents)
        self._extents(request, answer, context, extents)

    def _extents(
        self, request: Request, answer: Answer, context: int, extents: list[tuple[Any, ...]]
    ) -> None:
        assert request.type == BLOCK_STATUS
        name = self.contexts[context]
        assert name not in answer.extents, "a context's status came twice"
        assert extents, "a status chunk without extents"
        lengths = [length for length, _ in extents]
        assert all(length > 0 for length in lengths)
        assert sum(lengths[:-1]) < request.length
        assert request.offset + sum(lengths) <= self.size, "status beyond the export's end"
        if request.flags & REQ_ONE:
            assert len(extents) == 1
            assert lengths[0] <= request.length
        if name == "base:allocation":
            assert all(word in (0, 2, 3) for _, word in extents)
        answer.extents[name] = [(length, word) for length, word in extents]

    def _error(self, request: Request, answer: Answer, flags: int, payload: bytes) -> None:
        error, length = struct.unpack_from(">IH", payload)
        assert length <= 4096
        behind = 6 + length + (8 if answer.kinds[-1] == ERROR_OFFSET else 0)
        assert len(payload) == behind
        answer.error = error
        answer.text = payload[6 : 6 + length].decode("utf-8")
        assert "\0" not in answer.text
        self._check_error(request, error)


_CHUNKS = {
    NONE: Replies._none,
    OFFSET_DATA: Replies._data,
    OFFSET_HOLE: Replies._hole,
    STATUS: Replies._status,
    STATUS_EXT: Replies._status_ext,
    ERROR: Replies._error,
    ERROR_OFFSET: Replies._error,
}
