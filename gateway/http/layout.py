"""Where a disk has data, zeroes and holes, and what of it changed: as lists and as a coarse map."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import Logger

from gateway.errors import StorageError
from gateway.http.answers import JSON, Refusal, argument, finish, number, send_json
from gateway.http.disks import Disks, Turns, now
from gateway.http.sending import Body
from gateway.info import MAX_EXPORT_SIZE
from gateway.interfaces import IChangedBlocks, IExport

#: Cells of a map, at most.
MOST_CELLS = 4096

#: Extents in one answer, at most, and as long as nothing is asked; the client asks on.
MOST_EXTENTS = 1_000_000

#: Bytes of JSON that are gathered before they are sent.
_CHUNK = 32 * 1024

#: A run: its start, its length, and what it is.
_Run = tuple[int, int, dict[str, bool]]

_log = Logger()


async def extents(disks: Disks, request: Any, name: str) -> None:
    """
    Answer with runs of bytes that are alike, neighbors merged.

    Raises:
        Refusal: nothing was sent.
    """
    context = argument(request, "context", "zero")
    if context not in ("zero", "base:allocation", "changed"):
        raise Refusal(
            400,
            "bad-request",
            f"context: got {context[:40]!r}, expected zero, base:allocation or changed",
        )
    since = argument(request, "since")
    if bool(since) != (context == "changed"):
        raise Refusal(400, "bad-request", "since: expected it with context=changed, and only there")
    limit = number(request, "limit", MOST_EXTENTS, MOST_EXTENTS, 1)
    async with disks.opened(request, name) as (export, _):
        size = export.info.size
        start = number(request, "start", 0, size)
        length = min(number(request, "length", size, MAX_EXPORT_SIZE), size - start)
        if context == "changed":
            if not IChangedBlocks.providedBy(export) or since not in export.references():
                raise Refusal(
                    404,
                    "not-found",
                    f"since: {name[:100]!r} knows no changes since {since[:100]!r}",
                )
            runs = _changed(export, since, start, start + length, disks.reactor, request)
        else:
            runs = _allocated(export, start, start + length, disks.reactor, request)
        request.setHeader(b"content-type", JSON)
        request.setHeader(b"cache-control", b"no-store")
        if request.method == b"HEAD":
            finish(request)
            return
        await _send(disks, request, name, _merged(runs), limit)


async def layout(disks: Disks, request: Any, name: str) -> None:
    """
    Answer with the disk divided into cells of equal size, and what each holds.

    Raises:
        Refusal: it cannot be asked.
    """
    cells = number(request, "cells", 256, MOST_CELLS, 1)
    async with disks.opened(request, name) as (export, _):
        size = export.info.size
        # Of whole sectors, but for the last.
        cell = max(-(-size // (cells * 512)) * 512, 512)
        count = -(-size // cell)
        data, zero, hole = [0] * count, [0] * count, [0] * count
        try:
            async for start, length, state in _allocated(export, 0, size, disks.reactor, request):
                kind = hole if state["hole"] else zero if state["zero"] else data
                _fill(kind, start, start + length, cell)
        except StorageError as error:
            raise Refusal(503, "unavailable", f"{name[:100]!r}: {error}") from None
        send_json(
            request,
            {
                "export": name,
                "size": size,
                "cell": cell,
                "data": data,
                "zero": zero,
                "hole": hole,
            },
        )


def _fill(kind: list[int], start: int, end: int, cell: int) -> None:
    first, last = start // cell, (end - 1) // cell
    if first == last:
        kind[first] += end - start
        return
    kind[first] += (first + 1) * cell - start
    kind[first + 1 : last] = [cell] * (last - first - 1)
    kind[last] += end - last * cell


async def _allocated(
    export: IExport, start: int, end: int, reactor: Any, request: Any
) -> AsyncIterator[_Run]:
    turns = Turns(reactor, request)
    while start < end:
        for extent in await now(export.extents(start, end - start, False)):
            length = min(extent.length, end - start)
            if length <= 0:
                break
            yield start, length, {"zero": extent.zero, "hole": extent.hole}
            start += length
        await turns.rest()


async def _changed(
    export: Any, since: str, start: int, end: int, reactor: Any, request: Any
) -> AsyncIterator[_Run]:
    turns = Turns(reactor, request)
    while start < end:
        for change in await now(export.changed(since, start, end - start, False)):
            length = min(change.length, end - start)
            if length <= 0:
                break
            yield start, length, {"dirty": change.dirty}
            start += length
        await turns.rest()


async def _merged(runs: AsyncIterator[_Run]) -> AsyncIterator[_Run]:
    """Neighbors that are alike, as one."""
    pending: _Run | None = None
    async for start, length, state in runs:
        if pending is not None and pending[2] == state:
            pending = pending[0], pending[1] + length, state
            continue
        if pending is not None:
            yield pending
        pending = start, length, state
    if pending is not None:
        yield pending


async def _send(
    disks: Disks, request: Any, name: str, runs: AsyncIterator[_Run], limit: int
) -> None:
    body: Body | None = None
    text = bytearray(b"[")
    sent = 0
    try:
        async for start, length, state in runs:
            separator = b",\n" if sent else b""
            text += separator + json.dumps({"start": start, "length": length, **state}).encode()
            sent += 1
            if sent == limit:
                break
            if len(text) >= _CHUNK:
                if body is None:
                    body = Body(request, disks.reactor)
                await body.write(bytes(text))
                text.clear()
        if body is None:
            body = Body(request, disks.reactor)
        await body.write(bytes(text) + b"]\n")
    except ConnectionLost:
        return
    except StorageError as error:
        if body is None:
            raise Refusal(503, "unavailable", f"{name[:100]!r}: {error}") from None
        _log.error("{name}: the extents cannot be told: {why}", name=name[:100], why=str(error))
        body.abort()
        return
    body.finish()
