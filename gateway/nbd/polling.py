"""
Whether to keep asking a socket for a moment before waiting in the reactor.

A client with one request in flight sends the next one as soon as it has its
answer. To fall asleep and be woken in between costs more than the request
itself, so a link asks on for some microseconds, as qemu's event loop does.

That is only worth it while one link has the reactor to itself, and while
asking does find something: other connections wait meanwhile, and processor
time is spent. So a link must have been served many times in a row before it
asks at all, and each time that it finds nothing doubles how often it then
goes without asking.
"""

from __future__ import annotations

#: Seconds to go on asking after the last bytes came. Falling asleep and being
#: woken takes about as long.
WINDOW = 50e-6

#: Seconds after which the reactor gets its turn in any case.
TURN = 1e-3

#: Turns in a row, by one link, before it asks.
_STREAK = 32

#: The most turns without asking after it found nothing.
_LONGEST_PAUSE = 1024


class Polling:
    """The decision, shared by all links of one reactor."""

    def __init__(self) -> None:
        self._link: object = None
        self._streak = 0
        self._pause = _STREAK

    def worthwhile(self, link: object) -> bool:
        """Whether ``link``, which has just been served, should ask on."""
        if link is not self._link:
            self._link = link
            self._streak = 0
            self._pause = _STREAK
            return False
        self._streak += 1
        return self._streak > self._pause

    def forget(self, link: object) -> None:
        """``link`` has ended."""
        if link is self._link:
            self._link = None

    def found(self) -> None:
        """Asking on found the next request."""
        self._pause = 0

    def missed(self) -> None:
        """Asking on found nothing."""
        self._streak = 0
        self._pause = min(max(2 * self._pause, 1), _LONGEST_PAUSE)
