"""What is said once is counted for a while."""

from __future__ import annotations

from gateway.nbd.complaints import QUIET, Complaints


def test_the_first_of_a_kind_is_told_and_the_others_are_counted() -> None:
    """
    A client that goes on after a failure does not fill the disk with its log.
    """
    now = [5.0]
    complaints = Complaints(lambda: now[0])
    assert complaints.untold("lost") == 0
    assert [complaints.untold("lost") for _ in range(7)] == [None] * 7
    assert complaints.untold("other") == 0
    now[0] += QUIET
    assert complaints.untold("lost") == 7
    assert complaints.untold("lost") is None


def test_texts_without_end_take_no_memory_without_end() -> None:
    """
    Each failure may name another object.
    """
    complaints = Complaints(lambda: 0.0)
    for number in range(1000):
        assert complaints.untold(str(number)) == 0
    assert len(complaints._told) < 100
