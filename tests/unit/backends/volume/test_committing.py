"""Segments reach the log in order, flushes share puts, and nothing is answered too early."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from backends.objects.contract import Exists, Transient
from backends.objects.memory import MemoryStore
from backends.volume.committing import Committer
from backends.volume.condition import Condition
from backends.volume.environment import Environment, Options
from backends.volume.header import Codec, Kind, decode
from backends.volume.names import Names
from backends.volume.processes import Process
from backends.volume.recent import Recent
from backends.volume.sealing import seal
from backends.volume.units import SECTOR, WINDOW
from backends.volume.values import HOLE
from gateway.errors import Closed, Fenced, Unavailable
from gateway.info import KIB
from tests.doubles.held_store import HeldStore

NAMES = Names("volume")
UUID, WRITER = bytes(16), bytes([1] * 16)


class Log:
    """A committer over a store that answers when told."""

    def __init__(self, holds=("put",), call_in_thread=maybeDeferred, **options):
        self.clock = Clock()
        self.objects = MemoryStore()
        self.store = HeldStore(self.objects, holds)
        self.recent = Recent()
        self.condition = Condition()
        self.stored = []
        self.on_stored = lambda segment: None
        self.environment = Environment(
            clock=self.clock,
            random=random.Random(1),
            secret_bytes=bytes,
            wall=lambda: 0,
            call_in_thread=call_in_thread,
            process=Process("here"),
        )
        options.setdefault("object_bytes", 64 * KIB)
        self.committer = Committer(
            self.recent,
            self.store,
            NAMES,
            self.seal,
            self.condition,
            self.environment,
            Options(**options),
            5,
            self.is_stored,
        )

    def seal(self, segment, live):
        segment.gather(live)
        return seal(
            Kind.DATA, UUID, WRITER, 1, segment.slot, segment.lsn, 0, segment.extents,
            segment.plain, Codec.NONE, None,
        )  # fmt: skip

    def is_stored(self, segment, sealed):
        self.stored.append(segment.slot)
        self.on_stored(segment)

    def write(self, sector, fill=b"x", sectors=1):
        self.recent.write(sector, fill * SECTOR * sectors)
        self.committer.touched()

    def fill(self):
        """Write a whole object."""
        self.write(1000, sectors=128)

    def flush(self):
        """What became of it: a list that gets the answer."""
        answers = []
        result = self.committer.flush()
        if isinstance(result, Deferred):
            result.addBoth(answers.append)
        else:
            answers.append(result)
        return answers

    def slots(self):
        """Of puts that are held."""
        return [NAMES.parse_log(key) for key in self.store.keys()]


def failed_with(answers, kind):
    return len(answers) == 1 and getattr(answers[0], "check", lambda _: None)(kind) is kind


def test_a_flush_with_nothing_to_store_is_answered_at_once():
    log = Log()
    assert log.committer.flush() is None and log.committer.idle
    assert not log.clock.getDelayedCalls()


def test_a_flush_is_answered_when_the_put_is():
    log = Log()
    log.write(0)
    answers = log.flush()
    assert log.slots() == [5] and not answers and not log.committer.idle
    log.store.answer()
    assert answers == [None] and log.committer.idle and log.stored == [5]
    assert not log.clock.getDelayedCalls()


def test_everything_that_answers_at_once_is_answered_at_once():
    log = Log(holds=())
    for sector in range(20):
        log.write(sector)
        assert log.flush() == [None]
    assert log.stored == list(range(5, 25)) and log.committer.idle


def test_a_flush_waits_for_all_earlier_slots():
    """Its own put alone proves nothing: a gap ends the log."""
    log = Log()
    log.fill()
    log.write(0)
    answers = log.flush()
    assert log.slots() == [5, 6]
    log.store.answer(1)
    assert not answers and log.stored == []
    log.store.answer(0)
    assert answers == [None] and log.stored == [5, 6]


def test_a_flush_with_an_empty_open_segment_waits_for_the_sealed_ones():
    log = Log()
    log.fill()
    answers = log.flush()
    assert not answers
    log.store.answer()
    assert answers == [None]


def test_at_most_a_window_of_slots_is_under_way():
    log = Log()
    for _ in range(12):
        log.fill()
    assert log.slots() == list(range(5, 5 + WINDOW))
    assert log.committer.next_slot == 17
    log.store.answer(1)  # slot 6: slot 5 still bars the way
    assert len(log.store.held) == WINDOW - 1
    log.store.answer(0)
    assert log.slots()[-2:] == [13, 14]
    log.store.answer_all()
    assert log.stored == list(range(5, 17))


def test_many_flushes_share_two_puts():
    """While two are under way for flushes, later ones gather behind them."""
    log = Log()
    answers = []
    for sector in range(50):
        log.write(sector)
        answers.append(log.flush())
    assert log.slots() == [5, 6]
    log.store.answer(0)
    assert log.slots() == [6, 7]
    assert [len(one) for one in answers] == [1] + [0] * 49
    log.store.answer_all()
    assert all(one == [None] for one in answers) and log.stored == [5, 6, 7]


def test_a_flush_does_not_wait_for_full_segments_before_its_own_is_put():
    log = Log()
    for _ in range(4):
        log.fill()
    log.write(0)
    answers = log.flush()
    assert log.slots() == [5, 6, 7, 8, 9] and not answers


def test_what_came_after_a_flush_does_not_hold_it_up():
    log = Log()
    log.write(0)
    answers = log.flush()
    log.fill()
    log.store.answer(0)
    assert answers == [None] and not log.committer.idle


def test_a_put_that_fails_is_made_again_with_the_same_bytes():
    """Whether it took effect is not known, so nothing else may have the slot."""
    log = Log(upload_delay=100.0)
    log.write(0)
    answers = log.flush()
    for _ in range(3):
        log.store.answer(0, Transient("503"))
        log.write(1, b"y")
        assert not log.store.held
        log.clock.advance(1.0)
        assert log.slots() == [5]
    log.store.answer()
    assert answers == [None]
    bodies = {body for key, body in log.store.bodies if key == NAMES.log(5)}
    assert len(bodies) == 1 and len(log.store.bodies) == 4


def test_a_slot_that_somebody_else_has_ends_the_volume():
    """All who wait hear of it, and so does everybody who asks later."""
    log = Log()
    answers = []
    for sector in range(4):
        log.write(sector)
        answers.append(log.flush())
    log.store.answer(0, Exists("taken"))
    assert all(failed_with(one, Fenced) for one in answers)
    for _ in range(2):
        with pytest.raises(Fenced):
            log.committer.flush()
    log.store.answer_all()
    log.fill()
    log.clock.advance(100)
    assert log.stored == [] and not log.store.held and not log.clock.getDelayedCalls()


def test_a_put_that_is_tried_again_ends_with_the_volume():
    log = Log()
    log.write(0)
    answers = log.flush()
    log.store.answer(0, Transient("503"))
    log.condition.fail(Closed("closed"))
    assert failed_with(answers, Closed)
    log.clock.advance(5)
    assert not log.store.held and not log.clock.getDelayedCalls()


@pytest.mark.parametrize("fails", [True, False])
def test_a_flush_fails_when_its_time_is_over_and_a_later_one_may_succeed(fails):
    """Also when the store says nothing at all; each at its own time."""
    log = Log(flush_deadline=10.0)
    log.write(0)
    first = log.flush()
    log.clock.advance(4)
    second = log.flush()
    if fails:
        log.store.answer(0, Transient("503 slow down"))
    log.clock.advance(5.9)
    assert not first
    log.clock.advance(0.2)
    assert failed_with(first, Unavailable) and not second
    assert ("503" in str(first[0].value)) is fails
    log.clock.advance(4)
    assert failed_with(second, Unavailable)
    third = log.flush()
    log.clock.advance(1)
    log.store.answer_all()
    assert third == [None]
    assert not log.clock.getDelayedCalls()


def test_a_segment_is_sealed_when_it_is_old_enough():
    log = Log(upload_delay=2.0)
    log.write(0)
    log.clock.advance(1.5)
    log.write(1)
    assert not log.store.held
    log.clock.advance(0.5)
    assert log.slots() == [5]
    log.write(2)
    log.clock.advance(2.0)
    assert log.slots() == [5, 6]


def test_a_segment_with_many_changes_is_sealed_before_its_header_is_full():
    """Changes without bytes fill a header too."""
    log = Log(holds=())
    for number in range(5000):
        log.recent.mark(3 * number, 3 * number + 1, HOLE)
        log.committer.touched()
    assert len(log.stored) == 1
    log.flush()
    assert log.stored == [5, 6]


@pytest.mark.parametrize("object_bytes", [8 << 20, 64 << 20])
def test_the_most_scattered_segment_fits_its_header(object_bytes):
    """Every change cuts an earlier one in two; larger objects take fewer changes."""
    log = Log(holds=(), object_bytes=object_bytes, upload_delay=1000)
    log.write(0, sectors=object_bytes // SECTOR // 2)
    step = 0
    while not log.stored:
        log.recent.mark(4 * step + 1, 4 * step + 2, HOLE)
        log.committer.touched()
        step += 1
    assert log.condition.failure is None and step > 1000


def test_a_segment_that_cannot_be_made_ends_the_volume(logged_failures):
    log = Log()
    log.committer._seal_segment = None
    log.write(0)
    answers = log.flush()
    assert failed_with(answers, Unavailable)
    assert logged_failures.take(TypeError)


def test_writes_that_come_of_an_answer_are_stored_as_well():
    """Everything answers at once, and each answer brings the next write."""
    log = Log(holds=())
    left = [20]

    def more(segment):
        if left[0]:
            left[0] -= 1
            log.write(left[0])
            log.committer.seal()

    log.on_stored = more
    log.write(0)
    assert log.flush() == [None]
    assert log.stored == list(range(5, 26)) and log.committer.idle


def test_the_objects_say_slot_and_record():
    log = Log(holds=())
    log.write(0)
    log.recent.open.lsn = 77
    log.flush()
    got = []
    log.objects.get(NAMES.log(5), 0, 1 << 20).addCallback(got.append)
    header = decode(got[0], None, "log", kind=Kind.DATA, volume=UUID, position=5)
    assert header.number == 77 and log.committer.stored_lsn == 77


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["write", "flush", "fill", "time"]),
            st.tuples(st.sampled_from(["answer", "fail"]), st.integers(0, 9)),
        ),
        max_size=60,
    )
)
def test_whatever_the_order_of_answers_a_flush_means_that_all_before_it_is_stored(steps):
    """The log is unbroken up to every answered flush, and at last all is answered."""
    log = Log()
    count = 0
    flushes = []
    for step in steps:
        if step == "write":
            count += 1
            log.write(count)
        elif step == "fill":
            count += 1
            log.fill()
        elif step == "flush":
            touched = log.recent.open.id if log.recent.open.touches else log.recent.open.id - 1
            flushes.append((touched, log.flush()))
        elif step == "time":
            log.clock.advance(1.0)
        elif log.store.held:
            what, number = step
            error = Transient("503") if what == "fail" else None
            log.store.answer(number % len(log.store.held), error)
        assert log.stored == list(range(5, 5 + len(log.stored)))
        assert len(log.store.held) <= WINDOW
        for touched, answers in flushes:
            # Segment ids grow by one with each slot from 1 at slot 5.
            assert bool(answers) == (touched <= len(log.stored))
    for _ in range(10):
        log.store.answer_all()
        log.clock.advance(1.0)
    log.store.answer_all()
    assert all(answers == [None] for _, answers in flushes)


def test_the_log_says_once_why_the_store_takes_nothing(monkeypatch):
    said = []
    monkeypatch.setattr(Logger, "error", lambda self, text, **kind: said.append(text))
    log = Log()
    log.write(0)
    log.committer.seal()
    for _ in range(5):
        log.store.answer(0, Transient("503"))
        log.clock.advance(1.0)
    assert len(said) == 1
