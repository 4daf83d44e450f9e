"""A WSGI layer in front of an S3 server that fails on demand, and counts what was asked."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any
from urllib.parse import parse_qs

import attrs

Environ = dict[str, Any]
Respond = Callable[..., Any]
Body = list[bytes]

PUT, GET, HEAD, LIST, DELETE, DELETES = "PUT", "GET", "HEAD", "LIST", "DELETE", "DELETES"
VERBS = (PUT, GET, HEAD, LIST, DELETE, DELETES)


@attrs.frozen
class Asked:
    """
    A request as it came.

    Attributes:
        verb: one of `VERBS`, or the method and the sub-resource, as ``GET ?versioning``.
        key: of the object; empty for requests on the bucket.
        headers: by lower-case name.
        body: all of it.
    """

    verb: str
    key: str
    headers: dict[str, str]
    body: bytes


@attrs.frozen
class Answer:
    """What goes back."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


#: Gets the request and what asks the server behind; gives the answer.
Fault = Callable[[Asked, Callable[..., Answer]], Answer]


class Reset(ConnectionResetError):
    """Instead of an answer: the connection is cut."""


class FaultyS3:
    """
    A WSGI application around another.

    Attributes:
        counts: requests by verb, failed ones included.
        asked: every request, oldest first.
    """

    def __init__(self, server: Callable[[Environ, Respond], Iterable[bytes]]) -> None:
        self.counts: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self._server = server
        self._lock = threading.Lock()
        self._serving = threading.Lock()
        self._faults: list[_Planned] = []

    def fail(self, fault: Fault, *verbs: str, times: int | None = 1, key: str = "") -> None:
        """
        Put ``fault`` in the way of requests to come.

        Args:
            verbs: of those requests; all if there are none.
            times: how many of them; None is for ever.
            key: only where it is part of the key.
        """
        with self._lock:
            self._faults.append(_Planned(fault, verbs, key, times))

    def heal(self) -> None:
        """No faults from now on."""
        with self._lock:
            self._faults.clear()

    def forget(self) -> None:
        """Count anew."""
        with self._lock:
            self.counts.clear()
            self.asked.clear()

    def __call__(self, environ: Environ, respond: Respond) -> Iterable[bytes]:
        asked = _asked(environ)
        with self._lock:
            self.counts[asked.verb] += 1
            self.asked.append(asked)
            fault = self._next_fault(asked)

        def serve(**headers: str | None) -> Answer:
            return self._serve(environ, asked.body, headers)

        answer = serve() if fault is None else fault(asked, serve)
        respond(answer.status, answer.headers)
        return [] if asked.verb == HEAD else [answer.body]

    def _next_fault(self, asked: Asked) -> Fault | None:
        for planned in self._faults:
            if planned.concerns(asked):
                if planned.left is not None:
                    planned.left -= 1
                    if planned.left == 0:
                        self._faults.remove(planned)
                return planned.fault
        return None

    def _serve(self, environ: Environ, body: bytes, headers: dict[str, str | None]) -> Answer:
        """Ask the server behind, with some headers changed; None takes one away."""
        changed = {**environ, "wsgi.input": io.BytesIO(body)}
        for name, value in headers.items():
            changed.pop(f"HTTP_{name.upper()}", None)
            if value is not None:
                changed[f"HTTP_{name.upper()}"] = value
        begun: list[tuple[str, list[tuple[str, str]]]] = []
        # an emulator may not stand two threads that replace the same object
        with self._serving:
            parts = self._server(changed, lambda status, head, *_: begun.append((status, head)))
            data = b"".join(parts)
        status, head = begun[0]
        return Answer(status, head, data)


@attrs.define
class _Planned:
    fault: Fault
    verbs: tuple[str, ...]
    key: str
    left: int | None

    def concerns(self, asked: Asked) -> bool:
        return (not self.verbs or asked.verb in self.verbs) and self.key in asked.key


def _asked(environ: Environ) -> Asked:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    headers = {
        name[5:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    _, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return Asked(_verb(environ["REQUEST_METHOD"], key, query), key, headers, body)


def _verb(method: str, key: str, query: dict[str, list[str]]) -> str:
    if key:
        return method
    if "list-type" in query:
        return LIST
    if "delete" in query:
        return DELETES
    return " ?".join([method, *query])


# What may happen to a request.


def refuse(status: str, code: str = "", message: str = "", **headers: str) -> Fault:
    """Answer ``status``, such as ``503 Slow Down``, with an error of S3 if there is a code."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    head = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def fault(asked: Asked, serve: Callable[..., Answer]) -> Answer:
        body = text.encode()
        kind = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        return Answer(status, kind + head, body)

    return fault


#: The store is busy.
slow_down = refuse("503 Slow Down", "SlowDown", "Please reduce your request rate.")


def applied_then_500(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """It was done, and the answer says that it failed."""
    serve()
    return refuse("500 Internal Server Error", "InternalError")(asked, serve)


def reset(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """The connection is cut before anything was done."""
    raise Reset


def applied_then_reset(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """It was done, and the connection is cut."""
    serve()
    raise Reset


def late(delay: float) -> Fault:
    """Answer after ``delay`` seconds."""

    def fault(asked: Asked, serve: Callable[..., Answer]) -> Answer:
        time.sleep(delay)
        return serve()

    return fault


def short_body(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """Half of the bytes that the header announces."""
    answer = serve()
    return attrs.evolve(answer, body=answer.body[: len(answer.body) // 2])


def bit_flip(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """One bit of the body is another."""
    answer = serve()
    flipped = bytes([answer.body[0] ^ 1]) + answer.body[1:]
    return attrs.evolve(answer, body=flipped)


def ignore_condition(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """As a store does that has never heard of ``If-None-Match``."""
    return serve(if_none_match=None)


def ignore_range(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """As a store does that has never heard of ``Range``."""
    return serve(range=None)


def other_range(asked: Asked, serve: Callable[..., Answer]) -> Answer:
    """Answers for the bytes behind those that were asked for, and says so."""
    first, last = asked.headers["range"].removeprefix("bytes=").split("-")
    return serve(range=f"bytes={int(first) + 1}-{int(last) + 1}")


def sometimes(random: Random, chance: float, *faults: Fault) -> Fault:
    """One of the faults, drawn evenly, with a chance of ``chance``; else a healthy answer."""

    def fault(asked: Asked, serve: Callable[..., Answer]) -> Answer:
        if random.random() >= chance:
            return serve()
        return random.choice(faults)(asked, serve)

    return fault
