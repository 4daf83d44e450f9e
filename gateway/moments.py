"""How moments are written for people, everywhere but in the log: in UTC, to the second."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: float) -> str:
    """
    Seconds since 1970 as ``2026-11-27 22:00:00Z``.

    What no calendar has, because what told it is damaged, is shown as the number it is.
    """
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (OverflowError, ValueError, OSError):
        return f"second {seconds:.0f}"
