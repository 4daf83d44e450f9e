"""HTTP/1.1 as servers speak it: one request after the other, bodies received where they stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from benchmarks.s3_emulator.answers import Answer, Request, error

#: Bytes; a request line with its headers has to fit.
_HEAD = 64 * 1024
#: Bytes; the largest put of S3 that is one request has 5 GiB, but these are kept in memory.
_LARGEST = 1 << 30

Respond = Callable[[Answer | None], None]
#: Gets a request and the loop's time at which it began to arrive; answers by calling back,
#: with None to cut the connection.
Serve = Callable[[Request, float, Respond], None]


class Connection(asyncio.BufferedProtocol):
    """
    One client.

    Args:
        serve: called once a request is there; nothing more is taken until it has answered.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._head = bytearray(_HEAD)
        self._filled = 0
        self._request: tuple[str, str, dict[str, str]] | None = None
        self._body = bytearray()
        self._got = 0
        self._began = 0.0
        self._serving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._request is not None and not self._serving:
            return memoryview(self._body)[self._got :]
        return memoryview(self._head)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._request is not None and not self._serving:
            self._got += nbytes
            self._take_body()
        else:
            self._filled += nbytes
            self._take_head()

    def _take_head(self) -> None:
        """Find the next request in what has come, if it is whole."""
        if self._serving or self._transport is None:
            return
        end = self._head.find(b"\r\n\r\n", 0, self._filled)
        if end < 0:
            if self._filled == _HEAD:
                self._refuse("got headers of 64 KiB, expected fewer")
            return
        self._began = self._loop.time()
        try:
            line, *fields = self._head[:end].decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            headers = {}
            for field in fields:
                name, _, value = field.partition(":")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", 0))
        except ValueError:
            self._refuse("got what is no request of HTTP/1.1")
            return
        if "transfer-encoding" in headers or not 0 <= length <= _LARGEST:
            self._refuse("expected a Content-Length of at most 1 GiB")
            return
        if headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._request = method, target, headers
        # Never changed once it is whole: an object may keep it as it is.
        self._body = bytearray(length)
        rest = min(self._filled - end - 4, length)
        self._body[:rest] = self._head[end + 4 : end + 4 + rest]
        left = self._filled - end - 4 - rest
        self._head[:left] = self._head[end + 4 + rest : self._filled]
        self._filled, self._got = left, rest
        self._take_body()

    def _take_body(self) -> None:
        if self._request is None or self._got < len(self._body):
            return
        self._serving = True
        method, target, headers = self._request
        body, self._body = self._body, bytearray()
        request = Request.parse(method, target, headers, body)
        self._serve(request, self._began, lambda answer: self._respond(method, answer))

    def _respond(self, method: str, answer: Answer | None) -> None:
        transport = self._transport
        if transport is None:
            return
        if answer is None:
            transport.abort()
            return
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status not in (204, 304):
            lines.append(f"Content-Length: {len(answer.body)}")
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method != "HEAD" and len(answer.body):
            transport.write(answer.body)
        self._request, self._serving = None, False
        if self._filled:
            self._take_head()

    def _refuse(self, problem: str) -> None:
        answer = error(400, "BadRequest", problem)
        self._serving = True
        self._respond("GET", answer)
        if self._transport is not None:
            self._transport.close()
