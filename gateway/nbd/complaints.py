"""Which failures of requests are worth a line in the log: thousands may fail alike in a second."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

#: Seconds for which a failure that was told is only counted.
QUIET = 10.0

#: Different texts that are remembered.
_TEXTS = 32


class Complaints:
    """
    Counts what is not told.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def untold(self, text: str) -> int | None:
        """
        Take note of a failure.

        Returns:
            How often it had happened without being told, if it is to be told
            now; None if it is to be kept quiet.
        """
        now = self._clock()
        since, count = self._told.get(text, (now - QUIET, 0))
        if now - since < QUIET:
            self._told[text] = since, count + 1
            return None
        self._told[text] = now, 0
        self._told.move_to_end(text)
        if len(self._told) > _TEXTS:
            self._told.popitem(last=False)
        return count
