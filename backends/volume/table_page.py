"""
A page of a table of objects: what is known of each, as columns, and as bytes.

What its numbers mean, and who changes them, says `backends.volume.object_table`.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import compress

from backends.volume.runs import from_little_endian, little_endian

#: Entries in a page of a table.
TABLE_PAGE = 1024

#: In ``held_by``: nobody, the head may refer to it; and: may be deleted.
NOBODY = 0
FREE = -1


class ObjectKind(IntEnum):
    """What an entry stands for; 0 is no entry."""

    DATA = 1
    MOVED = 2
    CHECKPOINT = 3


@dataclass(slots=True)
class Entry:
    """
    One object.

    Attributes:
        kind: see there.
        volume: whose object: 0 for this volume, or the number of the ancestor from 1.
        epoch, number: of its name: slot of ``DATA``, n of others.
        sectors: of plain data; 0 for containers.
        live: sectors that the head refers to; for containers bytes of slices.
        stored: bytes in the store; for containers of slices, without roots.
        birth: the version at which it came to be referred to.
        carries: it has holes or zeroes that are not known to be told elsewhere.
        held_by: a snapshot's id, `NOBODY` or `FREE`.
    """

    kind: ObjectKind
    volume: int
    epoch: int
    number: int
    sectors: int
    live: int
    stored: int
    birth: int
    carries: bool = False
    held_by: int = NOBODY


#: Columns of a page, in the order they are stored.
_COLUMNS = (
    ("kind", "B"),
    ("carries", "B"),
    ("volume", "H"),
    ("epoch", "I"),
    ("sectors", "I"),
    ("live", "I"),
    ("stored", "I"),
    ("number", "Q"),
    ("birth", "Q"),
    ("held_by", "q"),
)
_NAMES = tuple(name for name, _typecode in _COLUMNS)
_ROW = sum(array(typecode).itemsize for _name, typecode in _COLUMNS)
_COUNT = struct.Struct("<H")


class TablePage:
    """
    `TABLE_PAGE` entries as columns.

    Attributes:
        count: of entries.
        changes: made to it since it was loaded.
        stored_changes: how many of them are in the slice that was committed last.
    """

    __slots__ = (*_NAMES, "changes", "count", "stored_changes")

    kind: array[int]
    carries: array[int]
    volume: array[int]
    epoch: array[int]
    sectors: array[int]
    live: array[int]
    stored: array[int]
    number: array[int]
    birth: array[int]
    held_by: array[int]

    def __init__(self) -> None:
        for name, typecode in _COLUMNS:
            setattr(self, name, array(typecode, bytes(TABLE_PAGE * array(typecode).itemsize)))
        self.count = 0
        self.changes = 0
        self.stored_changes = 0

    def __getitem__(self, slot: int) -> Entry:
        entry = Entry(*(getattr(self, name)[slot] for name in Entry.__dataclass_fields__))
        entry.kind = ObjectKind(entry.kind)
        entry.carries = bool(entry.carries)
        return entry

    def __setitem__(self, slot: int, entry: Entry) -> None:
        for name in _NAMES:
            getattr(self, name)[slot] = int(getattr(entry, name))

    def shares(self) -> tuple[int, int]:
        """As `ObjectTable.shares`, of this page; takes a tenth of a millisecond."""
        # What was dropped leaves its numbers behind.
        live = sum(compress(self.live, self.kind))
        own: Iterable[int] = self.kind
        if any(self.volume):
            own = [k and not v for k, v in zip(self.kind, self.volume, strict=True)]
        return live, sum(compress(self.sectors, own)) - sum(compress(self.live, own))

    def copy(self) -> TablePage:
        """A page with the same entries, to change alone; nothing about slices."""
        twin = TablePage()
        for name in _NAMES:
            setattr(twin, name, getattr(self, name)[:])
        twin.count = self.count
        return twin

    def encoded(self) -> bytes:
        """Number of entries, their slots, and the columns; little-endian."""
        slots = array("H", (slot for slot, kind in enumerate(self.kind) if kind))
        columns = [getattr(self, name) for name in _NAMES]
        if len(slots) < TABLE_PAGE:
            columns = [array(c.typecode, [c[slot] for slot in slots]) for c in columns]
        return b"".join(
            [_COUNT.pack(len(slots)), little_endian(slots), *map(little_endian, columns)]
        )

    @classmethod
    def decoded(cls, plain: bytes) -> TablePage:
        """
        Raises:
            ValueError: this is no page of a table.
        """
        count = _COUNT.unpack_from(plain)[0] if len(plain) >= _COUNT.size else 0
        at = _COUNT.size + 2 * count
        if not 0 < count <= TABLE_PAGE or len(plain) != at + count * _ROW:
            raise ValueError(f"table: got {len(plain)} bytes for {count} entries of {_ROW + 2}")
        slots = from_little_endian("H", plain[_COUNT.size : at])
        if slots[-1] >= TABLE_PAGE or not all(map(int.__lt__, slots, slots[1:])):
            raise ValueError(f"table: got slots that do not ascend to below {TABLE_PAGE}")
        page = cls()
        page.count = count
        for name, typecode in _COLUMNS:
            width = count * array(typecode).itemsize
            column = from_little_endian(typecode, plain[at : at + width])
            at += width
            whole = getattr(page, name)
            for slot, value in zip(slots, column, strict=True):
                whole[slot] = value
        if not all(1 <= page.kind[slot] <= len(ObjectKind) for slot in slots):
            raise ValueError("table: got an entry of an unknown kind")
        return page
