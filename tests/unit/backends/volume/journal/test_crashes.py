"""The journal: after any crash a prefix is there, with all that was promised."""

from __future__ import annotations

import random
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.journal_records import DATA, HOLE, ZERO
from backends.volume.journal_superblock import RING
from tests.doubles.journal_bench import Bench, answer, seen
from tests.doubles.threads import ManualThreads


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
