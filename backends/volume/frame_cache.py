"""Plain frames in memory: the least recently used go when there are too many bytes."""

from __future__ import annotations

from collections.abc import Hashable


class FrameCache:
    """
    Every call takes the same time, whatever the number of frames.

    Args:
        limit: bytes of data that are kept at most; 0 keeps nothing.

    Attributes:
        bytes: of data in it.
        hits, misses: answers of `get` so far.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._frames: dict[Hashable, bytes] = {}  # the least recently used first
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, key: Hashable) -> bytes | None:
        """The frame, which counts as used now; None if it is not here."""
        frame = self._frames.pop(key, None)
        if frame is None:
            self.misses += 1
            return None
        self._frames[key] = frame
        self.hits += 1
        return frame

    def put(self, key: Hashable, frame: bytes) -> None:
        """Keep a frame, in the place of an earlier one; one larger than the limit is not kept."""
        self.bytes += len(frame) - len(self._frames.pop(key, b""))
        self._frames[key] = frame
        while self.bytes > self.limit:
            oldest = next(iter(self._frames))
            self.bytes -= len(self._frames.pop(oldest))
