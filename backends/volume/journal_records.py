"""
Records of the journal: their bytes, and the chain that says which of them count.

A ring holds what was written on this lap, what is left of earlier ones, and
after a crash any mixture of the two in the sectors that were not synced. A
record counts if its checksum over head and data is right, its number is the
previous one's plus 1, and it repeats the previous one's checksum. The first
that does not ends the journal. ``docs/reference/journal-format.md`` has the
bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import google_crc32c

from backends.volume.units import SECTOR
from gateway.info import MIB
from gateway.interfaces import Buffer

VERSION = 1

#: Kinds of records.
DATA, ZERO, HOLE = 1, 2, 3
KIND_NAMES = {DATA: "data", ZERO: "zero", HOLE: "hole"}

#: Bytes of data that one record may hold; the length field has 32 bits.
LARGEST = 2**32 - 2 * SECTOR

_MAGIC = b"nbdJ"
_FRONT = struct.Struct("<4sI")  # magic, checksum of all that follows
_BODY = struct.Struct("<HBxII4x16sQQQQQQ")
HEAD_BYTES = _FRONT.size + _BODY.size

#: Reads bytes of the ring: position, length.
Read = Callable[[int, int], Buffer]


@dataclass(frozen=True, slots=True)
class Record:
    """
    One write, zeroing or trim.

    Attributes:
        epoch: of the attachment that wrote it.
        lsn: its number; 1 is the first of a volume.
        durable: the highest number known to be synced when this record was made.
        previous: checksum of the record before it.
        kind: `DATA`, `ZERO` or `HOLE`.
        sector, sectors: the range of the disk.
        milliseconds: since 1970, for people.
        data: for `DATA`, ``sectors`` * 512 bytes; else empty.
        crc: CRC-32C of head and data.
    """

    epoch: int
    lsn: int
    durable: int
    previous: int
    kind: int
    sector: int
    sectors: int
    milliseconds: int
    data: bytes
    crc: int = 0

    @property
    def size(self) -> int:
        """Bytes in the ring."""
        return size_in_ring(len(self.data))


@dataclass(frozen=True, slots=True)
class Link:
    """
    A place between two records: what the next one has to fit.

    Attributes:
        position: bytes from the ring's first lap on; never wraps.
        lsn: of the next record.
        crc: of the record before.
    """

    position: int
    lsn: int
    crc: int


@dataclass(frozen=True, slots=True)
class Cut:
    """
    Where the newest attachment begins: from ``lsn`` on only its own ``epoch`` counts.

    Without it, a lost record of an earlier attachment could be completed by
    sectors of the record that took its place.
    """

    lsn: int
    epoch: int


def size_in_ring(data_bytes: int) -> int:
    """Bytes that a record with so much data takes: head and data, padded to sectors."""
    return -(-(HEAD_BYTES + data_bytes) // SECTOR) * SECTOR


def encode(volume: bytes, record: Record) -> tuple[bytes, int]:
    """
    Args:
        volume: uuid of the volume, 16 bytes.
        record: its ``crc`` is not looked at.

    Returns:
        The head, to be followed by the data and by padding, and the checksum.
    """
    body = _BODY.pack(
        VERSION,
        record.kind,
        record.previous,
        len(record.data),
        volume,
        record.epoch,
        record.lsn,
        record.durable,
        record.sector,
        record.sectors,
        record.milliseconds,
    )
    crc: int = google_crc32c.value(body)
    if record.data:
        crc = google_crc32c.extend(crc, record.data)
    return _FRONT.pack(_MAGIC, crc) + body, crc


def scan(
    volume: bytes, read: Read, link: Link, cut: Cut, end: int
) -> Iterator[tuple[Record, Link]]:
    """
    The records of the chain that starts at ``link``, each with the place behind it.

    Args:
        end: the position at which the ring bites its tail.
    """
    while link.position < end:
        head = _head(volume, read(link.position, HEAD_BYTES), end - link.position)
        if head is None or head.lsn != link.lsn or head.previous != link.crc:
            return
        if head.lsn >= cut.lsn and head.epoch != cut.epoch:
            return
        record = _with_data(head, read, link.position)
        if record is None:
            return
        link = Link(link.position + record.size, record.lsn + 1, record.crc)
        yield record, link


def promised(volume: bytes, read: Read, link: Link, end: int) -> int:
    """
    Look behind the end of a chain for proof that it ended too early.

    A crash loses only what was not synced. A whole record further on that
    says that ``link.lsn`` was synced means that the disk lost or changed
    bytes that it had made durable.

    Returns:
        The highest number that such records call synced; 0 without any.
    """
    highest = 0
    chunk = MIB
    for start in range(link.position, end, chunk):
        block = bytes(read(start, min(chunk, end - start)))
        at = block.find(_MAGIC)
        while at >= 0:
            if at % SECTOR == 0:
                position = start + at
                head = _head(volume, block[at : at + HEAD_BYTES], end - position)
                if (
                    head is not None
                    and head.durable >= max(link.lsn, highest + 1)
                    and _with_data(head, read, position) is not None
                ):
                    highest = head.durable
            at = block.find(_MAGIC, at + 1)
    return highest


def _head(volume: bytes, block: Buffer, space: int) -> Record | None:
    """A record without its data, its checksum not verified; it fits into ``space`` bytes."""
    if len(block) < HEAD_BYTES:
        return None
    magic, crc = _FRONT.unpack_from(block)
    version, kind, previous, length, owner, epoch, lsn, durable, sector, sectors, milliseconds = (
        _BODY.unpack_from(block, _FRONT.size)
    )
    if (magic, version, owner) != (_MAGIC, VERSION, volume):
        return None
    if kind not in KIND_NAMES or length != (sectors * SECTOR if kind == DATA else 0):
        return None
    if size_in_ring(length) > space:
        return None
    return Record(epoch, lsn, durable, previous, kind, sector, sectors, milliseconds, b"", crc)


def _with_data(head: Record, read: Read, position: int) -> Record | None:
    """The record of that head; None if the checksum is wrong."""
    body = bytes(read(position + _FRONT.size, _BODY.size))
    length = head.sectors * SECTOR if head.kind == DATA else 0
    data = bytes(read(position + HEAD_BYTES, length)) if length else b""
    if google_crc32c.extend(google_crc32c.value(body), data) != head.crc:
        return None
    return replace(head, data=data)
