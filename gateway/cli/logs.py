"""What storage logs while a command works: warnings and worse, in plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher


@contextmanager
def shown(screen: TextIO) -> Iterator[None]:
    """
    Args:
        screen: where lines go.
    """

    def observe(event: Any) -> None:
        level = event.get("log_level")
        if level is not None and level >= LogLevel.warn:
            screen.write(f"nbdgateway: {formatEvent(event)}\n")
            failure = event.get("log_failure")
            if failure is not None:
                screen.write(failure.getTraceback())

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
