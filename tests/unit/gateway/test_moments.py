"""Promises of `gateway.moments`."""

from __future__ import annotations

import pytest

from gateway.moments import moment


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01 00:00:00Z"),
        (1_795_816_800.999, "2026-11-27 22:00:00Z"),
        (1e18, "second 1000000000000000000"),
    ],
)
def test_moments_are_in_utc_and_nothing_fails(seconds: float, text: str) -> None:
    """Wherever the machine is; also where what told the time was damaged."""
    assert moment(seconds) == text
