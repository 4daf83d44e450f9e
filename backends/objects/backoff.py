"""
How long to wait before asking again, and when to give up.

Waits grow exponentially, with full jitter: each is drawn evenly between
nothing and a bound that doubles, so that clients that failed together do not
come back together (M. Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from backends.objects.contract import Garbled, Transient


class BackOff:
    """
    The waits of all requests to one store.

    Args:
        clock: for waiting.
        random: draws the waits.
        deadline: seconds from a request's start, after which no attempt begins.
        first_delay: seconds; the bound of a request's first wait.
        longest_delay: seconds; no wait is longer.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        deadline: float,
        first_delay: float,
        longest_delay: float,
    ) -> None:
        self.clock = clock
        self.random = random
        self.deadline = deadline
        self.first_delay = first_delay
        self.longest_delay = longest_delay
        self.closed = False
        self._waits: dict[Deferred[None], None] = {}

    def close(self) -> None:
        """Requests that wait fail now; those that fail later do not wait."""
        self.closed = True
        for wait in tuple(self._waits):
            wait.cancel()

    async def wait(self, delay: float) -> bool:
        """
        Args:
            delay: seconds.

        Returns:
            Whether they went by; not if `close` came before.
        """
        if self.closed:
            return False
        wait: Deferred[None] = deferLater(self.clock, delay)
        self._waits[wait] = None
        try:
            await wait
        except CancelledError:
            if not self.closed:
                raise  # whoever asked does not want the answer any more
            return False
        finally:
            del self._waits[wait]
        return True


class Attempts:
    """The attempts of one request, from now on."""

    def __init__(self, back_off: BackOff) -> None:
        self._back_off = back_off
        self._began = back_off.clock.seconds()
        self._bound = min(back_off.first_delay, back_off.longest_delay)
        self._failed = 0

    async def pause(self, failure: Transient | Garbled) -> None:
        """
        Wait before the next attempt; the last one begins when the deadline is reached.

        Raises:
            Transient, Garbled: there is no next attempt. It is as ``failure``
                was, and tells how often and how long it was tried.
        """
        self._failed += 1
        elapsed = self._back_off.clock.seconds() - self._began
        left = self._back_off.deadline - elapsed
        if left <= 0:
            raise self._last(failure, f"{elapsed:.1f} s") from failure
        delay = min(self._back_off.random.uniform(0, self._bound), left)
        self._bound = min(2 * self._bound, self._back_off.longest_delay)
        if not await self._back_off.wait(delay):
            elapsed = self._back_off.clock.seconds() - self._began
            raise self._last(failure, f"{elapsed:.1f} s, until it was closed") from failure

    def _last(self, failure: Transient | Garbled, how_long: str) -> Transient | Garbled:
        kind = Garbled if isinstance(failure, Garbled) else Transient
        times = "once" if self._failed == 1 else f"{self._failed} times"
        last = kind(f"{failure} (tried {times} in {how_long})")
        last.ids = failure.ids
        return last
