"""Extents as an export answers them, read off its zero map."""

from __future__ import annotations

from itertools import pairwise

from backends.zero_map import DATA, HOLE, ZeroMap
from gateway.info import Extent

#: Extents per answer: about a millisecond of the reactor, here and for encoding
#: them. Clients ask on from where an answer ends.
MAX_EXTENTS = 2048

_IS_HOLE = tuple(state == HOLE for state in range(3))
_IS_ZERO = tuple(state != DATA for state in range(3))


def extents(zero_map: ZeroMap, offset: int, length: int, first_only: bool) -> list[Extent]:
    """At most `MAX_EXTENTS` extents from ``offset`` on, none beyond ``offset + length``."""
    limit = 1 if first_only else MAX_EXTENTS
    bounds, states = zero_map.bounds(offset, offset + length, limit)
    extent, is_hole, is_zero = Extent, _IS_HOLE, _IS_ZERO
    return [
        extent(end - start, is_hole[state], is_zero[state])
        for (start, end), state in zip(pairwise(bounds), states, strict=True)
    ]
