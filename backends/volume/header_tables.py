"""
The tables of a header: which ranges of the disk an object speaks of, and where its data lies.

Rows of 64-bit words, little-endian; see `docs/reference/volume-format.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from itertools import chain, starmap
from typing import Final, NamedTuple, overload

from backends.volume.values import DATA, HOLE, ZERO
from gateway.errors import Corrupt

#: Bytes of a row of each table.
EXTENT_BYTES: Final = 16
FRAME_BYTES: Final = 8

_WORD = struct.Struct("<Q")
_SECTOR_LIMIT = 1 << 48
_LENGTH_MASK = (1 << 40) - 1

#: Kinds on disk are 1, 2 and 3; in memory the same, in the top bits.
_KIND_SHIFT = 62
_KINDS = {kind >> _KIND_SHIFT: kind for kind in (HOLE, ZERO, DATA)}


class Codec(IntEnum):
    """How the stored bytes of a frame or slice were made from the plain ones."""

    NONE = 0
    ZSTD = 1
    LZ4 = 2


class Extent(NamedTuple):
    """
    A range of the disk that an object says something about.

    Attributes:
        sector: the first one, on the disk.
        length: sectors, more than 0.
        kind: `HOLE`, `ZERO` or `DATA` of `backends.volume.values`.
        data_sector: for `DATA` the first sector in the object's plain data; else 0.
    """

    sector: int
    length: int
    kind: int
    data_sector: int


class Frame(NamedTuple):
    """
    A piece of an object's data that is checked, compressed and encrypted as one.

    Attributes:
        stored_length: bytes in the object.
        codec: a `Codec`.
        crc: CRC-32C of the stored bytes.
    """

    stored_length: int
    codec: int
    crc: int


class FrameTable(Sequence[Frame]):
    """Frames in eight bytes each, for what is kept of many objects."""

    __slots__ = ("_rows",)

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._rows = pack_frames(frames)

    def __len__(self) -> int:
        return len(self._rows) // FRAME_BYTES

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, index: int | slice) -> Frame | tuple[Frame, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        return _frame(_WORD.unpack_from(self._rows, number * FRAME_BYTES)[0])


def pack_extents(extents: Sequence[Extent]) -> bytes:
    """
    Raises:
        struct.error: a number is out of its range.
    """
    words = chain.from_iterable(
        (sector | kind >> _KIND_SHIFT << 48, length | data_sector << 40)
        for sector, length, kind, data_sector in extents
    )
    return struct.pack(f"<{2 * len(extents)}Q", *words)


def unpack_extents(table: memoryview, where: str) -> tuple[Extent, ...]:
    """
    Raises:
        Corrupt: an extent is of an unknown kind.
    """
    # Passes over lists instead of a step of Python per field: reads wait for this.
    words = struct.unpack(f"<{len(table) // 8}Q", table)
    low, high = words[::2], words[1::2]
    sectors = [word & _SECTOR_LIMIT - 1 for word in low]
    lengths = [word & _LENGTH_MASK for word in high]
    data_sectors = [word >> 40 for word in high]
    try:
        kinds = [_KINDS[word >> 48] for word in low]
    except KeyError as unknown:
        raise Corrupt(f"{where}: extent kind: got {unknown}, expected 1, 2 or 3") from None
    return tuple(starmap(Extent, zip(sectors, lengths, kinds, data_sectors, strict=True)))


def check_extents(extents: Sequence[Extent], plain_sectors: int, where: str) -> None:
    """
    Args:
        plain_sectors: of data in the object.

    Raises:
        Corrupt: extents are not sorted, overlap, or lie outside of the disk or of the data.
    """
    end = 0
    for index, (sector, length, kind, data_sector) in enumerate(extents):
        if sector < end:
            raise Corrupt(f"{where}: extent {index}: got sector {sector}, expected {end} or more")
        end = sector + length
        if not 0 < length <= _LENGTH_MASK:
            raise Corrupt(
                f"{where}: extent {index}: got a length of {length}, expected 1 to {_LENGTH_MASK}"
            )
        if kind == DATA:
            if data_sector + length > plain_sectors:
                raise Corrupt(
                    f"{where}: extent {index}: got data up to sector {data_sector + length}, "
                    f"expected at most {plain_sectors}"
                )
        elif data_sector:
            raise Corrupt(f"{where}: extent {index}: got data at {data_sector}, expected none")
    if end > _SECTOR_LIMIT:
        raise Corrupt(f"{where}: extents: got the end {end}, expected at most {_SECTOR_LIMIT}")


def pack_frames(frames: Sequence[Frame]) -> bytes:
    """As `pack_extents`."""
    return struct.pack(
        f"<{len(frames)}Q",
        *(length | codec << 24 | crc << 32 for length, codec, crc in frames),
    )


def unpack_frames(table: memoryview, where: str) -> tuple[Frame, ...]:
    """
    Raises:
        Corrupt: a frame has an unknown codec.
    """
    frames = tuple(_frame(word) for (word,) in _WORD.iter_unpack(table))
    for index, frame in enumerate(frames):
        if frame.codec > Codec.LZ4:
            raise Corrupt(
                f"{where}: frame {index}: got the codec {frame.codec}, expected 0 (none), "
                "1 (zstd) or 2 (lz4)"
            )
    return frames


def _frame(word: int) -> Frame:
    return Frame(word & 0xFFFFFF, word >> 24 & 0xFF, word >> 32)
