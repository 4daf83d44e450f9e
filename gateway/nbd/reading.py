"""
A long READ answered in chunks: what is stored is sent, what is a hole is named.

Each chunk is read only when there is room to send it, so a 32 MiB READ holds
no more memory than one chunk, and a client that does not read holds that. One
that takes a single reply can be sent in pieces of the same size, which then
nothing may come between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from gateway.errors import Unavailable
from gateway.info import Extent
from gateway.interfaces import Buffer, IExport
from gateway.nbd.limits import READ_CHUNK
from gateway.nbd.outbox import Outbox
from gateway.nbd.replies import SimpleReplies
from gateway.nbd.requests import Request

#: Bytes. Shorter holes are sent as data: a chunk of their own costs more.
_SHORTEST_HOLE = 4096

#: Bytes. Holes begin and end at multiples of this (proto.md: SHOULD).
_SECTOR = 512


async def send_chunks(
    request: Request,
    export: IExport,
    outbox: Outbox,
    replies: SimpleReplies,
    drain: Callable[[], None],
    room: Callable[[], Awaitable[None]],
) -> None:
    """
    Answer a READ with chunks that cover its range once, in order.

    Args:
        drain: sends what the outbox holds, as far as that can be done now.
        room: fires when the outbox is no longer full; awaited if draining did
            not help.

    Raises:
        StorageError: what was sent so far is right; the rest is missing.
    """
    end = request.offset + request.length
    position = request.offset
    while position < end:
        surveyed = export.extents(position, end - position, False)
        extents = await surveyed if isinstance(surveyed, Deferred) else surveyed
        for stop, hole in _runs(position, end, extents):
            while position < stop:
                if outbox.full:
                    await _make_room(outbox, drain, room)
                if hole:
                    replies.hole(request, position, stop - position, stop == end)
                    position = stop
                    continue
                # Cut at multiples, so that no block is read in two parts.
                length = min(stop - position, READ_CHUNK - position % READ_CHUNK)
                last = position + length == end
                if not read_in_place(request, export, outbox, replies, position, length, last):
                    result = export.read(position, length)
                    data = await result if isinstance(result, Deferred) else result
                    send_data(request, outbox, replies, data, position, length, last)
                position += length


async def _make_room(
    outbox: Outbox, drain: Callable[[], None], room: Callable[[], Awaitable[None]]
) -> None:
    """Come back when an outbox that is full is so no longer."""
    drain()
    while outbox.full:
        await room()


class CutShort(Exception):
    """A part of a reply was sent and the rest cannot be: the connection must be dropped."""


async def send_pieces(
    request: Request,
    export: IExport,
    outbox: Outbox,
    replies: SimpleReplies,
    drain: Callable[[], None],
    room: Callable[[], Awaitable[None]],
) -> None:
    """
    Answer a READ with one reply, of which each piece is read when the one before is sent.

    Nothing else may be sent meanwhile.

    Args:
        drain, room: as for `send_chunks`.

    Raises:
        StorageError: nothing was sent, or a chunk whose data is void: an error
            has to follow.
        CutShort: data was promised and cannot be read, in a framing that has no
            word for that; the cause says why.
    """
    end = request.offset + request.length
    position = request.offset
    failure: Exception | None = None
    while position < end:
        if outbox.full:
            await _make_room(outbox, drain, room)
        length = min(end - position, READ_CHUNK - position % READ_CHUNK)
        data: Buffer = b""
        if failure is None:
            try:
                result = export.read(position, length)
                data = await result if isinstance(result, Deferred) else result
                _check_length(data, position, length)
            except Exception as error:
                if position == request.offset:
                    raise
                if not replies.chunked:
                    raise CutShort from error
                failure = error
        if outbox.abandoned:
            raise ConnectionLost
        if position == request.offset:
            # It is the last chunk only if all goes well.
            outbox.append(_data_header(request, replies, position, request.length, False))
        outbox.append(data if failure is None else bytes(length))
        position += length
    if failure is not None:
        raise failure
    if replies.chunked:
        replies.done(request)


def read_in_place(
    request: Request,
    export: IExport,
    outbox: Outbox,
    replies: SimpleReplies,
    offset: int,
    length: int,
    last: bool,
) -> bool:
    """
    Read straight behind the reply header in the outbox.

    Returns:
        False, with nothing sent, if there is no room or storage would wait.
    """
    header = replies.data_header
    total = header + length
    position = outbox.reserve(total)
    if position < 0:
        return False
    buffer = outbox.buffer
    if not export.read_into(offset, buffer[position + header : position + total]):
        return False
    replies.pack_data(buffer, position, request, offset, length, last)
    outbox.commit(total)
    return True


def send_data(
    request: Request,
    outbox: Outbox,
    replies: SimpleReplies,
    data: Buffer,
    offset: int,
    length: int,
    last: bool,
) -> None:
    """
    Queue READ data that exists already, behind its header.

    Raises:
        Unavailable: storage returned another number of bytes than asked for;
            nothing was sent (C13).
    """
    _check_length(data, offset, length)
    outbox.append(_data_header(request, replies, offset, length, last), data)


def _check_length(data: Buffer, offset: int, length: int) -> None:
    if len(data) != length:
        raise Unavailable(f"read of {length} bytes at {offset} returned {len(data)}")


def _data_header(
    request: Request, replies: SimpleReplies, offset: int, length: int, last: bool
) -> bytearray:
    header = bytearray(replies.data_header)
    replies.pack_data(header, 0, request, offset, length, last)
    return header


def _runs(position: int, end: int, extents: list[Extent]) -> Iterator[tuple[int, bool]]:
    """
    Cut ``[position, end)``, as far as ``extents`` reach, into data and holes.

    Yields:
        Where each run ends, and whether it is sent as a hole.
    """
    data_end = position
    for extent in extents:
        stop = min(position + extent.length, end)
        first = -(-position // _SECTOR) * _SECTOR
        last = stop if stop == end else stop // _SECTOR * _SECTOR
        if extent.zero and last - first >= _SHORTEST_HOLE:
            if first > data_end:
                yield first, False
            # A descriptor of a hole has 32 bits, and so has a READ's length.
            yield last, True
            data_end = last
        position = stop
        if position == end:
            break
    if position > data_end:
        yield position, False
