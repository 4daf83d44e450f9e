"""
What every object starts with: who wrote what for which volume, and where it lies.

See `docs/reference/volume-format.md`. A header and its tables (`header_tables`)
are covered by a CRC against accidents and, in an encrypted volume, by a keyed
tag against forgery. `decode` believes nothing that these do not confirm.
"""

from __future__ import annotations

import hmac
import struct
from array import array
from collections.abc import Collection, Sequence
from copy import copy
from itertools import accumulate
from typing import Final

import attrs
import google_crc32c

from backends.volume.header_tables import (
    EXTENT_BYTES,
    FRAME_BYTES,
    Codec,
    Extent,
    Frame,
    FrameTable,
    check_extents,
    pack_extents,
    pack_frames,
    unpack_extents,
    unpack_frames,
)
from backends.volume.keys import TAG, Crypt, ObjectCrypt
from backends.volume.names import Kind
from backends.volume.units import FRAME, HEADER_LIMIT, OBJECT_BYTES, SECTOR, WINDOW
from gateway.errors import Corrupt
from gateway.interfaces import Buffer

__all__ = [
    "FIXED",
    "MAX_EXTENTS",
    "Codec",
    "Extent",
    "Frame",
    "Header",
    "Kind",
    "check",
    "crc32c",
    "decode",
    "encode",
    "expect",
    "max_extents",
    "object_crypt",
]

MAGIC: Final = b"nbdgwvol"
VERSION: Final = 1
ENCRYPTED: Final = 1

#: Bytes of a header without its tables.
FIXED: Final = 128

_FIELDS = struct.Struct("<8sHBBI16s16sQQQQIIQQ16sII")
_CRC = struct.Struct("<I")
_TAG_AT = 104


@attrs.frozen
class Header:
    """
    A header with its tables.

    Attributes:
        kind: the object's type.
        volume: the volume's uuid, 16 bytes.
        writer: uuid of the attachment that wrote it, 16 bytes.
        epoch: the writer's.
        position: data, fence: log slot. moved, checkpoint: version, the last
            slot that is in it. superblock: generation.
        number: data: highest journal record inside. fence: slot at which the
            log goes on. moved, checkpoint: n of the name. superblock: 0.
        wall_ms: milliseconds since 1970 when it was written; for people.
        encrypted: the volume is; a superblock's own data never is.
        extents: sorted by sector, not overlapping.
        frames: in the order in which they are stored.
        plain_length: bytes of data before compression.
        stored_length: bytes behind the header.
        unsettled: data: how many slots in front of it were not known to be
            stored when it was sealed.
        length: bytes of the header with its tables.
    """

    kind: Kind
    volume: bytes
    writer: bytes
    epoch: int
    position: int
    number: int
    wall_ms: int
    encrypted: bool
    extents: tuple[Extent, ...]
    frames: Sequence[Frame]
    plain_length: int
    stored_length: int
    unsettled: int = 0
    length: int = attrs.field(init=False)
    _offsets: Sequence[int] = attrs.field(init=False, repr=False, eq=False)

    @length.default
    def _compute_length(self) -> int:
        return FIXED + len(self.extents) * EXTENT_BYTES + len(self.frames) * FRAME_BYTES

    @_offsets.default
    def _compute_offsets(self) -> Sequence[int]:
        return tuple(
            accumulate((frame.stored_length for frame in self.frames), initial=self.length)
        )

    @property
    def object_length(self) -> int:
        """Bytes of the whole object."""
        return self.length + self.stored_length

    @property
    def frames_encrypted(self) -> bool:
        """Whether a key is needed to read the frames."""
        return self.encrypted and self.kind is not Kind.SUPERBLOCK

    def brief(self) -> Header:
        """What it takes to read frames, in some ten bytes for each: the extents are left out."""
        brief = copy(self)
        object.__setattr__(brief, "extents", ())
        object.__setattr__(brief, "frames", FrameTable(self.frames))
        object.__setattr__(brief, "_offsets", array("Q", self._offsets))
        return brief

    def frame_offset(self, index: int) -> int:
        """Where a frame's stored bytes start in the object; for one past the last, the end."""
        return self._offsets[index]

    def frame_range(self, first: int, last: int) -> tuple[int, int]:
        """Start and length in the object, in bytes, of the frames ``first`` to ``last``."""
        start = self._offsets[first]
        return start, self._offsets[last + 1] - start

    def frame_plain_length(self, index: int) -> int:
        """Bytes of plain data in a frame."""
        if not 0 <= index < len(self.frames):
            raise IndexError(f"frame: got {index}, expected 0 to {len(self.frames) - 1}")
        return min(FRAME, self.plain_length - index * FRAME)


