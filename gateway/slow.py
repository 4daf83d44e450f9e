"""Requests that took long, with the stage that they spent it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from gateway.stages import CLIENT, Stages

#: Seconds in which at most `_MOST` lines are written; a store that hangs makes all slow.
_WINDOW, _MOST = 10.0, 20


class SlowOperations:
    """
    Says which requests took long.

    Args:
        clock: seconds, rising.

    Attributes:
        threshold: seconds from which on a request is slow; 0 to say nothing.
    """

    _log = Logger()

    def __init__(self, threshold: float, clock: Callable[[], float]) -> None:
        self.threshold = threshold
        self._clock = clock
        self._since = clock() - _WINDOW
        self._written = self._untold = 0

    def answered(
        self, seconds: float, stages: Stages | None, op: str, offset: int, length: int, **about: Any
    ) -> None:
        """
        A request was answered.

        Args:
            seconds: from when it was handed to storage until its answer.
            stages: what it waited for, as far as storage told.
            op: such as ``read``.
            offset, length: bytes.
            about: more fields for the log, such as ``export`` and ``connection``.
        """
        spent = {} if stages is None else stages.spent()
        # A client that takes its time is not slowness of ours.
        seconds -= spent.pop(CLIENT, 0.0)
        if not self.threshold or seconds < self.threshold or self._is_too_much():
            return
        untold, self._untold = self._untold, 0
        # What others had begun earlier is not longer than this request.
        spent = {name: min(one, seconds) for name, one in spent.items()}
        slowest = next(iter(spent), "unknown")
        notes = {} if stages is None else stages.notes
        more = "".join(f", {name} {value}" for name, value in notes.items())
        if untold:
            about["untold"] = untold
            more += f" ({untold} more slow ones since the last line)"
        if "export" in about:
            more = f" of {about['export']}{more}"
        if length:
            more = f" at {offset}, {length} bytes{more}"
        fields = {
            **notes,
            **about,
            "op": op,
            "offset": offset,
            "length": length,
            "more": more,
            "ms": _ms(seconds),
            "stage": slowest,
            "stages": ", ".join(f"{name} {_ms(one)} ms" for name, one in spent.items())
            or "unknown",
            "stages_ms": {name: _ms(one) for name, one in spent.items()},
        }
        self._log.warn("slow {op}{more}: {ms} ms, {stages}", **fields)

    def _is_too_much(self) -> bool:
        now = self._clock()
        if now - self._since >= _WINDOW:
            self._since, self._written = now, 0
        if self._written >= _MOST:
            self._untold += 1
            return True
        self._written += 1
        return False


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
