"""Disks as images: ``GET`` and ``HEAD`` of their bytes, whole or one range."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.web.http import CACHED

from gateway.errors import StorageError
from gateway.http.answers import Refusal, finish
from gateway.http.disks import Disks, read
from gateway.http.ranges import Unsatisfiable, one_range
from gateway.http.sending import Body
from gateway.info import KIB

#: Bytes that are read, and held, at a time.
PIECE = 256 * KIB

_log = Logger()


async def raw(disks: Disks, request: Any, name: str) -> None:
    """
    Answer with a disk's bytes.

    Raises:
        Refusal: nothing was sent.
    """
    clock = disks.reactor.seconds
    tag = await disks.tag(request, name)
    async with disks.opened(request, name) as (export, traffic):
        size = export.info.size
        request.setHeader(b"accept-ranges", b"bytes")
        request.setHeader(b"content-type", b"application/octet-stream")
        if tag is None:
            request.setHeader(b"cache-control", b"no-store")
        elif request.setETag(b'"' + tag + b'"') is CACHED:
            finish(request)
            return
        wanted = _wanted(request, size, tag)
        start, length = (0, size) if wanted is None else wanted
        if wanted is not None:
            request.setResponseCode(206)
            request.setHeader(
                b"content-range", b"bytes %d-%d/%d" % (start, start + length - 1, size)
            )
        request.setHeader(b"content-length", b"%d" % length)
        if request.method == b"HEAD" or not length:
            finish(request)
            return
        end = start + length
        try:
            # Before anything is sent, so that a disk that cannot be read gets an answer.
            piece = await read(export, traffic, start, _piece(start, end), clock)
        except StorageError as error:
            raise Refusal(
                503, "unavailable", f"{name[:100]!r} cannot be read at {start}: {error}"
            ) from None
        body = Body(request, disks.reactor)
        try:
            while True:
                await body.write(piece)
                start += len(piece)
                if start == end:
                    break
                # Not read before it can be sent.
                await body.room()
                piece = await read(export, traffic, start, _piece(start, end), clock)
        except ConnectionLost:
            return
        except StorageError as error:
            _log.error(
                "{name}: cut off at {start}: {why}", name=name[:100], start=start, why=str(error)
            )
            body.abort()
            return
        body.finish()


def _piece(start: int, end: int) -> int:
    """Cut at multiples, so that no block is read in two parts."""
    return min(end - start, PIECE - start % PIECE)


def _wanted(request: Any, size: int, tag: bytes | None) -> tuple[int, int] | None:
    if request.method != b"GET":
        return None
    condition = request.getHeader(b"if-range")
    if condition is not None and (tag is None or condition.strip() != b'"' + tag + b'"'):
        return None
    header = request.getHeader(b"range")
    try:
        return one_range(None if header is None else header.decode("latin-1"), size)
    except Unsatisfiable as problem:
        raise Refusal(
            416, "range-not-satisfiable", str(problem), {b"content-range": b"bytes */%d" % size}
        ) from None
