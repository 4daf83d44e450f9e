"""Complaints that come again and again are said once in a while, with their number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogLevel
from zope.interface import implementer

from gateway.log_lines import Event, message

#: Seconds for which a complaint that was said is only counted.
QUIET = 10.0

#: Different complaints that are remembered.
_MOST = 256

_GRAVE = (LogLevel.warn, LogLevel.error, LogLevel.critical)


@implementer(ILogObserver)
class Repeats:
    """
    Passes events on, but for warnings and errors that were said a moment ago, word for word.

    The next one that is passed on, or else any event after the quiet time, brings their number
    along, as ``repeated``.
    """

    def __init__(self, passed_on: Callable[[Event], None]) -> None:
        self._pass_on = passed_on
        #: By what was said: when, how often since, and the last event that was not passed on.
        self._said: OrderedDict[tuple[Any, ...], tuple[float, int, Event]] = OrderedDict()

    def __call__(self, event: Event) -> None:
        now = float(event.get("log_time") or 0.0)
        key = None
        if event.get("log_level") in _GRAVE:
            key = (event.get("log_level"), event.get("log_namespace"), _words(event))
        # In the order in which they were said: the first is the oldest.
        while self._said:
            oldest, (since, count, last) = next(iter(self._said.items()))
            if abs(now - since) < QUIET and len(self._said) < _MOST:
                break
            del self._said[oldest]
            if oldest == key:
                event = {**event, "repeated": count} if count else event
            elif count:
                # The last of them stands for itself.
                self._pass_on({**last, "repeated": count - 1} if count > 1 else last)
        if key is None:
            self._pass_on(event)
            return
        if key in self._said:
            since, count, _ = self._said[key]
            self._said[key] = since, count + 1, event
            return
        self._said[key] = now, 0, event
        self._pass_on(event)

    def flush(self) -> None:
        """Pass on what was only counted."""
        said, self._said = self._said, OrderedDict()
        for _, count, last in said.values():
            if count:
                self._pass_on({**last, "repeated": count - 1} if count > 1 else last)


def _words(event: Event) -> str:
    failure = event.get("log_failure")
    return message(event) if failure is None else f"{message(event)}: {failure.value!r}"
