"""Plain values about exports: what one is and does, and how its bytes are laid out."""

from __future__ import annotations

from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * KIB

#: Largest size an export may have; clients hold sizes in signed 64-bit integers.
MAX_EXPORT_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Abilities:
    """
    What an export *does*; each protocol computes its own flags from this.

    An ability that is off is never asked for: the protocol refuses the
    request or, for ``write_zeroes``, writes the zeroes itself.

    Attributes:
        flush: ``flush`` gives durability. Off means that every write is
            durable when it is answered.
        fua: the ``fua`` argument of writes, zeroes and trims is honoured.
        trim: ``trim`` may release space.
        write_zeroes: ``write_zeroes`` can be cheaper than writing zeroes.
        fast_zero: ``write_zeroes`` decides a ``fast`` request without I/O.
        cache: ``cache`` prefetches.
        multi_conn: writes, flushes and FUA of one caller are visible to all
            others as soon as they are answered.
    """

    flush: bool = True
    fua: bool = True
    trim: bool = True
    write_zeroes: bool = True
    fast_zero: bool = True
    cache: bool = False
    multi_conn: bool = True


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """
    The facts of an open export; constant while it is open.

    Attributes:
        size: bytes, 0 to `MAX_EXPORT_SIZE`; a multiple of ``minimum_block``.
        read_only: writes, zeroes and trims are refused.
        minimum_block: bytes, a power of two from 1 to 64 KiB; every offset
            and length is a multiple of it.
        preferred_block: bytes, a power of two of at least 512.
        rotational: seeking costs.
        abilities: see `Abilities`.
    """

    size: int
    read_only: bool = False
    minimum_block: int = 1
    preferred_block: int = 4 * KIB
    rotational: bool = False
    abilities: Abilities = field(default_factory=Abilities)


@dataclass(slots=True)
class Extent:
    """
    A run of bytes in one state.

    Attributes:
        length: bytes, more than 0.
        hole: no space is set aside; a write here may fail with `NoSpace`.
        zero: reads as zeroes. A readable hole always does: ``hole`` implies
            ``zero`` in everything this project serves.
    """

    length: int
    hole: bool
    zero: bool


@dataclass(slots=True)
class Change:
    """
    A run of bytes that were, or were not, changed since some point in time.

    Attributes:
        length: bytes, more than 0.
        dirty: may have changed. Only what is known to be as it was is not.
    """

    length: int
    dirty: bool


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """
    A disk as it once was.

    Attributes:
        name: unique among the snapshots of its disk.
        size: bytes of the disk then.
        created: seconds since 1970, by the clock of the machine that took it.
    """

    name: str
    size: int
    created: float


@dataclass(frozen=True, slots=True)
class Collected:
    """
    What giving space back came to.

    Attributes:
        emptied: objects whose live data was moved elsewhere.
        swept: objects deleted that crashes had left behind.
    """

    emptied: int
    swept: int
