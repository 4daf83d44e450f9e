"""With a journal: what was answered survives the process, and space in it comes free again."""

from __future__ import annotations

import random
import uuid

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail

from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from backends.volume.journal import Journal
from backends.volume.journal_file import LEAST
from backends.volume.journaling import Journaling
from backends.volume.units import SECTOR
from gateway.errors import Unavailable
from gateway.info import KIB, MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.threads import ManualThreads
from tests.doubles.volumes import VolumeHost

SIZE = 64 * MIB


class Bench:
    """A volume with a journal, over a store that answers when told."""

    def __init__(self, path, journal_size=4 * MIB, **options):
        self.path = str(path)
        self.journal_size = journal_size
        self.store = HeldStore(MemoryStore(), holds=())
        options.setdefault("upload_delay", 1e9)
        options.setdefault("checkpoint_delay", 1e9)
        self.host = VolumeHost(store=self.store, options=Options(collect=False, **options))
        plain = self.host.new(SIZE)
        self.uuid = uuid.UUID(bytes=plain._parts.authority.superblock.volume)
        self.host.settle(plain.close())
        self.attach()

    def attach(self):
        environment = self.host.environment
        self.journal = Journal.open(
            self.path, self.journal_size, self.uuid, environment.call_in_thread, environment.wall
        )
        self.volume = self.host.again(journal=self.journal)

    def crash(self):
        """Everything in memory is gone; the journal's file is as the kernel has it."""
        self.volume._parts.checkpointer.stop()
        self.host.settle(self.journal.close(False))
        self.store.held.clear()
        self.store.holds.clear()
        self.attach()

    def read(self, offset, length):
        return bytes(self.host.settle(self.volume.read(offset, length)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def outcome(result):
    answers = []
    if isinstance(result, Deferred):
        result.addBoth(answers.append)
    else:
        answers.append(result)
    return answers


def test_a_flush_does_not_wait_for_the_store(path):
    bench = Bench(path)
    bench.store.holds.add("put")
    bench.volume.write(0, b"a" * 4096, False)
    bench.volume.write_zeroes(4096, 4096, False, False, False)
    assert outcome(bench.volume.flush()) == [None]
    assert bench.volume.flush() is None  # nothing new: no Deferred either
    assert outcome(bench.volume.write(8192, b"b" * 512, True)) == [None]
    bench.crash()
    assert bench.read(0, 12288) == b"a" * 4096 + bytes(4096) + b"b" * 512 + bytes(3584)
    assert not bench.volume.extents(4096, 4096, True)[0].hole


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "write", "zero", "hole", "trim", "store", "crash"]),
            st.integers(0, 40 * KIB),
            st.one_of(st.integers(0, 700), st.integers(0, 20 * KIB)),
        ),
        max_size=15,
    )
)
def test_everything_that_was_answered_is_there_after_crashes(tmp_path_factory, steps):
    bench = Bench(tmp_path_factory.mktemp("journal") / "journal", object_bytes=8 * KIB)
    model = bytearray(64 * KIB)
    bench.store.holds.add("put")
    for number, (what, offset, length) in enumerate(steps):
        end = offset + length
        if what == "write":
            data = random.Random(number).randbytes(length // 2) + bytes(length - length // 2)
            bench.host.settle(bench.volume.write(offset, data, False))
            model[offset:end] = data
        elif what in ("zero", "hole"):
            trim = what == "hole"
            bench.host.settle(bench.volume.write_zeroes(offset, length, trim, False, False))
            model[offset:end] = bytes(length)
        elif what == "trim":
            bench.host.settle(bench.volume.trim(offset, length, False))
            low, high = -(-offset // SECTOR) * SECTOR, end // SECTOR * SECTOR
            model[low:high] = bytes(max(high - low, 0))
        elif what == "store":
            if bench.store.held:
                bench.store.answer(length % len(bench.store.held))
        else:
            bench.crash()
            assert bench.read(0, len(model)) == model
            bench.store.holds.add("put")
    bench.crash()
    assert bench.read(0, len(model)) == model
    bench.host.settle(bench.volume.close())
    bench.attach()
    assert bench.read(0, len(model)) == model and not bench.journal.outstanding.records


def test_no_change_is_answered_before_its_record_is_with_the_kernel(path):
    """Nor one that finds everything so already, by grace of a record that is still on its way."""
    bench = Bench(path)
    bench.store.holds.add("put")
    threads = ManualThreads()
    assert bench.volume.write(0, b"a" * 4096, False) is None
    handover = bench.journal._handover
    handover._call_in_thread = threads.call_in_thread
    long = random.Random(1).randbytes(2 * MIB)
    answers = [
        outcome(bench.volume.write(MIB, long, False)),
        outcome(bench.volume.write(0, b"b" * 512, False)),
        outcome(bench.volume.write_zeroes(512, 512, False, False, False)),
        outcome(bench.volume.write_zeroes(512, 512, False, False, False)),
        outcome(bench.volume.trim(1024, 512, False)),
        outcome(bench.volume.trim(1024, 512, False)),
        outcome(bench.volume.write(1536, bytes(512), False)),
        outcome(bench.volume.write(100, b"c", False)),
        outcome(bench.volume.write(2048, b"d" * 512, True)),
    ]
    assert answers == [[]] * 9
    threads.step()
    assert answers == [[None]] + [[]] * 8
    threads.step()
    bench.host.go_on()
    assert answers == [[None]] * 9
    expected = b"b" * 100 + b"c" + b"b" * 411 + bytes(1536 - 512) + bytes(512) + b"d" * 512
    bench.crash()
    assert bench.read(0, 4096) == expected + b"a" * 1536
    assert bench.read(MIB, 2 * MIB) == long


def test_zeroes_that_change_nothing_take_no_space_in_the_journal(path):
    """Else they fill it, and nothing is ever stored that would empty it."""
    bench = Bench(path)
    for _ in range(3):
        for offset in range(0, 16 * MIB, MIB):
            assert bench.volume.write(offset, bytes(MIB), False) is None
            assert bench.volume.trim(offset, MIB, False) is None
    assert not bench.journal.outstanding.records


def test_a_full_journal_makes_writers_wait_until_the_store_has_taken_some(path):
    """Large and small ones: whoever waits goes on by itself, and in order."""
    bench = Bench(path)
    bench.store.holds.add("put")
    answers, offset = [], 0
    for number in range(60):
        length = (MIB, 512, 300 * KIB, 5000)[number % 4]
        data = bytes([number + 1]) * length
        answers.append((outcome(bench.volume.write(offset, data, False)), offset, data))
        offset += length
    assert 3 <= sum(len(one) for one, *_ in answers) < 30
    for _ in range(200):
        bench.store.answer_all()
        bench.host.go_on()
    assert all(one == [None] for one, *_ in answers)
    for _, offset, data in answers:
        assert bench.read(offset, len(data)) == data


def test_a_journal_that_was_full_at_a_crash_has_room_after_it(path):
    """All of it was stored while it was replayed, and nothing else would say so."""
    bench = Bench(path, dirty_limit=256 * KIB, object_bytes=256 * KIB)
    bench.store.holds.add("put")
    model = bytearray()
    number = 0
    while True:
        number += 1
        data = bytes([number]) * (256 * KIB)
        if not outcome(bench.volume.write(len(model), data, False)):
            break
        model += data
        bench.volume._parts.recent.held = 0  # the journal is the limit here
    bench.host.settle(bench.volume.flush())
    bench.crash()
    assert bench.read(0, len(model)) == model
    answers = outcome(bench.volume.write(len(model), b"z" * MIB, False))
    for _ in range(200):
        bench.host.go_on()
    assert answers == [None]


def test_replaying_reads_a_bounded_part_at_a_time(path, monkeypatch):
    """The journal may be larger than memory."""
    bench = Bench(path, journal_size=64 * MIB, object_bytes=16 * MIB)
    bench.store.holds.add("put")
    rng = random.Random(1)
    for number in range(20):
        assert bench.volume.write(number * 2 * MIB, rng.randbytes(2 * MIB), False) is None
    bench.host.settle(bench.volume.flush())
    batches = []
    real = bench.host.environment.call_in_thread

    def call(function, *args):
        def note(result):
            if isinstance(result, list) and result and hasattr(result[0], "data"):
                batches.append(sum(len(record.data) for record in result))
            return result

        return real(function, *args).addCallback(note)

    object.__setattr__(bench.host.environment, "call_in_thread", call)
    bench.crash()
    assert len(batches) >= 4 and max(batches) <= 10 * MIB
    assert bench.read(38 * MIB, 2 * MIB) == random.Random(1).randbytes(40 * MIB)[-2 * MIB :]


def test_flushes_go_to_the_store_when_the_journal_has_failed(path):
    bench = Bench(path)
    bench.store.holds.add("put")
    bench.volume.write(0, b"a" * 512, False)
    journal = bench.volume._parts.journaling.journal
    journal._call_in_thread = lambda *_: fail(OSError(5, "EIO"))
    first = outcome(bench.volume.flush())
    assert not first  # the journal lost it, the store has to take it
    bench.store.answer_all()
    assert first == [None]
    bench.volume.write(512, b"b" * 512, False)
    second = outcome(bench.volume.flush())
    assert not second
    bench.store.answer_all()
    assert second == [None] and bench.read(0, 1024) == b"a" * 512 + b"b" * 512
    assert journal.failure


class Ring:
    """As much of a journal as `Journaling` asks for."""

    path = "journal"
    largest = 1 * MIB

    def __init__(self):
        self.left = 0
        self.wishes = []
        self.failure = None
        self.durable = self.last = 0

    def room(self, size):
        return size <= self.left

    def when_room(self):
        self.wishes.append(Deferred())
        return self.wishes[-1]

    def sync(self):
        return fail(Unavailable("lost"))


def test_one_wish_for_room_is_enough():
    ring, calls = Ring(), []
    journaling = Journaling(ring)
    for _ in range(3):
        journaling.when_room(lambda: calls.append(1))
    assert len(ring.wishes) == 1
    ring.wishes[0].callback(None)
    assert calls == [1]
    journaling.when_room(lambda: calls.append(2))
    ring.wishes[1].callback(None)
    assert calls == [1, 2]


def test_room_for_a_change_counts_the_sectors_that_it_cuts():
    ring = Ring()
    journaling = Journaling(ring)
    ring.left = 4096
    assert not journaling.has_room(4096) and journaling.has_room(2048)
    ring.left = MIB
    assert journaling.has_room(32 * MIB)  # as much as one record may hold
    assert LEAST > 0


def test_a_replay_says_how_far_it_is_and_a_close_what_it_stores(tmp_path):
    """An operator who waits for a start or a stop sees that it goes on; the last word is none."""
    bench = Bench(tmp_path / "journal")
    for number in range(100):
        bench.volume.write(number * SECTOR, b"x" * SECTOR, False)
    bench.host.settle(bench.volume.flush())
    words = []
    bench.host.environment = attrs.evolve(bench.host.environment, tell=words.append)
    bench.crash()
    assert words == [
        "replaying its journal, 64 of 100 records",
        "replaying its journal, 100 of 100 records",
        "",
    ]
    words.clear()
    bench.volume.write(0, b"y" * MIB, False)
    bench.host.settle(bench.volume.close())
    assert words[0].startswith("storing 1.") and words[0].endswith(" MiB")
    assert "storing its map" in words
    assert words[-1] == ""
