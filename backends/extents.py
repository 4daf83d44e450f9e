"""Extents as an export answers them, read off its zero map."""

from __future__ import annotations

from backends.zero_map import DATA, HOLE, ZeroMap
from gateway.info import Extent

#: Extents per answer: some 4 ms of the reactor. The client asks on from where they end.
MAX_EXTENTS = 8192


def extents(zero_map: ZeroMap, offset: int, length: int, first_only: bool) -> list[Extent]:
    """At most `MAX_EXTENTS` extents from ``offset`` on, none beyond ``offset + length``."""
    limit = 1 if first_only else MAX_EXTENTS
    answer: list[Extent] = []
    for start, end, state in zero_map.runs(offset, offset + length):
        answer.append(Extent(end - start, hole=state == HOLE, zero=state != DATA))
        if len(answer) == limit:
            break
    return answer
