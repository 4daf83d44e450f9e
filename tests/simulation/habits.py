"""What clients ask for, and how much at a time."""

from __future__ import annotations

import attrs

from gateway.info import KIB, MIB


@attrs.frozen(kw_only=True)
class Habits:
    """
    Of the clients of one attachment.

    Attributes:
        kinds: of requests, drawn from.
        lengths: of them in bytes, likewise.
        hot: bytes at the start of each zone; three requests in ten begin there.
        streams: probability that, instead of a request, somebody begins to read in a row.
        steps: lengths of such reads in bytes, drawn from.
        fills: whether the disk is written to all over before anything else.
    """

    kinds: tuple[str, ...]
    lengths: tuple[int, ...]
    hot: int = 32 * KIB
    streams: float = 0.0
    steps: tuple[int, ...] = ()
    fills: bool = False


#: Little at a time, in few places: changes meet each other.
BUSY = Habits(
    kinds=("write",) * 40
    + ("read",) * 25
    + ("flush",) * 12
    + ("zero",) * 8
    + ("trim",) * 7
    + ("extents",) * 8,
    lengths=(512, 1024, 4096, 4096, 4096, 8192, 16 * KIB, 20 * KIB, 64 * KIB),
)

#: Much is read, of much that is there: here and there, again and again, and in a row.
READING = Habits(
    kinds=("write",) * 16
    + ("read",) * 64
    + ("cache",) * 4
    + ("flush",) * 6
    + ("zero",) * 3
    + ("trim",) * 3
    + ("extents",) * 4,
    lengths=(512, 4096, 4096, 20 * KIB, 64 * KIB, 64 * KIB, 200 * KIB, 700 * KIB, 2 * MIB),
    hot=MIB,
    streams=0.08,
    steps=(4 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, MIB),
    fills=True,
)
