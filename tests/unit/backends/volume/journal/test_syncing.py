"""The journal: what a sync promises, and what goes to the disk for it."""

from __future__ import annotations

import pytest

from backends.volume.journal import GATHERED_LIMIT
from backends.volume.journal_records import DATA, HOLE, ZERO
from backends.volume.journal_superblock import RING
from tests.doubles.journal_bench import Bench, answer, seen, stamp, survivors
from tests.doubles.threads import ManualThreads


def test_what_was_synced_is_replayed(bench):
    """
    Writes, zeroes and trims come back after a restart, in their order, with their times.
    """
    journal = bench.adopted()
    assert journal.append(DATA, 8, 2, stamp(1, 2)) == 1
    assert journal.append(ZERO, 0, 1 << 40) == 2
    bench.now = 1001.5
    assert journal.append(HOLE, 3, 5) == 3
    answer(journal.sync())
    journal = bench.reopened(clean=False)
    assert seen(journal.replay(0)) == [
        (1, DATA, 8, 2, stamp(1, 2)),
        (2, ZERO, 0, 1 << 40, b""),
        (3, HOLE, 3, 5, b""),
    ]
    assert [record.milliseconds for record in journal.replay(1)] == [1_000_000, 1_001_500]
    assert (journal.epoch, journal.last) == (1, 3)


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))])
def test_any_buffer_is_taken_and_may_change_afterwards(bench, form):
    """
    The journal keeps its own bytes.
    """
    journal = bench.adopted()
    data = form(stamp(5))
    journal.append(DATA, 0, 1, data)
    if not isinstance(data, bytes) and not getattr(data, "readonly", False):
        data[:] = bytes(512)
    answer(journal.sync())
    assert next(bench.reopened().replay(0)).data == stamp(5)


def test_syncs_that_wait_together_share_one_call(later):
    """
    Who comes while an fdatasync of older records runs waits for the next, with all others.
    """
    journal = later.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    first = [journal.sync(), journal.sync()]
    journal.append(DATA, 0, 1, stamp(2))
    second = [journal.sync()]
    journal.append(DATA, 0, 1, stamp(3))
    second.append(journal.sync())
    later.threads.step()
    assert [one.called for one in first + second] == [True, True, False, False]
    assert journal.durable == 1
    later.threads.step()
    assert all(one.called for one in second)
    assert later.calls.calls == ["pwritev"] * 3 + ["fdatasync"] * 2
    assert journal.sync().called
    assert later.calls.calls == ["pwritev"] * 3 + ["fdatasync"] * 2


def test_what_was_appended_survives_the_process(later):
    """
    No thread and no sync is needed for that, whatever the kind of the record.
    """
    journal = later.adopted()
    for lsn, kind in enumerate((DATA, ZERO, HOLE, DATA), 1):
        journal.append(kind, 0, 3, stamp(lsn, 3) if kind == DATA else b"")
        assert journal.handed_over() is None
        assert survivors(later) == list(range(1, lsn + 1))
    assert later.threads.waiting == []
    assert "fdatasync" not in later.calls.calls


def test_what_would_wait_for_the_disk_goes_in_a_thread(later):
    """
    And all that comes meanwhile waits with it: a reader stops at what is missing.
    """
    journal = later.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    later.calls.waits = True
    journal.append(DATA, 0, 1, stamp(2))
    first = journal.handed_over()
    later.calls.waits = False
    journal.append(DATA, 0, 1, stamp(3))
    journal.append(ZERO, 0, 1)
    second = journal.handed_over()
    synced = journal.sync()
    assert survivors(later) == [1]
    later.threads.step()
    assert first.called and not second.called
    assert survivors(later) == [1, 2]
    later.threads.step()
    assert second.called and not synced.called
    assert survivors(later) == [1, 2, 3, 4]
    journal.append(HOLE, 0, 1)
    assert journal.handed_over() is None
    assert survivors(later) == [1, 2, 3, 4, 5]
    later.threads.step()
    assert synced.called and journal.durable == 4


def test_a_long_record_goes_in_a_thread(tmp_path):
    """
    The reactor copies a mebibyte at most.
    """
    bench = Bench(tmp_path, 8 << 20, ManualThreads())
    journal = bench.adopted()
    journal.append(DATA, 0, 4096, bytes(2 << 20))
    assert not journal.handed_over().called
    assert bench.calls.calls == []
    bench.threads.step()
    assert journal.handed_over() is None
    journal.close(False)


def test_a_sync_that_runs_holds_up_no_record(later):
    """
    While a thread waits for the disk, the page cache takes more.
    """
    journal = later.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    synced = journal.sync()
    journal.append(DATA, 0, 1, stamp(2))
    assert journal.handed_over() is None
    assert not synced.called
    assert survivors(later) == [1, 2]


def test_pages_are_written_whole_where_nobody_needs_the_rest(later):
    """
    A page that is not in the cache would have to be read else; but records stay.
    """
    journal = later.adopted()
    with open(later.path, "r+b") as file:
        file.seek(RING)
        file.write(b"x" * 16384)
    journal.append(DATA, 0, 8, bytes(4096))
    journal.append(ZERO, 0, 1)
    with open(later.path, "rb") as file:
        file.seek(RING + 4608 + 512)
        assert file.read(8192 - 4608 - 512) == bytes(8192 - 4608 - 512)
        assert file.read(1) == b"x"


def test_memory_is_bounded(tmp_path):
    """
    At 64 MiB that a slow disk has not taken there is no room; threads write, and do not sync.
    """
    bench = Bench(tmp_path, 128 << 20, ManualThreads())
    journal = bench.adopted()
    bench.calls.waits = True
    data = bytes(1 << 20)
    journal.append(DATA, 0, 2048, data)
    assert len(bench.threads.waiting) == 1
    while journal.room(len(data)):
        journal.append(DATA, 0, 2048, data)
    assert GATHERED_LIMIT <= journal.outstanding.bytes + (1 << 20) < GATHERED_LIMIT + (2 << 20)
    room = journal.when_room()
    bench.threads.step()
    assert room.called
    assert journal.room(len(data))
    bench.threads.step()
    assert "fdatasync" not in bench.calls.calls
    journal.close(False)


def test_short_writes_are_gone_on_with(bench):
    """
    A disk that takes 700 bytes at a time gets everything all the same.
    """
    journal = bench.adopted()
    bench.calls.most = 700
    for lsn in range(1, 6):
        journal.append(DATA, lsn, 2, stamp(lsn, 2))
    answer(journal.sync())
    replayed = seen(bench.reopened().replay(0))
    assert replayed == [(lsn, DATA, lsn, 2, stamp(lsn, 2)) for lsn in range(1, 6)]


def test_more_buffers_than_one_call_takes(tmp_path):
    """
    Thousands of records gather into calls of at most 1,024 buffers.
    """
    bench = Bench(tmp_path, 4 << 20, ManualThreads())
    journal = bench.adopted()
    journal.append(ZERO, 0, 1)
    bench.calls.waits = True
    for lsn in range(2, 1502):
        journal.append(DATA, lsn, 1, stamp(lsn))
    journal.sync()
    bench.threads.drain()
    assert bench.calls.calls == ["pwritev"] * 7 + ["fdatasync"]
    assert [record.data for record in bench.reopened(False).replay(1)] == [
        stamp(lsn) for lsn in range(2, 1502)
    ]
    bench.journal.close(False)
