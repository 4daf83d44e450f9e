"""The order of overlapping requests of the file export."""

from __future__ import annotations

import errno
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.file.in_flight import Entry, InFlight
from tests.doubles.threads import ManualThreads

ranges = st.tuples(st.integers(0, 20), st.integers(1, 10), st.booleans())


@given(st.lists(ranges, max_size=12), st.data())
def test_overlapping_requests_run_in_the_order_they_came(requests, data):
    """
    Whatever order threads finish in: of two requests that overlap, one of them a change,
    the first is done before the second begins; others run at once.
    """
    threads = ManualThreads()
    in_flight = InFlight(threads.call_in_thread, len(requests))
    log = []
    answers = []
    for number, (start, length, changes) in enumerate(requests):
        entry = Entry(start, start + length, changes)
        answers.append(
            in_flight.run(
                entry,
                in_flight.overlaps(entry.start, entry.end, changes),
                lambda: None,
                lambda _, number=number: log.append(("done", number)),
                lambda number=number: log.append(("begun", number)),
            )
        )
    idle = []
    in_flight.when_idle(lambda: idle.append(len(log)))
    while threads.waiting:
        threads.step(data.draw(st.integers(0, len(threads.waiting) - 1)))
    assert all(answer.called for answer in answers)
    assert idle == [2 * len(requests)]
    begun_at_once = [number for what, number in log[: len(requests)] if what == "begun"]
    for later, (start, length, changes) in enumerate(requests):
        waits = False
        for earlier, (other_start, other_length, other_changes) in enumerate(requests[:later]):
            overlap = start < other_start + other_length and other_start < start + length
            if overlap and (changes or other_changes):
                waits = True
                assert log.index(("done", earlier)) < log.index(("begun", later))
        assert waits or later in begun_at_once


def test_a_failure_lets_the_next_one_begin(bench):
    """
    A request that fails does not hold up those that waited for it.
    """
    bench.kernel.answers["pwritev+dsync"] = [errno.EIO]
    first = bench.export.write(0, b"a" * 4096, True)
    second = bench.export.write(0, b"b" * 4096, False)
    bench.threads.drain()
    with pytest.raises(Exception, match="write at 0"):
        bench.wait(first)
    bench.wait(second)
    assert bench.bytes(0, 4096) == b"b" * 4096


def test_payloads_are_let_go_when_they_are_answered(bench):
    """
    No cycle keeps a payload until the garbage collector comes by.
    """

    class Payload(bytearray):
        pass

    gc.disable()
    try:
        payloads = [Payload(4096) for _ in range(3)]
        watched = [weakref.ref(payload) for payload in payloads]
        for payload in payloads:
            bench.export.write(0, payload, True)
        del payload, payloads
        bench.threads.drain()
        assert [watch() for watch in watched] == [None] * 3
    finally:
        gc.enable()


def test_an_old_durable_write_does_not_land_on_a_newer_one(bench):
    """
    A write still in a thread, of a client that went away, is under what came after it.
    """
    old = bench.export.write(0, b"old!" * 1024, True)
    new = bench.export.write(0, b"new!" * 1024, False)
    assert new is not None
    bench.threads.drain()
    assert old.called
    bench.wait(new)
    assert bench.bytes(0, 8) == b"new!new!"


def test_zeroing_in_a_thread_does_not_land_on_a_newer_write(bench):
    """
    Late zeroes never erase what was written after they were asked for.
    """
    bench.export.write(0, b"a" * 8192, False)
    bench.export.write_zeroes(0, 8192, True, False, False)
    new = bench.export.write(4096, b"b" * 10, False)
    bench.threads.drain()
    bench.wait(new)
    assert bench.bytes(4095, 12) == b"\0" + b"b" * 10 + b"\0"
    assert bench.extents(0, 8192) == [(4096, 3), (10, 0), (4086, 3)]


def test_a_read_now_is_refused_while_its_range_is_being_changed(bench):
    """
    What a thread is writing is not read half-way; elsewhere reading goes on.
    """
    bench.export.write(0, b"a" * 16384, False)
    bench.export.write(4096, b"b" * 4096, True)
    assert not bench.export.read_into(8191, memoryview(bytearray(1)))
    assert bench.export.read_into(8192, memoryview(bytearray(1)))
    assert bench.bytes(4096, 4096) == b"b" * 4096
