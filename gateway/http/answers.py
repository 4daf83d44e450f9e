"""Answers of the HTTP wing as bytes: JSON, one word for machines, and why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
PROBLEM = b"application/problem+json"


class Refusal(Exception):
    """
    A request that is answered with an error.

    Args:
        status: of HTTP.
        cause: a word or two with hyphens, for programs.
        detail: for people; no secrets.
        headers: beside the usual ones.
    """

    def __init__(
        self, status: int, cause: str, detail: str, headers: Mapping[bytes, bytes] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.cause = cause
        self.detail = detail
        self.headers = dict(headers or {})


def is_gone(request: Any) -> bool:
    """Whether the client has left; nothing can be sent any more."""
    return request.channel is None


def finish(request: Any) -> None:
    """Headers alone, or the end of what was written."""
    if not is_gone(request):
        request.finish()


def send(request: Any, body: bytes, kind: bytes, status: int = 200) -> None:
    """The whole answer, which may not be kept; nothing if nobody waits for it."""
    if is_gone(request):
        return
    request.setResponseCode(status)
    request.setHeader(b"content-type", kind)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"cache-control", b"no-store")
    if body:
        request.write(body)
    request.finish()


def send_json(request: Any, value: object) -> None:
    """As one line."""
    send(request, json.dumps(value, ensure_ascii=False).encode() + b"\n", JSON)


def refuse(request: Any, refusal: Refusal) -> None:
    """As problem details (RFC 9457), as the operators' paths answer."""
    for name, header in refusal.headers.items():
        request.setHeader(name, header)
    problem = {
        "type": "about:blank",
        "title": refusal.cause.replace("-", " "),
        "status": refusal.status,
        "detail": refusal.detail,
        "cause": refusal.cause,
    }
    send(request, json.dumps(problem, ensure_ascii=False).encode() + b"\n", PROBLEM, refusal.status)


def argument(request: Any, name: str, default: str = "") -> str:
    """
    One from the query.

    Raises:
        Refusal: it is there more than once, or is no text.
    """
    values = request.args.get(name.encode(), [default.encode()])
    if len(values) != 1:
        raise Refusal(400, "bad-request", f"{name}: got it {len(values)} times, expected once")
    try:
        text: str = values[0].decode()
    except UnicodeDecodeError:
        raise Refusal(400, "bad-request", f"{name}: expected UTF-8") from None
    return text


def number(request: Any, name: str, default: int, most: int, least: int = 0) -> int:
    """
    A whole number from the query.

    Raises:
        Refusal: it is none, or beyond its bounds.
    """
    text = argument(request, name)
    if not text:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not least <= value <= most:
        expected = f"a whole number from {least} to {most}"
        raise Refusal(400, "bad-request", f"{name}: got {text[:40]!r}, expected {expected}")
    return value
