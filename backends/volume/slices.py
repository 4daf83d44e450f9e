"""
Checkpoint objects: a header, then slices that are each read on their own.

A reference to a slice names the object and the slice's offset and length in
it: one ranged get suffices, without the header. What slices hold is said in
`backends.volume.checkpoint`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

from backends.volume.frames import compress, decompress
from backends.volume.header import FIXED, Codec, Header, Kind, crc32c, encode
from backends.volume.keys import Crypt, ObjectCrypt, Tampered
from backends.volume.sealing import Sealed
from gateway.errors import Corrupt
from gateway.interfaces import Buffer

#: Where the first slice of a checkpoint object starts.
FIRST_OFFSET = FIXED

#: Bytes of plain data; no slice holds more.
SLICE_LIMIT = 64 << 20

_BOUND = struct.Struct("<BBHI")
_CRC = struct.Struct("<I")

#: Bytes in front of a slice's payload.
ENVELOPE = _BOUND.size + _CRC.size


class SliceKind(IntEnum):
    """What a slice holds."""

    PAGE_IMAGE = 1
    PAGE_CHANGES = 2
    LEAF = 3
    TABLE = 4
    ROOT = 5


def seal_slice(
    kind: SliceKind, plain: Buffer, codec: Codec, crypt: ObjectCrypt | None, offset: int
) -> bytes:
    """
    A slice with its envelope: these are the bytes that a reference's stored length counts.

    Args:
        codec: used if it saves an eighth.
        crypt: ``Crypt.object(Kind.CHECKPOINT, epoch, 0, n)``, in an encrypted volume.
        offset: where in the object the slice will start.

    Raises:
        ValueError: ``plain`` is longer than `SLICE_LIMIT`.
    """
    if len(plain) > SLICE_LIMIT:
        raise ValueError(f"slice: got {len(plain)} bytes, expected at most {SLICE_LIMIT}")
    payload, used = compress(plain, codec)
    bound = _BOUND.pack(used, kind, 0, len(plain))
    if crypt is not None:
        payload = crypt.seal(offset, payload, bound)
    return b"".join((bound, _CRC.pack(crc32c(bound, payload)), payload))


def open_slice(
    kind: SliceKind, stored: Buffer, crypt: ObjectCrypt | None, offset: int, where: str
) -> bytes:
    """
    The plain data of a slice, checked.

    Args:
        kind: what the reference says it is.
        stored: the bytes that the reference names, all of them.
        crypt: as for `seal_slice`; of the volume that wrote the object.
        offset: where in the object they start.
        where: the object's name, for messages.

    Raises:
        Corrupt: they are not such a slice.
        Unavailable: the codec's library is not installed.
    """
    where = f"{where}: slice at {offset}"
    view = memoryview(stored)
    if len(view) < ENVELOPE:
        raise Corrupt(f"{where}: too short: got {len(view)} bytes, expected {ENVELOPE} or more")
    bound, payload = bytes(view[: _BOUND.size]), view[ENVELOPE:]
    (crc,) = _CRC.unpack_from(view, _BOUND.size)
    computed = crc32c(bound, payload)
    if crc != computed:
        raise Corrupt(f"{where}: CRC: got {crc:#010x}, expected {computed:#010x}")
    codec, got_kind, reserved, plain_length = _BOUND.unpack(bound)
    if got_kind != kind:
        raise Corrupt(f"{where}: got the kind {got_kind}, expected {kind:d} ({kind.name.lower()})")
    if codec not in set(Codec) or reserved or plain_length > SLICE_LIMIT:
        raise Corrupt(
            f"{where}: got codec {codec}, reserved {reserved} and {plain_length} plain bytes, "
            f"expected codec 0, 1 or 2, reserved 0 and at most {SLICE_LIMIT} bytes"
        )
    if crypt is not None:
        try:
            payload = memoryview(crypt.open(offset, payload, bound))
        except Tampered as error:
            raise Corrupt(f"{where}: {error}: changed, or sealed with another key") from None
    return bytes(decompress(payload, Codec(codec), plain_length, where))


def seal_checkpoint(
    volume: bytes,
    writer: bytes,
    epoch: int,
    version: int,
    n: int,
    wall_ms: int,
    slices: Sequence[Buffer],
    crypt: Crypt | None,
) -> Sealed:
    """
    The checkpoint object of these sealed slices, the first of which starts at `FIRST_OFFSET`.

    Args:
        version: the last log slot that is in the checkpoint.
        n: of the object's name, ``ck/<epoch>-<n>``.
        crypt: the volume's key, in an encrypted volume.
    """
    header = Header(
        Kind.CHECKPOINT,
        volume,
        writer,
        epoch,
        version,
        n,
        wall_ms,
        encrypted=crypt is not None,
        extents=(),
        frames=(),
        plain_length=0,
        stored_length=sum(map(len, slices)),
    )
    keys = None if crypt is None else crypt.object(Kind.CHECKPOINT, epoch, version, n)
    return Sealed(header, [encode(header, keys), *slices])
