"""Changes of any alignment take effect in order, and wait for room in order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from backends.objects.contract import Exists, Transient
from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from backends.volume.units import SECTOR
from gateway.errors import Fenced, NotFast, Unavailable
from gateway.info import KIB, MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

SIZE = 1 * MIB


class Bench:
    """A volume over a store that answers when told; `writer` and its neighbours laid open."""

    def __init__(self, holds=(), size=SIZE, **options):
        self.store = HeldStore(MemoryStore(), holds=())
        options.setdefault("upload_delay", 1e9)
        options.setdefault("checkpoint_delay", 1e9)
        self.host = VolumeHost(store=self.store, options=Options(collect=False, **options))
        self.volume = self.host.new(size)
        self.parts = self.volume._parts
        self.writer = self.parts.writer
        self.store.bodies.clear()
        self.store.holds.update(holds)

    def read(self, offset, length):
        return bytes(self.host.settle(self.volume.read(offset, length)))

    def objects(self):
        return [key for key, _ in self.store.bodies if "/log/" in key]


def outcome(result):
    answers = []
    if isinstance(result, Deferred):
        result.addBoth(answers.append)
    else:
        answers.append(result)
    return answers


operations = st.lists(
    st.tuples(
        st.sampled_from(["write", "zeroes", "zero", "hole", "trim", "flush", "time", "again"]),
        st.integers(0, 60 * KIB),
        st.one_of(st.integers(0, 700), st.integers(0, 40 * KIB)),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=50, deadline=None)
@given(operations, st.sampled_from([2 * KIB, 32 * KIB]))
def test_reads_see_what_was_written_at_any_alignment(steps, object_bytes):
    """Against a bytearray, with small objects, flushes, time and takeovers in between."""
    bench = Bench(object_bytes=object_bytes, dirty_limit=64 * KIB, upload_delay=0.1)
    volume, host = bench.volume, bench.host
    model = bytearray(128 * KIB)
    for number, (what, offset, length, flag) in enumerate(steps):
        end = offset + length
        if what == "write":
            data = random.Random(number).randbytes(length)
            host.settle(volume.write(offset, memoryview(bytearray(data)), flag))
            model[offset:end] = data
        elif what == "zeroes":
            host.settle(volume.write(offset, bytes(length), flag))
            model[offset:end] = bytes(length)
        elif what in ("zero", "hole"):
            try:
                host.settle(volume.write_zeroes(offset, length, what == "hole", False, flag))
            except NotFast:
                assert flag
            else:
                model[offset:end] = bytes(length)
        elif what == "trim":
            host.settle(volume.trim(offset, length, flag))
            first, last = -(-offset // SECTOR) * SECTOR, end // SECTOR * SECTOR
            if first < last:
                model[first:last] = bytes(last - first)
        elif what == "flush":
            host.settle(volume.flush())
        elif what == "time":
            host.clock.advance(0.2)
        else:
            host.settle(volume.flush())
            volume = host.again()
        assert host.settle(volume.read(offset, length)) == model[offset:end]
        buffer = memoryview(bytearray(length))
        if volume.read_into(offset, buffer):
            assert buffer == model[offset:end]
    assert host.settle(volume.read(0, len(model))) == model
    host.settle(volume.close())
    assert host.settle(host.again().read(0, len(model))) == model


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "write", "zero", "trim", "answer"]),
            st.integers(0, 6 * KIB),
            st.integers(1, 3 * KIB),
        ),
        max_size=30,
    )
)
def test_changes_that_wait_land_in_the_order_in_which_they_were_handed_in(steps):
    """Room is short and edges have to be fetched, and still the last one counts."""
    bench = Bench(dirty_limit=4 * KIB, object_bytes=2 * KIB)
    first = random.Random(9).randbytes(16 * KIB)
    bench.host.settle(bench.volume.write(0, first, True))
    bench.volume = bench.host.again()
    model = bytearray(first)
    bench.store.holds.update(["put", "get"])
    answers = []
    for number, (what, offset, length) in enumerate(steps):
        if what == "answer":
            if bench.store.held:
                bench.store.answer(length % len(bench.store.held))
            continue
        if what == "write":
            data = random.Random(number).randbytes(length)
            answers.append(outcome(bench.volume.write(offset, data, False)))
            model[offset : offset + length] = data
        elif what == "zero":
            answers.append(outcome(bench.volume.write_zeroes(offset, length, True, False, False)))
            model[offset : offset + length] = bytes(length)
        else:
            answers.append(outcome(bench.volume.trim(offset, length, False)))
            low, high = -(-offset // SECTOR) * SECTOR, (offset + length) // SECTOR * SECTOR
            model[low:high] = bytes(max(high - low, 0))
    bench.store.holds.clear()
    for _ in range(100):
        bench.store.answer_all()
        bench.host.clock.advance(0.05)
    assert all(one == [None] for one in answers)
    assert bench.read(0, len(model)) == model


def test_writers_wait_while_too_much_is_in_memory():
    """They go on by themselves, in order, when the store has taken it."""
    bench = Bench(holds=["put"], dirty_limit=64 * KIB, object_bytes=32 * KIB)
    answers = [
        outcome(bench.volume.write(n * 16 * KIB, bytes([n + 1]) * 16 * KIB, False))
        for n in range(16)
    ]
    taken = sum(len(one) for one in answers)
    assert 3 <= taken <= 5
    bench.store.answer_all()
    for _ in range(50):
        bench.host.go_on()
        bench.store.answer_all()
    assert all(one == [None] for one in answers)
    for n in range(16):
        assert bench.read(n * 16 * KIB, 512) == bytes([n + 1]) * 512


def test_changes_without_bytes_are_bounded_too():
    """A store that hangs does not let trims eat the memory."""
    bench = Bench(holds=["put"], dirty_limit=64 * KIB, size=64 * MIB)
    answers = [
        outcome(bench.volume.write_zeroes(2 * n * SECTOR, SECTOR, False, False, False))
        for n in range(2000)
    ]
    taken = sum(len(one) for one in answers)
    assert taken < 1000
    for _ in range(50):
        bench.store.answer_all()
        bench.host.go_on()
    assert all(one == [None] for one in answers)
    assert bench.parts.recent.held < 64 * KIB


def test_a_patchy_write_of_any_size_is_stored():
    """Blocks of data and of zeroes in turn: more pieces than a header has room for."""
    bench = Bench(size=64 * MIB)
    bench.host.settle(bench.volume.write(0, b"\xff" * (32 * MIB), False))
    patchy = (b"x" * 4096 + bytes(4096)) * 4096
    for _ in range(2):
        bench.host.settle(bench.volume.write(0, patchy, False))
    bench.host.settle(bench.volume.flush())
    assert bench.parts.condition.failure is None
    assert bench.read(0, 32 * MIB) == patchy
    bench.host.settle(bench.volume.close())
    again = bench.host.again()
    assert bytes(bench.host.settle(again.read(0, 32 * MIB))) == patchy


def test_zeroes_that_change_nothing_make_no_object():
    bench = Bench()
    bench.volume.write(0, bytes(64 * KIB), False)
    bench.volume.write_zeroes(0, SIZE, True, False, False)
    assert bench.volume.flush() is None and not bench.objects()
    bench.volume.write_zeroes(0, SIZE, False, False, False)
    bench.host.settle(bench.volume.flush())
    bench.volume.write(4096, bytes(64 * KIB), False)
    assert bench.volume.flush() is None and len(bench.objects()) == 1


def test_blocks_of_zeroes_cost_no_bytes():
    bench = Bench()
    bench.volume.write(0, b"x" * 4096 + bytes(256 * KIB) + b"y" * 4096, False)
    assert bench.parts.recent.open.taken == 8192


def test_the_callers_buffer_is_free_after_the_answer():
    bench = Bench()
    for offset in (0, 8192 + 3):
        payload = bytearray(b"a" * 3000)
        bench.host.settle(bench.volume.write(offset, memoryview(payload), False))
        payload[:] = b"b" * 3000
        assert bench.read(offset, 3000) == b"a" * 3000


def test_what_cannot_be_read_fails_the_write_that_needs_it_and_no_other():
    bench = Bench()
    bench.host.settle(bench.volume.write(0, b"a" * 8192, True))
    bench.volume = bench.host.again()
    for _ in range(100):
        bench.host.go_on()
    bench.store.holds.add("get")
    patch = outcome(bench.volume.write(100, b"x", False))
    behind = outcome(bench.volume.write(4096, b"y" * 512, False))
    assert not patch and not behind
    bench.store.answer(0, Transient("503"))
    assert patch[0].check(Unavailable) and behind == [None]
    bench.store.holds.clear()
    bench.store.answer_all()
    assert bench.read(0, 512) == b"a" * 512 and bench.read(4096, 512) == b"y" * 512


def test_a_volume_that_was_taken_over_answers_everything_that_waits():
    bench = Bench(holds=["put"], dirty_limit=16 * KIB, object_bytes=16 * KIB)
    taken = outcome(bench.volume.write(0, b"x" * 16 * KIB, False))
    waiting = outcome(bench.volume.write(0, b"y" * 16 * KIB, False))
    durable = outcome(bench.volume.write(8, b"z", True))
    flush = outcome(bench.volume.flush())
    assert taken == [None] and not waiting and not durable and not flush
    bench.store.answer(0, Exists("taken"))
    for answers in (waiting, durable, flush):
        assert answers[0].check(Fenced)
    for call in (
        lambda: bench.volume.write(0, b"x" * 512, False),
        lambda: bench.volume.trim(0, 512, False),
        lambda: bench.volume.write_zeroes(0, 512, True, False, True),
        bench.volume.flush,
    ):
        with pytest.raises(Fenced):
            call()
    bench.host.clock.advance(100)


def test_a_write_that_waits_for_the_store_is_answered_once_it_is_durable():
    bench = Bench(holds=["put"])
    answers = outcome(bench.volume.write(0, b"x" * 512, True))
    assert not answers and bench.read(0, 512) == b"x" * 512
    bench.store.answer_all()
    assert answers == [None]
