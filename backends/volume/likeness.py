"""Where frames of an object probably lie whose header nobody has read: its like was seen before."""

from __future__ import annotations

from backends.volume.header import FIXED, Header
from backends.volume.units import FRAME


class Likeness:
    """
    What objects of a volume have in common, going by the one that was met last.

    Where nothing shrinks (compression is off, or the data does not lend itself), all frames
    are of one length and follow a header that is about as long as the last one. So they can be
    asked for together with the header, and need not wait for it.
    """

    def __init__(self) -> None:
        self._frame = 0
        self._header = 0

    def learn(self, header: Header) -> None:
        """Take note of an object."""
        excess = header.stored_length - header.plain_length
        self._header = header.length
        self._frame = FRAME + excess // len(header.frames) if header.frames and excess >= 0 else 0

    def place(self, first: int, last: int) -> tuple[int, int] | None:
        """
        Args:
            first, last: frames, of an object that is not known.

        Returns:
            Start and length in bytes of what probably holds them; None if nothing can be said.
            It is right for headers of up to twice the length of the last.
        """
        if not self._frame:
            return None
        length = (last + 1 - first) * self._frame
        return FIXED + first * self._frame, length + 2 * self._header - FIXED
