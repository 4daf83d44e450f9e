"""The journal: what a sync promises, what a crash leaves, how a ring is used again."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import tempfile
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.journal import GATHERED_LIMIT, Journal
from backends.volume.journal_creating import JournalCalls
from backends.volume.journal_file import LEAST, JournalDamaged
from backends.volume.journal_records import DATA, HOLE, ZERO
from backends.volume.journal_superblock import RING, SLOTS
from gateway.errors import Closed, Corrupt, ExportBusy, ExportUnavailable, Unavailable
from tests.doubles.threads import ManualThreads, SyncThreads

VOLUME = uuid.UUID(int=0xABC)
SMALL = RING + 8192


class Calls(JournalCalls):
    """
    The real system calls, and a disk that can fail and lose power.

    Attributes:
        calls: names of those that write or sync.
        failures: by name, an errno for the next call.
        fuse: calls until the power goes; None for never.
        most: bytes that one call writes; None for all.
        waits: nothing can be written without waiting.
    """

    def __init__(self):
        self.calls = []
        self.failures = {}
        self.fuse = None
        self.most = None
        self.waits = False
        self._unsynced = []

    def _enter(self, name):
        self.calls.append(name)
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise OSError(errno.EIO, "the power is gone")
        if name in self.failures:
            raise OSError(self.failures[name], os.strerror(self.failures[name]))

    def pwritev(self, fd, buffers, offset, flags=0):
        if flags and self.waits:
            raise BlockingIOError(errno.EAGAIN, "would have to wait")
        self._enter("pwritev")
        data = b"".join(buffers)[: self.most]
        for at in range(0, len(data), 512):
            self._unsynced.append((offset + at, data[at : at + 512]))
        return os.pwrite(fd, data, offset)

    def pwrite(self, fd, data, offset):
        return self.pwritev(fd, (data,), offset)

    def fdatasync(self, fd):
        self._enter("fdatasync")
        self._keep(fd)

    def fsync(self, fd):
        self._enter("fsync")
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._keep(fd)

    def posix_fallocate(self, fd, offset, length):
        self._enter("posix_fallocate")
        os.posix_fallocate(fd, offset, length)

    def posix_fadvise(self, fd, offset, length, advice):
        self.calls.append("drop")

    def _keep(self, fd):
        self._unsynced.clear()
        self._image = os.pread(fd, os.fstat(fd).st_size, 0)

    def lose_power(self, path, choose):
        """
        The file as it may be after a crash: any of the sectors that were not
        synced, written in any order, now and then torn.
        """
        image = bytearray(self._image)
        kept = choose.choice((0.2, 0.5, 0.8))
        pieces = [piece for piece in self._unsynced if choose.random() < kept]
        choose.shuffle(pieces)
        for offset, data in pieces:
            torn = choose.random() < 0.02
            image[offset : offset + len(data)] = choose.randbytes(len(data)) if torn else data
        with open(path, "r+b") as file:
            file.write(image)
        self._unsynced.clear()
        self._image = bytes(image)
        self.fuse = None


class Bench:
    """A journal with everything around it in the test's hands."""

    def __init__(self, directory, size=SMALL, threads=None):
        self.path = os.path.join(directory, "journal")
        self.size = size
        self.threads = SyncThreads() if threads is None else threads
        self.calls = Calls()
        self.now = 1000.0
        self.journal = None
        self.epoch = 0

    def open(self, volume=VOLUME, size=None):
        self.journal = Journal.open(
            self.path,
            self.size if size is None else size,
            volume,
            self.threads.call_in_thread,
            lambda: self.now,
            self.calls,
        )
        return self.journal

    def adopted(self, stored=0):
        journal = self.open()
        self.epoch = journal.epoch + 1
        journal.adopt(self.epoch, stored)
        self.calls.calls.clear()
        return journal

    def reopened(self, clean=True):
        answer(self.journal.close(clean))
        return self.open()


def answer(deferred):
    """Of a Deferred that was answered."""
    answers = []
    deferred.addBoth(answers.append)
    (result,) = answers
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def stamp(lsn, sectors=1):
    return lsn.to_bytes(8, "little") * (64 * sectors)


def seen(records):
    return [
        (record.lsn, record.kind, record.sector, record.sectors, record.data) for record in records
    ]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    if bench.journal is not None:
        bench.journal.close(False)


@pytest.fixture
def later(tmp_path):
    """A bench whose threads work when told."""
    bench = Bench(tmp_path, 1 << 20, ManualThreads())
    yield bench
    if bench.journal is not None:
        bench.journal.close(False)
        bench.threads.drain()


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


def survivors(bench):
    """The records that whoever comes after the death of this process finds."""
    with tempfile.TemporaryDirectory() as directory:
        other = Bench(directory)
        shutil.copy(bench.path, other.path)
        found = [record.lsn for record in other.open().replay(0)]
        answer(other.journal.close(False))
        return found


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


