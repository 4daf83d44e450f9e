"""Which bytes a header asks for."""

from __future__ import annotations

import pytest

from gateway.http.ranges import Unsatisfiable, one_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 10)),
        ("bytes=90-", (90, 10)),
        ("bytes=90-1000", (90, 10)),
        ("bytes=-10", (90, 10)),
        ("bytes=-1000", (0, 100)),
        (" Bytes = 1-2 ", (1, 2)),
    ],
)
def test_a_range_is_cut_at_the_end(header: str, expected: tuple[int, int]) -> None:
    """Of 100 bytes."""
    assert one_range(header, 100) == expected


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-3", "lines=1-2", "bytes=a-b"]
)
def test_what_makes_no_sense_asks_for_all(header: str | None) -> None:
    """As RFC 9110 wants it."""
    assert one_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=0-1,3-4"])
def test_what_has_no_bytes_or_too_many_parts_is_refused(header: str) -> None:
    """Several ranges would be several answers to make for one request."""
    with pytest.raises(Unsatisfiable):
        one_range(header, 100)


def test_of_nothing_there_is_no_range() -> None:
    """An export may have no bytes."""
    with pytest.raises(Unsatisfiable):
        one_range("bytes=0-", 0)
