"""
The journal's superblock: whose journal it is, and where its oldest needed record lies.

Two slots are written in turn, so that a torn write leaves the other. They
lie in different blocks of 4 KiB, since a disk may rewrite a whole one.
"""

from __future__ import annotations

import struct
import uuid

import attrs
import google_crc32c

from backends.volume.journal_records import Cut, Link
from backends.volume.units import SECTOR
from gateway.interfaces import Buffer

VERSION = 1

#: Where the two slots start, in bytes of the file, and how long each is.
SLOTS = (0, 4096)
SLOT_BYTES = SECTOR
#: Where the ring starts, in bytes of the file.
RING = 8192

#: States: records may be missing from the store, or none was when the journal was closed.
IN_USE, CLEAN = 1, 2

_MAGIC = b"nbdgwjnl"
_FIELDS = struct.Struct("<8sHBxI16sQQQQQQQQ")
_CRC = struct.Struct("<I")


class BadSuperblock(ValueError):
    """A slot holds no superblock; the text says what is wrong with it."""


@attrs.frozen
class Superblock:
    """
    One state of the journal.

    Attributes:
        sequence: one more with each write; the higher of the slots counts.
        volume: uuid.
        state: `IN_USE` or `CLEAN`.
        size: of the file, in bytes; a multiple of 4,096.
        tail: where the records begin that may be needed.
        cut: the newest attachment: its epoch, and its first record.
        durable: the highest record known to be synced.
        milliseconds: since 1970, for people.
    """

    sequence: int
    volume: uuid.UUID
    state: int
    size: int
    tail: Link
    cut: Cut
    durable: int
    milliseconds: int

    @property
    def capacity(self) -> int:
        """Bytes of the ring."""
        return self.size - RING

    @property
    def offset(self) -> int:
        """Where the slot of this superblock starts, in bytes of the file."""
        return SLOTS[self.sequence % len(SLOTS)]


def encode(superblock: Superblock) -> bytes:
    """The bytes of a slot."""
    fields = _FIELDS.pack(
        _MAGIC,
        VERSION,
        superblock.state,
        superblock.tail.crc,
        superblock.volume.bytes,
        superblock.sequence,
        superblock.size,
        superblock.tail.position,
        superblock.tail.lsn,
        superblock.cut.lsn,
        superblock.cut.epoch,
        superblock.durable,
        superblock.milliseconds,
    ).ljust(SLOT_BYTES - _CRC.size, b"\0")
    return fields + _CRC.pack(google_crc32c.value(fields))


def decode(block: Buffer) -> Superblock:
    """
    Raises:
        BadSuperblock: too short, not ours, of another version, or damaged.
    """
    whole = bytes(block)
    if len(whole) != SLOT_BYTES:
        raise BadSuperblock(f"got {len(whole)} bytes, expected {SLOT_BYTES}")
    magic, version, state, crc, volume, *numbers = _FIELDS.unpack_from(whole)
    if magic != _MAGIC:
        raise BadSuperblock(f"got magic {magic!r}, expected {_MAGIC!r}")
    (written,) = _CRC.unpack_from(whole, SLOT_BYTES - _CRC.size)
    computed = google_crc32c.value(whole[: -_CRC.size])
    if written != computed:
        raise BadSuperblock(f"got checksum {written:#010x}, expected {computed:#010x}")
    if version != VERSION:
        raise BadSuperblock(f"got version {version}, expected {VERSION}")
    sequence, size, position, lsn, cut_lsn, epoch, durable, milliseconds = numbers
    return Superblock(
        sequence,
        uuid.UUID(bytes=volume),
        state,
        size,
        Link(position, lsn, crc),
        Cut(cut_lsn, epoch),
        durable,
        milliseconds,
    )
