"""An export's share of the threads: a bound, a queue, and a way past it for flushes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.file.in_flight import Entry, InFlight
from backends.file.lanes import WIDTH, Lanes
from tests.doubles.threads import ManualThreads


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=40))
def test_lanes_are_never_wider_and_serve_in_turn(width, steps):
    """
    Whoever enters and leaves: at most so many are on lanes, and in the order they came.
    """
    lanes = Lanes(width)
    begun = []
    entered = left = 0
    for enters in steps:
        if enters:
            lanes.enter(lambda number=entered: begun.append(number))
            entered += 1
        elif len(begun) > left:
            left += 1
            lanes.leave()
        assert begun == list(range(min(entered, left + width)))


def test_one_export_does_not_take_all_threads(bench):
    """
    Of many requests at once eight are in threads; the others follow one by one, in turn.
    """
    for number in range(3 * WIDTH):
        bench.export.write(number * 4096, b"a" * 4096, True)
    assert len(bench.threads.waiting) == WIDTH
    started = WIDTH
    while bench.threads.waiting:
        bench.threads.step(-1)
        started = min(started + 1, 3 * WIDTH)
        assert bench.threads.calls == started
    assert bench.kernel.calls == ["pwritev+dsync"] * 3 * WIDTH


def test_a_flush_needs_no_lane(bench):
    """
    With every lane taken by a disk that hangs, a flush is in a thread of its own.
    """
    bench.export.write(2**19, b"a" * 4096, False)
    for number in range(2 * WIDTH):
        bench.export.write(number * 4096, b"a" * 4096, True)
    flush = bench.export.flush()
    assert len(bench.threads.waiting) == WIDTH + 1
    bench.threads.step(-1)
    assert bench.kernel.calls == ["pwritev+nowait", "pwrite", "fdatasync"]
    # It is answered when what is in the lanes is, not what waits for one.
    while not flush.called:
        bench.threads.step()
    assert bench.kernel.calls.count("pwritev+dsync") == WIDTH


def test_who_waits_for_a_lane_goes_before_who_was_held_up_by_another():
    """
    A lane that is given up goes to those already in line, then to the followers.
    """
    threads = ManualThreads()
    in_flight = InFlight(threads.call_in_thread, 1)
    begun = []

    def ask(name, start):
        entry = Entry(start, start + 1, True)
        earlier = in_flight.overlaps(start, start + 1, True)
        in_flight.run(entry, earlier, lambda: None, lambda _: None, lambda: begun.append(name))

    ask("first", 0)
    ask("follower", 0)
    ask("in line", 5)
    threads.drain()
    assert begun == ["first", "in line", "follower"]


def test_what_waits_for_a_lane_holds_up_what_overlaps_it(bench):
    """
    Not begun is not done: a later write of the same range does not overtake on the reactor.
    """
    for number in range(WIDTH):
        bench.export.write(number * 4096, b"a" * 4096, True)
    bench.export.write(WIDTH * 4096, b"old!", True)
    assert bench.export.write(WIDTH * 4096, b"new!", False) is not None
    assert not bench.export.read_into(WIDTH * 4096, memoryview(bytearray(4)))
    bench.threads.drain()
    assert bench.bytes(WIDTH * 4096, 4) == b"new!"
