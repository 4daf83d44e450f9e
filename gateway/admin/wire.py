"""
What operators and the gateway say to each other over HTTP: paths, JSON, and why not.

Both ends use this, so that neither can misspell the other. Errors are
problem details (RFC 9457) with a ``cause``, one of `Cause`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

#: In the gateway's ``state_dir``.
SOCKET = "admin.sock"

#: The first segment of every path; another one when what is below changes.
VERSION = "v1"

#: Bytes; no request has a longer body.
BODY_LIMIT = 64 * 1024

JSON = "application/json"
PROBLEM = "application/problem+json"


class Cause(Enum):
    """Why a request was not done, with the status of HTTP that tells of it."""

    BAD_REQUEST = "bad-request", 400
    NOT_FOUND = "not-found", 404
    METHOD_NOT_ALLOWED = "method-not-allowed", 405
    BUSY = "busy", 409
    REFUSED = "refused", 409
    NOT_A_VOLUME = "not-a-volume", 409
    FENCED = "fenced", 409
    TOO_LARGE = "too-large", 413
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415
    FAILED = "failed", 500
    CORRUPT = "corrupt", 500
    UNAVAILABLE = "unavailable", 503
    NO_SPACE = "no-space", 507

    def __init__(self, word: str, status: int) -> None:
        self.word = word
        self.status = status

    @classmethod
    def called(cls, word: object) -> Cause:
        """The one of that word; `FAILED` for one that we do not know."""
        return next((cause for cause in cls if cause.word == word), cls.FAILED)


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Why a request was not done.

    Attributes:
        detail: for people; no secrets.
    """

    cause: Cause
    detail: str

    def json(self) -> dict[str, Any]:
        """As problem details."""
        return {
            "type": "about:blank",
            "title": self.cause.word.replace("-", " "),
            "status": self.cause.status,
            "detail": self.detail,
            "cause": self.cause.word,
        }


class Malformed(ValueError):
    """A body that is not what was expected; the text says how."""


def path(*segments: str) -> str:
    """The path of a resource; names are encoded."""
    return "/".join(["", VERSION, *(quote(segment, safe="") for segment in segments)])


def encoded(value: object) -> bytes:
    """A body."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def members(body: bytes, **kinds: type) -> dict[str, Any]:
    """
    The members of a JSON object.

    Args:
        kinds: of each member; all have to be there, and no others.

    Raises:
        Malformed: they are not.
    """
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Malformed("body: expected JSON") from None
    expected = ", ".join(f"{name} ({_KINDS[kind]})" for name, kind in kinds.items()) or "no members"
    if not isinstance(found, dict):
        raise Malformed(f"body: got {type(found).__name__}, expected an object with {expected}")
    for name in found:
        if name not in kinds:
            raise Malformed(f"body: got {name[:100]!r}, expected {expected}")
    for name, kind in kinds.items():
        if name not in found:
            raise Malformed(f"body: {name} is missing, expected {expected}")
        # A bool is an int to Python.
        if type(found[name]) is not kind:
            raise Malformed(f"{name}: got {type(found[name]).__name__}, expected a {_KINDS[kind]}")
    return found


_KINDS = {str: "string", int: "whole number"}
