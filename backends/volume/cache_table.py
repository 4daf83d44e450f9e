"""
The index of the disk cache: which frame lies where, in a file of fixed size.

A frame has eight places where its entry may be, 256 bytes that one read
gets. Nothing is loaded at start and nothing is kept in memory but what the
kernel caches; a failed disk is an `OSError`, not a signal, as it would be
with a mapping.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import attrs
import google_crc32c

from backends.file.syscalls import Syscalls
from backends.volume.units import FRAME_SECTORS
from backends.volume.values import MAX_SECTOR
from gateway.info import KIB

#: Bytes of a digest that an entry holds.
DIGEST = 12
#: An object has no more frames.
FRAMES = (MAX_SECTOR + 1) // FRAME_SECTORS

_MAGIC = b"nbdgwcac"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQQ")  # magic, version, ways, sets, bytes of the ring
_HEAD = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_ENTRIES = 4096
_ENTRY = struct.Struct(f"<{DIGEST}sIIIQ")
_WAYS = 8
_SET = _ENTRY.size * _WAYS
_CHUNK = 256 * KIB


@attrs.frozen
class Entry:
    """
    Where a frame lies.

    Attributes:
        digest: of the object's identity, `DIGEST` bytes.
        frame: its number in the object.
        length: bytes; 0 says that the entry is empty.
        crc: as in the frame's own head.
        position: in the ring; never wraps.
        place: where the entry lies, in bytes of the table.
    """

    digest: bytes
    frame: int
    length: int
    crc: int
    position: int
    place: int = 0


class CacheTable:
    """
    Args:
        fd: open for reading and writing; `is_whole` or `make` comes first.
        sets: of eight entries.
        ring: bytes of the ring that the positions speak of.

    Every method raises `OSError` when the disk fails.
    """

    def __init__(self, calls: Syscalls, fd: int, sets: int, ring: int) -> None:
        self._calls = calls
        self._fd = fd
        self._sets = sets
        self._fixed = _HEADER.pack(_MAGIC, _VERSION, _WAYS, sets, ring)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return size_of_table(self._sets)

    def read_head(self) -> int | None:
        """The position that was kept; None if this is not a whole table of these sizes."""
        header = self._read(0, _HEADER.size + _HEAD.size + _CRC.size)
        if len(header) < _HEADER.size + _HEAD.size + _CRC.size:
            return None
        covered = header[: -_CRC.size]
        if _CRC.unpack(header[-_CRC.size :])[0] != google_crc32c.value(covered):
            return None
        if covered[: _HEADER.size] != self._fixed:
            return None
        head: int = _HEAD.unpack(covered[_HEADER.size :])[0]
        return head

    def write_head(self, head: int) -> None:
        """Keep the position at which the ring goes on after a restart."""
        covered = self._fixed + _HEAD.pack(head)
        self._calls.pwrite(self._fd, covered + _CRC.pack(google_crc32c.value(covered)), 0)

    def find(self, digest: bytes, frame: int) -> Entry | None:
        """The entry of a frame; what it says may be long untrue."""
        for entry in self._set(digest, frame):
            if entry.length and entry.frame == frame and entry.digest == digest:
                return entry
        return None

    def store(self, entry: Entry) -> None:
        """Put an entry into its set: over the frame's own, an empty or the oldest one."""
        victim = min(
            self._set(entry.digest, entry.frame),
            key=lambda old: (
                not (old.frame == entry.frame and old.digest == entry.digest),
                old.position if old.length else -1,
            ),
        )
        self._write(attrs.evolve(entry, place=victim.place))

    def drop(self, entry: Entry) -> None:
        """Empty an entry that was found, unless another one took its place."""
        now = self.find(entry.digest, entry.frame)
        if now == entry:
            self._write(Entry(bytes(DIGEST), 0, 0, 0, 0, entry.place))

    def forget(self, digest: bytes) -> None:
        """Empty every entry of an object."""
        first = self._first(digest)
        end = first + min(FRAMES, self._sets)
        self._forget_in(first, min(end, self._sets), digest)
        self._forget_in(0, end - self._sets, digest)

    def _forget_in(self, first: int, end: int, digest: bytes) -> None:
        """Empty an object's entries in a range of sets."""
        stop = _ENTRIES + end * _SET
        for place in range(_ENTRIES + first * _SET, stop, _CHUNK):
            chunk = self._read(place, min(_CHUNK, stop - place))
            at = chunk.find(digest)
            while at >= 0:
                if at % _ENTRY.size == 0:
                    self._write(Entry(bytes(DIGEST), 0, 0, 0, 0, place + at))
                at = chunk.find(digest, at + 1)

    def _first(self, digest: bytes) -> int:
        return int.from_bytes(digest[:8], "little") % self._sets

    def _set(self, owner: bytes, number: int) -> Iterator[Entry]:
        """The frames of an object are in sets that follow each other."""
        place = _ENTRIES + (self._first(owner) + number) % self._sets * _SET
        block = self._read(place, _SET).ljust(_SET, b"\0")
        for digest, frame, length, crc, position in _ENTRY.iter_unpack(block):
            yield Entry(digest, frame, length, crc, position, place)
            place += _ENTRY.size

    def _read(self, place: int, length: int) -> bytes:
        buffer = bytearray(length)
        return bytes(buffer[: self._calls.preadv(self._fd, [buffer], place)])

    def _write(self, entry: Entry) -> None:
        fields = (entry.digest, entry.frame, entry.length, entry.crc, entry.position)
        self._calls.pwrite(self._fd, _ENTRY.pack(*fields), entry.place)


def size_of_table(sets: int) -> int:
    """Bytes of a table's file."""
    return _ENTRIES + sets * _SET
