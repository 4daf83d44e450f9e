"""Which objects count, and in which order."""

from __future__ import annotations

import pytest

from backends.volume.inspection.timeline import Slot, counted, history, is_in, settled
from backends.volume.names import Kind
from backends.volume.superblock import Rollback


def data(epoch):
    return Slot(Kind.DATA, epoch, 0)


def fence(epoch, leads_to):
    return Slot(Kind.FENCE, epoch, leads_to)


@pytest.mark.parametrize(
    ("rollbacks", "version", "expected"),
    [
        ([], 7, [(-1, 7)]),
        ([Rollback(10, 3)], 10, [(-1, 10)]),
        ([Rollback(10, 3)], 11, [(-1, 3), (10, 11)]),
        ([Rollback(10, 3), Rollback(20, 9)], 25, [(-1, 9), (20, 25)]),
        ([Rollback(10, 3), Rollback(20, 12)], 25, [(-1, 3), (10, 12), (20, 25)]),
        ([Rollback(10, 0)], 12, [(-1, 0), (10, 12)]),
    ],
)
def test_what_a_version_is_made_of(rollbacks, version, expected):
    """Going back to a version of a time that was left behind brings that time back."""
    assert history(rollbacks, version) == expected


def test_a_span_has_its_last_version_and_not_the_one_in_front():
    assert [is_in([(3, 5)], version) for version in (3, 4, 5, 6)] == [False, True, True, False]


def test_a_fence_leads_over_what_was_never_acknowledged():
    log = {1: data(1), 2: fence(2, 10), 3: data(1), 9: data(1), 10: data(2), 12: data(2)}
    assert counted(log, ()) == ([1, 10, 12], [])


def test_fences_that_came_late_do_not_count():
    """Of two of one epoch the later one does; of epochs that had none in time none does."""
    log = {1: fence(2, 9), 2: data(1), 3: fence(2, 11), 5: fence(3, 13), 11: data(4)}
    assert counted(log, {3}) == ([2, 11], [])


def test_an_older_epoch_behind_a_newer_one_is_a_stranger():
    assert counted({1: data(4), 2: data(3), 3: data(4)}, ()) == ([1, 3], [2])


def test_what_some_writer_knew_to_be_stored():
    assert settled({}) == 1
    assert settled({5: 4, 9: 2, 10: 7}) == 7
