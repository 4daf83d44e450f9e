"""
What the map says of a sector, as one integer.

Bits 62-63 hold the kind, 24-61 the index of an object in the volume's object
table, 0-23 a sector of that object's plain data. The value of the sector that
follows in a run of ``DATA`` is one more; in all other kinds it is the same.
"""

from __future__ import annotations

#: In an overlay only: what lies below shows through.
ABSENT = 0
#: Nothing was ever written, or it was trimmed; reads as zeroes.
HOLE = 1 << 62
#: Written as zeroes; reads as zeroes.
ZERO = 2 << 62
#: In an object.
DATA = 3 << 62

_KIND = 3 << 62
_INDEX_BITS = 38
_SECTOR_BITS = 24

#: The largest number of an object, and of a sector inside one.
MAX_INDEX = (1 << _INDEX_BITS) - 1
MAX_SECTOR = (1 << _SECTOR_BITS) - 1


def data(index: int, sector: int) -> int:
    """The value of a sector that lies in an object."""
    return DATA | index << _SECTOR_BITS | sector


def marked(kind: int, index: int) -> int:
    """A ``HOLE`` or ``ZERO`` that remembers which object it came with."""
    return kind | index << _SECTOR_BITS


def kind(value: int) -> int:
    """``ABSENT``, ``HOLE``, ``ZERO`` or ``DATA``."""
    return value & _KIND


def index(value: int) -> int:
    """The number of the object."""
    return value >> _SECTOR_BITS & MAX_INDEX


def sector(value: int) -> int:
    """The sector inside the object's plain data."""
    return value & MAX_SECTOR
