"""From data and extents to the bytes of an object; pure computing, to be run in a thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from backends.volume import frames
from backends.volume.header import Codec, Extent, Frame, Header, Kind, check, encode
from backends.volume.keys import Crypt
from gateway.errors import Corrupt
from gateway.interfaces import Buffer


@attrs.frozen
class Sealed:
    """
    An object, ready to be put.

    Attributes:
        header: as a reader will find it.
        parts: joined they are the object. They may be views of the pieces
            that it was made of, which must not change before it is stored.
    """

    header: Header
    parts: list[Buffer] = attrs.field(repr=False)


def seal(
    kind: Kind,
    volume: bytes,
    writer: bytes,
    epoch: int,
    position: int,
    number: int,
    wall_ms: int,
    extents: Sequence[Extent],
    pieces: Iterable[Buffer],
    codec: Codec,
    crypt: Crypt | None,
    unsettled: int = 0,
) -> Sealed:
    """
    Make an object of type data, fence, moved or superblock.

    Args:
        kind to wall_ms: see `Header`.
        extents: sorted by sector, not overlapping; see `max_extents` for how many fit.
        pieces: joined they are the plain data: whole sectors, in which the extents point.
        codec: for frames that it makes smaller by an eighth.
        crypt: the volume's key, in an encrypted volume.
        unsettled: see `Header`.

    Raises:
        ValueError: a reader would refuse it: too many extents, out of order,
            beyond the data, ... Nothing unreadable is ever stored.
    """
    identity = (kind, volume, writer, epoch, position, number)
    keys = None if crypt is None else crypt.object(kind, epoch, position, number, writer)
    frame_keys = None if kind is Kind.SUPERBLOCK else keys
    parts: list[Buffer] = []
    table: list[Frame] = []
    plain_length = 0
    doubted = False
    for index, plain in enumerate(frames.split(pieces)):
        stored, frame = frames.close_frame(plain, codec, frame_keys, index, doubted)
        doubted = frame.codec != codec
        parts.append(stored)
        table.append(frame)
        plain_length += len(plain)
    header = Header(
        *identity,
        wall_ms=wall_ms,
        encrypted=keys is not None,
        extents=tuple(extents),
        frames=tuple(table),
        plain_length=plain_length,
        stored_length=sum(map(len, parts)),
        unsettled=unsettled,
    )
    try:
        check(header, "sealing")
    except Corrupt as mistake:
        raise ValueError(str(mistake)) from None
    behind = parts if kind is Kind.SUPERBLOCK else ()
    return Sealed(header, [encode(header, keys, behind), *parts])
