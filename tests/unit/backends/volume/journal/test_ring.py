"""The journal: how a ring is used again, and who waits when it is full."""

from __future__ import annotations

import os

import pytest

from backends.volume.journal_records import DATA, ZERO
from tests.doubles.journal_bench import answer, stamp, survivors


def test_a_full_ring_keeps_its_oldest_record(bench):
    """
    Where the newest record and the oldest share a page, no more of it is written than the record.
    """
    journal = bench.adopted()
    for lsn in range(1, 16):
        journal.append(ZERO, lsn, 1)
    answer(journal.sync())
    journal.release(3)
    for lsn in range(16, 20):
        journal.append(ZERO, lsn, 1)
    assert survivors(bench) == list(range(4, 20))


def test_the_ring_is_used_again_and_again(bench):
    """
    Fifty laps; every restart on the way finds just what was not released.
    """
    journal = bench.adopted()
    for lsn in range(1, 401):
        if not journal.room(512):
            waiting = journal.when_room()
            journal.release(lsn - 3)
            answer(waiting)
        assert journal.append(DATA, lsn, 1, stamp(lsn)) == lsn
        answer(journal.sync())
        if lsn % 37 == 0:
            journal = bench.reopened(clean=lsn % 2 == 0)
            assert [record.lsn for record in journal.replay(lsn - 2)] == [lsn - 1, lsn]
            bench.epoch += 1
            journal.adopt(bench.epoch, lsn - 3)
            assert journal.outstanding.records == 3


def test_a_full_ring_makes_writers_wait(later):
    """
    Room comes when a release is durable: until then a crash would need the old records.
    """
    journal = later.adopted()
    while journal.room(4096):
        journal.append(DATA, 0, 8, bytes(4096))
    synced = journal.sync()
    later.threads.drain()
    assert synced.called
    waiting = journal.when_room()
    journal.release(2)
    assert not waiting.called
    assert not journal.room(4096)
    later.threads.drain()
    assert waiting.called
    assert journal.room(4096)
    assert later.calls.calls[-3:] == ["fdatasync", "pwritev", "fdatasync"]


def test_a_release_alone_writes_nothing(later):
    """
    The superblock follows when an eighth of the ring is free, or somebody waits.
    """
    journal = later.adopted()
    for _ in range(200):
        journal.append(DATA, 0, 8, bytes(4096))
    journal.sync()
    later.threads.drain()
    journal.release(5)
    assert later.threads.waiting == []
    journal.release(100)
    assert len(later.threads.waiting) == 1


def test_appending_without_room_is_refused(bench):
    """
    Nothing ever lands on records that are needed.
    """
    journal = bench.adopted()
    while journal.room(512):
        journal.append(DATA, 0, 1, bytes(512))
    with pytest.raises(ValueError, match="the ring has 0 left"):
        journal.append(DATA, 0, 1, bytes(512))
    with pytest.raises(ValueError, match="or less"):
        journal.room(journal.largest + 1)


def test_a_record_as_large_as_the_ring(bench):
    """
    The largest record fits into an empty ring, at whatever place the ring stands.
    """
    journal = bench.adopted()
    for lsn in range(1, 6):
        assert journal.room(journal.largest)
        sectors = journal.largest // 512
        journal.append(DATA, 0, sectors, stamp(lsn, sectors))
        answer(journal.sync())
        journal = bench.reopened(False)
        assert [record.data for record in journal.replay(lsn - 1)] == [stamp(lsn, sectors)]
        journal.adopt(lsn + 1, lsn)
        journal.append(ZERO, 0, 1)
        answer(journal.sync())
        journal.release(lsn + 1)
        bench.reopened()
        os.unlink(bench.path)  # the next one counts from 1 again
        bench.journal.close(False)
        journal = bench.adopted(lsn)


def test_numbers_go_on_behind_what_the_store_has(bench):
    """
    A journal that knows less than the store, such as a fresh one, does not use numbers twice.
    """
    journal = bench.adopted(stored=500)
    assert journal.append(ZERO, 0, 1) == 501
    answer(journal.sync())
    journal = bench.reopened()
    assert [record.lsn for record in journal.replay(500)] == [501]


def test_outstanding_tells_what_is_at_risk(bench):
    """
    Records, bytes of data, and the age of the oldest, also after a restart.
    """
    journal = bench.adopted()
    assert journal.outstanding.records == 0
    journal.append(DATA, 0, 2, bytes(1024))
    bench.now += 5
    journal.append(DATA, 0, 1, bytes(512))
    bench.now += 5
    assert (journal.outstanding.bytes, journal.outstanding.age) == (1536, 10.0)
    journal.release(1)
    assert (journal.outstanding.bytes, journal.outstanding.age) == (512, 5.0)
    journal = bench.reopened()
    assert (journal.outstanding.records, journal.outstanding.age) == (1, 5.0)