def max_extents(n_frames: int) -> int:
    """How many extents fit a header beside ``n_frames`` frames."""
    return (HEADER_LIMIT - FIXED - n_frames * FRAME_BYTES) // EXTENT_BYTES


#: Extents that fit beside the frames of an object of the usual size.
MAX_EXTENTS: Final = max_extents(OBJECT_BYTES // FRAME)


def crc32c(*pieces: Buffer) -> int:
    """CRC-32C of the joined pieces."""
    crc = 0
    for piece in pieces:
        # The library takes bytes alone; bytes of bytes are no copy.
        crc = google_crc32c.extend(crc, bytes(piece))
    return crc


def encode(header: Header, crypt: ObjectCrypt | None, behind: Sequence[Buffer] = ()) -> bytes:
    """
    The header's bytes.

    Args:
        crypt: the object's keys; needed just when ``header.encrypted``.
        behind: what a superblock stores behind its header: its tag covers it.

    Raises:
        ValueError: it is longer than `HEADER_LIMIT`, a number is out of its
            range, or there is a key just where none is needed. Whether its
            tables make sense is asked with `check`.
    """
    if (crypt is not None) != header.encrypted:
        raise ValueError("a header is encrypted just when there is a key")
    if header.length > HEADER_LIMIT:
        raise ValueError(f"header: got {header.length} bytes, expected at most {HEADER_LIMIT}")
    try:
        data = _pack_fields(header)
        tables = pack_extents(header.extents) + pack_frames(header.frames)
    except struct.error as error:
        raise ValueError(f"header: a number is out of its range: {error}") from None
    if crypt is not None:
        data[_TAG_AT : _TAG_AT + TAG] = crypt.tag(b"".join((data, tables, *behind)))
    data[-_CRC.size :] = _CRC.pack(crc32c(data[: -_CRC.size], tables))
    return bytes(data) + tables


def _pack_fields(header: Header) -> bytearray:
    data = bytearray(FIXED)
    _FIELDS.pack_into(
        data,
        0,
        MAGIC,
        VERSION,
        header.kind,
        ENCRYPTED if header.encrypted else 0,
        header.length,
        header.volume,
        header.writer,
        header.epoch,
        header.position,
        header.number,
        header.wall_ms,
        len(header.extents),
        len(header.frames),
        header.plain_length,
        header.stored_length,
        b"",
        header.unsettled,
        0,
    )
    return data


def decode(
    data: Buffer,
    crypt: Crypt | None,
    where: str,
    *,
    kind: Kind | Collection[Kind] | None = None,
    volume: bytes | None = None,
    epoch: int | None = None,
    position: int | None = None,
    number: int | None = None,
) -> Header:
    """
    Read and check a header.

    Args:
        data: the start of an object: the whole header at least, which the
            first `HEADER_LIMIT` bytes always hold. Of a superblock whose tag
            is to be checked, the whole object.
        crypt: the volume's key: then the header must carry its tag. None
            leaves a tag unchecked.
        where: the object's name, for messages.
        kind, volume, epoch, position, number: what the object must be; each
            counts when given.

    Raises:
        Corrupt: it is no such header; the text says what was got and expected.
    """
    data = memoryview(data)
    if len(data) < FIXED:
        raise Corrupt(f"{where}: too short: got {len(data)} bytes, expected a header of {FIXED}")
    (
        magic,
        version,
        kind_number,
        flags,
        length,
        volume_uuid,
        writer,
        object_epoch,
        object_position,
        object_number,
        wall_ms,
        n_extents,
        n_frames,
        plain_length,
        stored_length,
        tag,
        unsettled,
        crc,
    ) = _FIELDS.unpack_from(data)
    expect(where, "magic", magic, MAGIC)
    expect(where, "format version", version, VERSION)
    expect(
        where, "header length", length, FIXED + n_extents * EXTENT_BYTES + n_frames * FRAME_BYTES
    )
    if length > HEADER_LIMIT:
        raise Corrupt(f"{where}: header length: got {length}, expected at most {HEADER_LIMIT}")
    if len(data) < length:
        raise Corrupt(f"{where}: too short: got {len(data)} bytes, expected a header of {length}")
    tables = data[FIXED:length]
    computed = crc32c(data[: FIXED - _CRC.size], tables)
    if crc != computed:
        raise Corrupt(f"{where}: header CRC: got {crc:#010x}, expected {computed:#010x}")
    if kind_number not in set(Kind):
        raise Corrupt(f"{where}: object type: got {kind_number}, expected one of 1 to {max(Kind)}")
    if flags & ~ENCRYPTED:
        raise Corrupt(f"{where}: flags: got {flags:#04x}, expected 0 or {ENCRYPTED}")
    if unsettled and (kind_number != Kind.DATA or unsettled >= min(object_position, WINDOW)):
        raise Corrupt(f"{where}: unsettled slots: got {unsettled}, expected less than {WINDOW}")
    header = Header(
        Kind(kind_number),
        volume_uuid,
        writer,
        object_epoch,
        object_position,
        object_number,
        wall_ms,
        bool(flags & ENCRYPTED),
        unpack_extents(tables[: n_extents * EXTENT_BYTES], where),
        unpack_frames(tables[n_extents * EXTENT_BYTES :], where),
        plain_length,
        stored_length,
        unsettled,
    )
    _check_identity(
        header, where, kind, volume=volume, epoch=epoch, position=position, number=number
    )
    check(header, where)
    if crypt is not None:
        _check_tag(header, data, tag, crypt, where)
    elif not header.encrypted:
        expect(where, "keyed tag without encryption", tag.hex(), "0" * 2 * TAG)
    return header


def check(header: Header, where: str) -> None:
    """
    Raises:
        Corrupt: lengths and tables contradict each other, or do not fit the object's type.
    """
    _check_lengths(header, where)
    check_extents(header.extents, header.plain_length // SECTOR, where)


def object_crypt(crypt: Crypt, header: Header) -> ObjectCrypt:
    """The keys of the object that has this header."""
    return crypt.object(header.kind, header.epoch, header.position, header.number, header.writer)


def expect(where: str, what: str, got: object, expected: object) -> None:
    """
    Raises:
        Corrupt: ``got`` is not ``expected``.
    """
    if got != expected:
        raise Corrupt(f"{where}: {what}: got {got}, expected {expected}")


def _check_identity(
    header: Header, where: str, kind: Kind | Collection[Kind] | None, **expected: bytes | int | None
) -> None:
    if kind is not None:
        kinds = [kind] if isinstance(kind, Kind) else sorted(kind)
        if header.kind not in kinds:
            names = " or ".join(one.name.lower() for one in kinds)
            raise Corrupt(f"{where}: object type: got {header.kind.name.lower()}, expected {names}")
    for field, wanted in expected.items():
        got = getattr(header, field)
        if isinstance(wanted, bytes):
            expect(where, field, got.hex(), wanted.hex())
        elif wanted is not None:
            expect(where, field, got, wanted)


def _check_tag(header: Header, data: memoryview, tag: bytes, crypt: Crypt, where: str) -> None:
    if not header.encrypted:
        raise Corrupt(
            f"{where}: flags: got an object without encryption, expected an encrypted one"
        )
    end = header.length
    if header.kind is Kind.SUPERBLOCK:
        end = header.object_length
        expect(where, "length in bytes", len(data), end)
    signed = bytearray(data[:end])
    signed[_TAG_AT : _TAG_AT + TAG] = bytes(TAG)
    signed[FIXED - _CRC.size : FIXED] = bytes(_CRC.size)
    if not hmac.compare_digest(object_crypt(crypt, header).tag(signed), tag):
        raise Corrupt(f"{where}: keyed tag: it was changed, or sealed with another key")


def _check_lengths(header: Header, where: str) -> None:
    kind = header.kind
    for name, uuid in (("volume", header.volume), ("writer", header.writer)):
        expect(where, f"bytes of the {name}'s uuid", len(uuid), 16)
    if kind in (Kind.FENCE, Kind.CHECKPOINT):
        expect(where, "frames", len(header.frames), 0)
        expect(where, "plain length", header.plain_length, 0)
    if kind not in (Kind.DATA, Kind.MOVED):
        expect(where, "extents", len(header.extents), 0)
    elif header.plain_length % SECTOR:
        raise Corrupt(
            f"{where}: plain length: got {header.plain_length}, expected a multiple of {SECTOR}"
        )
    if kind is Kind.FENCE and header.number <= header.position:
        raise Corrupt(
            f"{where}: slot at which the log goes on: got {header.number}, "
            f"expected more than {header.position}"
        )
    expect(where, "frames", len(header.frames), -(-header.plain_length // FRAME))
    if kind is not Kind.CHECKPOINT:
        expect(
            where,
            "stored length",
            header.stored_length,
            sum(frame.stored_length for frame in header.frames),
        )
    overhead = TAG if header.frames_encrypted else 0
    for index, (stored_length, codec, _) in enumerate(header.frames):
        payload, plain = stored_length - overhead, header.frame_plain_length(index)
        if payload < 1 or payload > plain or (payload == plain) != (codec == Codec.NONE):
            raise Corrupt(
                f"{where}: frame {index}: got {stored_length} stored bytes with codec {codec}, "
                f"expected {plain + overhead} without one, or fewer with one"
            )