# --- failures of the disk ---


@pytest.mark.parametrize("name", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_after_a_failed_sync_every_later_one_fails(later, name, number):
    """
    The kernel tells of a lost page once; the journal goes on saying it. Writers do not hang.
    """
    journal = later.adopted()
    later.calls.failures[name] = number
    journal.append(DATA, 0, 1, stamp(1))
    first = journal.sync()
    journal.append(DATA, 0, 1, stamp(2))
    second = journal.sync()
    handed_over = journal.handed_over()
    room = journal.when_room()
    later.threads.drain()
    for failed in (first, second):
        with pytest.raises(Unavailable, match=os.strerror(number)):
            answer(failed)
    assert room.called
    assert handed_over is None or handed_over.called
    assert journal.handed_over() is None
    later.calls.failures.clear()
    assert journal.append(DATA, 0, 1, stamp(3)) == 3
    assert journal.room(journal.largest)
    with pytest.raises(Unavailable, match=os.strerror(number)):
        answer(journal.sync())
    assert later.threads.waiting == []
    with pytest.raises(Unavailable, match=os.strerror(number)):
        answer(journal.close(True))


def test_lack_of_space_is_found_when_the_journal_is_made(bench):
    """
    Space is set aside at once; what does not fit leaves nothing behind.
    """
    bench.calls.failures["posix_fallocate"] = errno.ENOSPC
    with pytest.raises(ExportUnavailable, match=f"no space for its {SMALL} bytes"):
        bench.open()
    assert os.listdir(os.path.dirname(bench.path)) == []


def test_an_unfinished_journal_is_made_anew(bench):
    """
    A process killed while it made the journal leaves another name, and nothing else.
    """
    with open(f"{bench.path}.unfinished", "wb") as file:
        file.write(b"half")
    assert list(bench.open().replay(0)) == []
    assert os.listdir(os.path.dirname(bench.path)) == ["journal"]


def test_the_file_is_private_and_of_full_size(bench):
    """
    0600, all blocks allocated.
    """
    bench.open()
    status = os.stat(bench.path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == SMALL
    assert status.st_blocks * 512 >= SMALL


def test_a_link_is_not_followed(bench, tmp_path):
    """
    Nobody makes the journal write elsewhere.
    """
    os.symlink(tmp_path / "other", bench.path)
    with pytest.raises(ExportUnavailable, match="journal"):
        bench.open()
    assert not os.path.exists(tmp_path / "other")


# --- whose journal it is ---


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


# --- closing ---


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


# --- damage ---


def spoil(path, offset, length=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in old))


def filled(bench, count=4):
    """Records of 1,024 bytes in the ring, each synced for itself."""
    journal = bench.adopted()
    for lsn in range(1, count + 1):
        journal.append(DATA, lsn, 1, stamp(lsn))
        answer(journal.sync())
    answer(journal.close(False))


@pytest.mark.parametrize("slot", SLOTS)
def test_one_bad_superblock_is_no_loss(bench, slot):
    """
    The other one leads to every record.
    """
    filled(bench)
    spoil(bench.path, slot + 30)
    assert [record.lsn for record in bench.open().replay(0)] == [1, 2, 3, 4]


def test_two_bad_superblocks_are_refused(bench):
    """
    The text says where and what to do; nothing is made anew.
    """
    filled(bench)
    for slot in SLOTS:
        spoil(bench.path, slot + 30)
    with pytest.raises(JournalDamaged, match="byte 0: .*byte 4096: .*move the file away"):
        bench.open()


def test_a_synced_record_that_is_damaged_is_no_end(bench):
    """
    A later record tells that it was synced: the journal is refused, not cut short.
    """
    filled(bench)
    spoil(bench.path, RING + 1024 + 500)
    with pytest.raises(JournalDamaged, match=rf"record 2 at byte {RING + 1024} .*up to 3 were"):
        bench.open()


def test_damage_behind_the_last_sync_of_a_clean_close(bench):
    """
    The superblock of the close tells of the very last record.
    """
    journal = bench.adopted()
    journal.append(DATA, 0, 1, stamp(1))
    answer(journal.close(True))
    spoil(bench.path, RING + 500)
    with pytest.raises(JournalDamaged, match="record 1 .* up to 1 were"):
        bench.open()


def test_a_file_cut_short_is_refused(bench):
    """
    With both sizes.
    """
    filled(bench)
    os.truncate(bench.path, SMALL - 4096)
    with pytest.raises(JournalDamaged, match=f"{SMALL - 4096} bytes, expected {SMALL}"):
        bench.open()


def test_a_record_that_went_bad_after_the_open_is_told(bench):
    """
    Replay ends with an error, not early.
    """
    filled(bench)
    journal = bench.open()
    spoil(bench.path, RING + 1024 + 500)
    with pytest.raises(Corrupt, match="record 2"):
        list(journal.replay(0))


def test_what_an_earlier_process_left_in_memory_is_not_believed(bench):
    """
    Pages are synced and dropped before anything is read.
    """
    filled(bench)
    bench.calls.calls.clear()
    bench.open()
    assert bench.calls.calls == ["fdatasync", "drop"]


# --- crashes ---


def test_a_lost_record_is_not_completed_by_the_one_in_its_place(bench):
    """
    A crash loses the last sector of a record. The next attachment writes the
    same data at the same place, and of that only the last sector arrives.
    """
    data = b"d" * 1024

    def written_and_lost(arrives):
        journal = bench.journal
        journal.append(DATA, bench.epoch * 100, 2, data)
        answer(journal.close(True))
        with open(bench.path, "r+b") as file:
            after = file.read()
            for at in range(0, len(after), 512):
                if not arrives(at - RING):
                    file.seek(at)
                    file.write(before[at : at + 512])
        bench.open()
        assert list(bench.journal.replay(0)) == []

    bench.adopted()
    with open(bench.path, "rb") as file:
        before = file.read()
    written_and_lost(lambda at: at in (0, 512))
    bench.journal.adopt(2, 0)
    with open(bench.path, "rb") as file:
        before = file.read()
    written_and_lost(lambda at: at == 1024)


class CrashModel:
    """
    Does steps with a journal and with a list, and compares after every crash.

    Every record has a range of its own, but all have the same data: what is
    lost of one may come back with another that lies in its place.
    """

    def __init__(self, directory):
        self.bench = Bench(directory, RING + 4096, ManualThreads())
        self.records = {}
        self.synced = 0
        self.answered = 0
        self.stored = 0
        self.serial = 0
        self.journal = self.bench.adopted()

    def append(self, kind, sectors, waits):
        self.bench.calls.waits = waits
        self.serial += 1
        data = b"d" * 512 * sectors if kind == DATA else b""
        if not self.journal.room(len(data)):
            self.journal.when_room().addErrback(lambda _: None)
            return
        lsn = self.journal.append(kind, self.serial, sectors, data)
        self.records[lsn] = (lsn, kind, self.serial, sectors, data)
        handed_over = self.journal.handed_over()
        if handed_over is None:
            self.answered = lsn
        else:
            handed_over.addCallbacks(lambda _: self._answer(lsn), lambda _: None)

    def _answer(self, lsn):
        self.answered = max(self.answered, lsn)

    def die(self):
        """The process ends, and the machine goes on."""
        self.bench.threads.waiting.clear()
        self.journal._file.close()
        self._go_on(self.answered)

    def sync(self):
        last = self.journal.last

        def done(_):
            self.synced = max(self.synced, last)

        self.journal.sync().addCallbacks(done, lambda _: None)

    def work(self):
        if self.bench.threads.waiting:
            self.bench.threads.step()

    def release(self, count):
        self.stored = min(self.stored + count, self.journal.last)
        self.journal.release(self.stored)

    def crash(self, choose):
        """The power goes at some call of what is under way."""
        self.bench.calls.fuse = choose.randrange(5)
        for _ in range(2):
            self.work()
        self.journal.close(False).addErrback(lambda _: None)
        self.bench.calls.fuse = 0
        self.bench.threads.drain()
        self.bench.calls.lose_power(self.bench.path, choose)
        self._go_on(self.synced)

    def _go_on(self, least):
        """There is everything up to the record ``least`` and perhaps more, without gaps."""
        self.journal = self.bench.open()
        replayed = seen(self.journal.replay(self.stored))
        last = self.stored + len(replayed)
        assert last >= least
        assert replayed == [self.records[lsn] for lsn in range(self.stored + 1, last + 1)]
        self.synced = self.answered = last
        self.bench.epoch += 1
        self.journal.adopt(self.bench.epoch, self.stored)

    def step(self, choose):
        """Any step, some more often than others."""
        number = choose.random()
        if number < 0.45:
            kind = choose.choice((DATA, DATA, ZERO, HOLE))
            self.append(kind, choose.randint(1, 3), choose.random() < 0.2)
        elif number < 0.55:
            self.sync()
        elif number < 0.80:
            self.work()
        elif number < 0.92:
            self.release(choose.randint(1, 4))
        elif number < 0.96:
            self.die()
        else:
            self.crash(choose)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_after_any_crash_a_prefix_with_all_that_was_promised_is_there(seed):
    """
    Sectors that were not synced may be lost with the power, old, new or torn,
    in any order: replay gives what was appended, in order, without gaps,
    nothing that was synced is missing, and nothing foreign or stale appears,
    on any lap. When only the process dies, nothing that was answered is missing.
    """
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        model = CrashModel(directory)
        for _ in range(250):
            model.step(choose)
        model.journal.close(False)
        model.bench.threads.drain()
