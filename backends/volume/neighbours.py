"""How much to bring along with what is wanted: the more an object is asked, if it is of use."""

from __future__ import annotations

from collections.abc import Sequence

#: Frames of a piece that is got whole: at most, 2 MiB; and at least of an object that is asked
#: again and again, or it would never be seen that things have changed.
MOST, LEAST = 32, 2

#: Gets of an object before anything comes along: that many reads are near each other by chance.
_PROOF = 2

#: A request takes as long as 24 frames. So bringing frames along pays if one in 24 is read before
#: it has to make room; half of that is kept as a distance, and four times as much asks for more.
_TOO_FEW, _MANY = 12, 6

#: Frames whose end is known, before anything follows from them.
_ENOUGH = 256


class Neighbours:
    """
    Learns from what became of frames that nobody had asked for.

    What is read once is often followed by what lies beside it, or by all of its object: a
    system that starts, a table that is scanned. So each further get of an object brings four
    times as much. But where reads are scattered over a disk much larger than the cache, all of that
    is in vain, and drives out what is not: then there is less of it.
    """

    def __init__(self) -> None:
        self._most = MOST
        self._used = 0
        self._wasted = 0

    def width(self, gets: int) -> int:
        """
        Args:
            gets: how often the object was asked for data before.

        Returns:
            Frames of the pieces that should be got whole, a power of two; pieces of that size
            lie one behind the other in an object.
        """
        return min(1 << 2 * min(max(gets - _PROOF, 0), 8), self._most)

    def used(self) -> None:
        """A frame that was brought along was wanted later."""
        self._used += 1
        self._learn()

    def wasted(self) -> None:
        """One was not, and made room for others."""
        self._wasted += 1
        self._learn()

    def _learn(self) -> None:
        ended = self._used + self._wasted
        if ended < _ENOUGH:
            return
        if self._used * _TOO_FEW < ended:
            self._most = max(self._most // 2, LEAST)
        elif self._used * _MANY > ended:
            self._most = min(self._most * 2, MOST)
        self._used = self._wasted = 0


def widened(wanted: Sequence[int], width: int, count: int) -> list[int]:
    """
    Frames together with their neighbours.

    Args:
        wanted: numbers of frames, sorted.
        width: see `Neighbours.width`.
        count: of frames in the object.

    Returns:
        Sorted numbers of all frames in the pieces that ``wanted`` lie in.
    """
    if width == 1:
        return list(wanted)
    pieces = sorted({number // width for number in wanted})
    return [
        number
        for piece in pieces
        for number in range(piece * width, min((piece + 1) * width, count))
    ]
