"""Which bytes a request asks for (RFC 9110, 14)."""

from __future__ import annotations

import re

_RANGES = re.compile(r"\s*bytes\s*=\s*(.+)", re.IGNORECASE)
_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})")


class Unsatisfiable(ValueError):
    """No byte is in the range, or there are several ranges, each of which would cost a read."""


def one_range(header: str | None, size: int) -> tuple[int, int] | None:
    """
    The range of bytes that a header asks for.

    Args:
        header: of ``Range``.
        size: bytes that there are.

    Returns:
        Where it begins and its length; None for all of it: without a header,
        and as the standard wants it, with one that makes no sense.

    Raises:
        Unsatisfiable: see there.
    """
    match = _RANGES.fullmatch(header or "")
    if match is None:
        return None
    if "," in match[1]:
        raise Unsatisfiable("got several ranges, expected one")
    found = _RANGE.fullmatch(match[1].strip())
    if found is None or not (found[1] or found[2]):
        return None
    first, last = found[1], found[2]
    if not first:
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        if last and int(last) < start:
            return None
        length = min(int(last) + 1 if last else size, size) - start
    if length <= 0:
        raise Unsatisfiable(f"got a range without bytes, expected one below {size}")
    return start, length
