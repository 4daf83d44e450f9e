"""What the log hears of requests that failed: thousands may fail alike in a second."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from gateway.errors import StorageError
from gateway.nbd.constants import NBD_EIO
from gateway.nbd.requests import Request

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

    def failed(
        self,
        log: Any,
        request: Request,
        failure: Any,
        errno: int,
        text: str,
        about: dict[str, Any],
    ) -> None:
        """
        Tell of a fault of ours, or of storage; a request that asked too much is its client's.

        Args:
            log: a logger of Twisted's.
            failure: Twisted's `Failure`.
            errno, text: as the client is told.
            about: fields of the line.
        """
        if not isinstance(failure.value, StorageError):
            log.failure("bug: {request} failed", failure, request=request, **about)
        elif errno == NBD_EIO:
            untold = self.untold(text)
            if untold is not None:
                more = f" (and {untold} more requests since it was last said)" if untold else ""
                log.error(
                    "{request} failed: {error}{more}",
                    request=request,
                    error=text,
                    more=more,
                    untold=untold,
                    **about,
                )

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
