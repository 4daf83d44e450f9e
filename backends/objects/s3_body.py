"""What a long put sends, as a file that is made of the parts and no copy of them."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from gateway.interfaces import Buffer

#: Bytes that are handed out at once: as a frame of a volume has. Whoever sends them
#: asks for a quarter of that, and would be at it four times as often.
PIECE = 64 * 1024


class Body:
    """
    As much of a binary file as botocore and urllib3 want to have.

    Args:
        parts: joined they are what it holds; they must not change meanwhile.
    """

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._parts = [view for part in parts if (view := memoryview(part).cast("B"))]
        self._ends = list(accumulate(map(len, self._parts)))
        self._at = 0

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, size: int = -1) -> Buffer:
        """
        Some of what comes next, or all of it if ``size`` is less than 0; nothing at the end.

        Returns:
            Up to `PIECE` bytes of one part, however many were asked for.
        """
        if size < 0:
            pieces = list(iter(self._next, b""))
            return b"".join(pieces)
        return self._next()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on reading elsewhere, inside or at the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self)}[whence]
        self._at = min(max(start + offset, 0), len(self))
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def _next(self) -> Buffer:
        if self._at >= len(self):
            return b""
        number = bisect_right(self._ends, self._at)
        part = self._parts[number]
        inside = self._at - (self._ends[number] - len(part))
        piece = part[inside : inside + PIECE]
        self._at += len(piece)
        return piece
