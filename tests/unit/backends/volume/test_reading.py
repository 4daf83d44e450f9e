"""Reads see the newest of overlay, map and objects, now if nothing has to be fetched."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from gateway.errors import Unavailable
from gateway.info import KIB, MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

SIZE = 1024 * MIB


class Bench:
    """A volume full of data that is stored, nothing of it in memory."""

    def __init__(self, length=0, cache=256 * MIB):
        self.store = HeldStore(MemoryStore(), holds=())
        options = Options(collect=False, upload_delay=1e9, checkpoint_delay=1e9)
        self.host = VolumeHost(store=self.store, options=options, cache=cache)
        self.volume = self.host.new(SIZE)
        self.data = random.Random(1).randbytes(MIB) * (length // MIB)
        for offset in range(0, length, 4 * MIB):
            piece = self.data[offset : offset + 4 * MIB]
            self.host.settle(self.volume.write(offset, piece, False))
        self.again()

    def again(self):
        self.host.settle(self.volume.close())
        self.volume = self.host.again()
        self.reader = self.volume._parts.reader
        self.store.calls.clear()

    def read(self, offset, length):
        return bytes(self.host.settle(self.volume.read(offset, length)))


def outcome(result):
    answers = []
    if isinstance(result, Deferred):
        result.addBoth(answers.append)
    else:
        answers.append(result)
    return answers


def test_what_would_have_to_be_fetched_is_not_read_now():
    bench = Bench(4 * MIB)
    buffer = memoryview(bytearray(4096))
    assert not bench.volume.read_into(MIB + 5, buffer)
    assert bench.read(MIB + 5, 4096) == bench.data[MIB + 5 : MIB + 4101]
    assert bench.volume.read_into(MIB + 5, buffer)
    assert buffer == bench.data[MIB + 5 : MIB + 4101]


def test_what_was_never_written_reads_as_zeroes_now():
    bench = Bench()
    buffer = memoryview(bytearray(b"x" * 8192))
    assert bench.volume.read_into(SIZE - 8192, buffer) and buffer == bytes(8192)
    assert not bench.store.calls


def test_a_read_that_waits_sees_what_was_answered_before_it_and_is_not_torn():
    """Pieces in memory are those of the moment in which it was asked."""
    bench = Bench(4 * MIB)
    bench.read(0, 512)
    bench.volume.write(2 * MIB, b"n" * 512, False)
    bench.store.holds.add("get")
    answers = outcome(bench.volume.read(2 * MIB, 1024))
    assert not answers
    bench.volume.write(2 * MIB, b"o" * 512, False)
    bench.store.answer_all()
    assert bytes(answers[0]) == b"n" * 512 + bench.data[2 * MIB + 512 : 2 * MIB + 1024]


def test_a_failure_reaches_the_reader_when_all_has_ended():
    bench = Bench(16 * MIB)
    bench.read(0, 512)
    bench.read(9 * MIB, 512)
    bench.store.holds.add("get")
    answers = outcome(bench.volume.read(8 * MIB - 4096, 8192))
    assert len(bench.store.held) == 2  # two objects
    bench.store.answer(0, Transient("503"))
    assert not answers
    bench.store.answer(0)
    assert answers[0].check(Unavailable)
    bench.store.holds.clear()
    assert bench.read(8 * MIB - 4096, 8192) == bench.data[8 * MIB - 4096 : 8 * MIB + 4096]


def test_what_a_disk_grew_by_is_read_ahead_too():
    """At once: it need not be opened again."""
    bench = Bench(8 * MIB)
    bench.host.settle(bench.volume.grow(SIZE + 64 * MIB))
    for part in range(64):
        bench.host.settle(bench.volume.write(SIZE + part * MIB, bench.data[:MIB], False))
    bench.host.settle(bench.volume.flush())
    bench.volume.parts.fetcher._memory.drop()
    bench.store.calls.clear()
    for offset in range(SIZE, SIZE + 64 * MIB, MIB):
        bench.host.settle(bench.volume.read(offset, MIB))
        if offset == SIZE + 8 * MIB:
            buffer = memoryview(bytearray(4 * MIB))
            assert bench.volume.read_into(offset + MIB, buffer)
            assert buffer == bench.data[:MIB] * 4


def test_hints_bring_data_into_memory_and_do_not_fail():
    bench = Bench(8 * MIB)
    bench.store.holds.add("get")
    failed = outcome(bench.volume.cache(0, MIB))
    while bench.store.held:
        bench.store.answer(0, Transient("503"))
    assert failed == [None]
    bench.store.holds.clear()
    assert outcome(bench.volume.cache(100, 4 * MIB)) == [None]
    buffer = memoryview(bytearray(4 * MIB))
    assert bench.volume.read_into(0, buffer) and buffer == bench.data[: 4 * MIB]


def test_hints_of_any_length_are_followed_within_reason():
    """A client may ask for the whole disk: no more than a part is fetched, and little at once."""
    bench = Bench(128 * MIB)
    sizes = []
    real = bench.store._store.get

    def get(key, start, length):
        sizes.append(length)
        return real(key, start, length)

    bench.store._store.get = get
    assert outcome(bench.volume.cache(0, SIZE)) == [None]
    assert 64 * MIB <= sum(sizes) < 80 * MIB and max(sizes) <= 9 * MIB


def test_sequential_reads_find_their_data_in_memory():
    bench = Bench(32 * MIB)
    buffer = memoryview(bytearray(64 * KIB))
    missed = 0
    for offset in range(0, 32 * MIB, 64 * KIB):
        if not bench.volume.read_into(offset, buffer):
            missed += 1
            assert bench.read(offset, 64 * KIB) == bench.data[offset : offset + 64 * KIB]
    assert missed < 10


def test_whether_a_range_reads_as_zeroes_is_known_without_its_data():
    bench = Bench(8 * MIB)
    assert not bench.reader.reads_zero(0, 8)  # the map is not there
    bench.read(0, 512)
    assert not bench.reader.reads_zero(0, 8)
    assert bench.reader.reads_zero(16384 + 1, 16384 + 90)
    bench.volume.trim(0, 4096, False)
    assert bench.reader.reads_zero(0, 8) and not bench.reader.reads_zero(0, 9)
    bench.volume.write(512, b"x" * 512, False)
    assert bench.reader.reads_zero(0, 1) and not bench.reader.reads_zero(0, 2)
