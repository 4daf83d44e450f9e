"""The journal: whose it is, who may have it, and how it is given back."""

from __future__ import annotations

import os
import uuid

import pytest

from backends.volume.journal_file import LEAST
from backends.volume.journal_records import DATA, ZERO
from backends.volume.journal_superblock import RING
from gateway.errors import Closed, ExportBusy, ExportUnavailable
from tests.doubles.journal_bench import SMALL, VOLUME, Bench, answer, seen, stamp


def test_only_one_may_hold_it(bench, tmp_path):
    """
    A second one is told that it is busy; it is free after the close.
    """
    bench.adopted()
    with pytest.raises(ExportBusy, match="journal"):
        Bench(tmp_path).open()
    bench.reopened()


def test_another_volumes_journal_is_refused_by_name(bench):
    """
    The text names both volumes; the file is not touched.
    """
    answer(bench.adopted().close(True))
    with pytest.raises(ExportUnavailable) as refused:
        bench.open(uuid.UUID(int=0xDEF))
    assert str(VOLUME) in str(refused.value)
    assert str(uuid.UUID(int=0xDEF)) in str(refused.value)


def test_epochs_only_grow(bench):
    """
    A journal is never adopted twice for the same attachment.
    """
    bench.adopted()
    with pytest.raises(ValueError, match="more than 1"):
        bench.journal.adopt(1, 0)


def test_a_journal_set_aside_is_kept(bench):
    """
    Its records are evidence: the file gets another name, and a fresh one takes its place.
    """
    journal = bench.adopted()
    journal.append(DATA, 7, 1, stamp(1))
    answer(journal.close(True))
    for number in (1, 2):
        journal = bench.open()
        if number == 1:
            assert journal.describe_loss(0).startswith("1 records are lost (1 to 1, of epoch 1)")
            assert journal.describe_loss(1) == "no records are lost"
        kept = journal.set_aside()
        assert kept == f"{bench.path}.epoch-{2 - number}.1"
        assert os.path.exists(kept)
        assert not os.path.exists(bench.path)
    bench.path = f"{bench.path}.epoch-1.1"
    assert seen(bench.open().replay(0)) == [(1, DATA, 7, 1, stamp(1))]


def test_a_journal_without_records_gets_the_size_asked_for(bench):
    """
    Larger and smaller; one with records keeps its size.
    """
    answer(bench.adopted().close(True))
    for size in (SMALL * 2, LEAST):
        journal = bench.open(size=size)
        assert os.path.getsize(bench.path) == size
        assert journal.capacity == size - RING
        journal.adopt(journal.epoch + 1, 0)
        journal.append(ZERO, 0, 1)
        answer(journal.close(True))
        journal = bench.open(size=SMALL)
        assert journal.capacity == size - RING
        journal.adopt(journal.epoch + 1, journal.last)
        answer(journal.close(True))


def test_too_small_a_journal_is_refused(bench):
    """
    The text says what is expected.
    """
    with pytest.raises(ExportUnavailable, match=f"got 4096 bytes, expected {LEAST}"):
        bench.open(size=4096)


def test_a_clean_close_writes_what_gathered(later):
    """
    And refuses those who wait for room, and everybody afterwards.
    """
    journal = later.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    room = journal.when_room()
    closed = journal.close(True)
    later.threads.drain()
    answer(closed)
    with pytest.raises(Closed):
        answer(room)
    with pytest.raises(Closed):
        journal.append(ZERO, 0, 1)
    with pytest.raises(Closed):
        journal.sync()
    assert [record.lsn for record in later.open().replay(0)] == [1]


def test_another_close_lets_what_is_under_way_end(later):
    """
    The sync that runs is answered, the next is refused, the file is free at the end.
    """
    journal = later.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    running = journal.sync()
    journal.append(DATA, 0, 1, stamp(2))
    following = journal.sync()
    closed = []
    journal.close(False).addBoth(closed.append)
    with pytest.raises(Closed):
        answer(following)
    assert closed == []
    later.threads.drain()
    answer(running)
    assert closed == [None]
    assert [record.lsn for record in later.open().replay(0)] == [1, 2]


def test_another_close_answers_no_record_that_is_not_in_the_file(later):
    """
    What gathered is dropped, and who waits is told so.
    """
    journal = later.adopted()
    later.calls.waits = True
    journal.append(DATA, 0, 1, stamp(1))
    running = journal.handed_over()
    journal.append(DATA, 0, 1, stamp(2))
    following = journal.handed_over()
    closed = []
    journal.close(False).addBoth(closed.append)
    for refused in (running, following):
        with pytest.raises(Closed):
            answer(refused)
    assert closed == []
    later.threads.drain()
    assert closed == [None]
    assert [record.lsn for record in later.open().replay(0)] == [1]
