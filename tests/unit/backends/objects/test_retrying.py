"""Retries: what is tried again, how long, and what is known for our own."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from backends.objects.backoff import Attempts, BackOff
from backends.objects.contract import Exists, Garbled, NotFound, Refused, Transient
from backends.objects.memory import BlockingMemoryStore
from backends.objects.retrying import PIECE, RetryingStore
from backends.objects.threaded import ThreadedStore
from tests.contracts.store_contract import StoreLab
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.threads import SyncThreads

DEADLINE = 60.0
LONGEST = 5.0

REQUESTS = {
    "put": lambda store: store.put("new", [b"da", b"ta"], True),
    "get": lambda store: store.get("old", 0, 9),
    "head": lambda store: store.head("old"),
    "list": lambda store: store.list("", ""),
    "delete": lambda store: store.delete(["old"]),
}


class Room:
    """A retrying store over one that fails when told, over memory that makes single attempts."""

    def __init__(self):
        threads = SyncThreads()
        self.clock = Clock()
        self.memory = ThreadedStore(
            BlockingMemoryStore(self.clock), threads.call_in_thread, threads.call_in_thread
        )
        self.faulty = FaultyStore(self.memory)
        self.store = RetryingStore(
            self.faulty, self.clock, random.Random(1), DEADLINE, 0.1, LONGEST
        )
        self.lab = StoreLab(self.store, lambda: self.clock.advance(0.05))
        StoreLab(self.memory).put("old", b"old data")

    @property
    def verbs(self):
        return [call[0] for call in self.faulty.calls]

    def counts(self, verb):
        return attrs.astuple(getattr(self.store.counters, verb))[:5]


@pytest.fixture
def room():
    return Room()


class TestWhatIsTriedAgain:
    @pytest.mark.parametrize("verb", REQUESTS)
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_transient_failures(self, room, verb, when):
        """
        Any request, whether the failed attempt took effect or not.
        """
        room.faulty.fail(verb, Transient("away"), when, times=3)
        room.lab.settle(REQUESTS[verb](room.store))
        if verb == "put":
            assert room.lab.read("new") == b"data"
        else:
            assert room.verbs == [verb] * 4
        if verb == "delete":
            assert room.lab.keys() == []

    def test_garbled_answers_to_gets(self, room):
        """
        The bytes may be right the next time.
        """
        room.faulty.fail("get", Garbled("short"), times=3)
        assert room.lab.settle(room.store.get("old", 0, 9)) == b"old data"
        assert room.verbs == ["get"] * 4

    @pytest.mark.parametrize("verb", REQUESTS)
    @pytest.mark.parametrize("kind", [Refused, NotFound, ZeroDivisionError])
    def test_answers_and_bugs_are_not(self, room, verb, kind):
        """
        Asking again would not help; the failure comes through as it is.
        """
        error = kind("no")
        room.faulty.fail(verb, error)
        with pytest.raises(kind) as caught:
            room.lab.settle(REQUESTS[verb](room.store))
        assert caught.value is error
        assert room.verbs == [verb]

    def test_a_refusal_ends_the_attempts(self, room):
        """
        Whatever went before.
        """
        room.faulty.fail("get", Transient("away"))
        room.faulty.fail("get", Refused("expired"))
        with pytest.raises(Refused, match="^expired$"):
            room.lab.settle(room.store.get("old", 0, 9))


class TestTime:
    @pytest.mark.parametrize("verb", REQUESTS)
    def test_the_last_failure_tells_how_often_and_how_long(self, room, verb):
        """
        At the deadline one more attempt is made, then the failure is raised.
        """
        room.faulty.fail(verb, Transient("away"), times=10_000)
        with pytest.raises(Transient) as caught:
            room.lab.settle(REQUESTS[verb](room.store))
        tries = len(room.faulty.calls)
        assert str(caught.value).startswith(f"away (tried {tries} times in 60.")
        assert DEADLINE <= room.clock.seconds() < DEADLINE + 0.2
        assert not room.clock.getDelayedCalls()

    def test_a_garbled_answer_stays_one(self, room):
        """
        The kind of the last failure is kept.
        """
        room.faulty.fail("get", Garbled("short"), times=10_000)
        with pytest.raises(Garbled, match=r"short \(tried"):
            room.lab.settle(room.store.get("old", 0, 9))

    def test_an_attempt_that_took_all_the_time_was_the_only_one(self, room):
        """
        After the deadline none begins.
        """
        told = room.faulty.hold("get")
        get = room.store.get("old", 0, 9)
        room.clock.advance(DEADLINE + 1)
        told.errback(Transient("timed out"))
        with pytest.raises(Transient, match=r"timed out \(tried once in 61.0 s\)"):
            room.lab.settle(get)

    @given(st.integers(0, 2**32), st.floats(0.001, 2), st.floats(0.5, 30))
    def test_waits_grow_with_full_jitter(self, seed, first, longest):
        """
        The n-th wait is drawn from [0, first * 2**n], never longer than the longest.
        """
        asked = []

        class Recording(random.Random):
            def uniform(self, low, high):
                asked.append((low, high))
                return super().uniform(low, high)

        clock = Clock()
        attempts = Attempts(BackOff(clock, Recording(seed), 1000, first, longest))
        for n in range(20):
            began = clock.seconds()
            pause = Deferred.fromCoroutine(attempts.pause(Transient("away")))
            (due,) = [call.getTime() for call in clock.getDelayedCalls()]
            assert asked[n] == (0, pytest.approx(min(first * 2**n, longest)))
            assert due - began <= asked[n][1] + 1e-9
            clock.advance(due - began + 1e-9)
            assert pause.called

    @given(st.integers(0, 2**32), st.floats(0, 100))
    def test_the_last_attempt_begins_at_the_deadline(self, seed, deadline):
        """
        No wait reaches beyond it, and none ends the attempts before it.
        """
        clock = Clock()
        attempts = Attempts(BackOff(clock, random.Random(seed), deadline, 0.1, LONGEST))
        while True:
            pause = Deferred.fromCoroutine(attempts.pause(Transient("away")))
            if pause.called:
                break
            (due,) = [call.getTime() for call in clock.getDelayedCalls()]
            assert due <= deadline + 1e-9
            clock.advance(due - clock.seconds() + 1e-9)
        pause.addErrback(lambda failure: failure.trap(Transient))
        assert clock.seconds() >= deadline

    def test_requests_wait_each_for_itself(self, room):
        """
        A failing request keeps no other waiting.
        """
        room.faulty.fail("get", Transient("away"), times=5)
        get = room.store.get("old", 0, 9)
        assert not get.called
        assert room.store.head("old").called
        assert room.lab.settle(get) == b"old data"


class TestOurOwn:
    @pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 2 * PIECE + 5])
    def test_an_attempt_that_took_effect_is_known(self, room, size):
        """
        The object is compared in pieces, across the borders of parts.
        """
        data = random.Random(size).randbytes(size)
        parts = [data[:3], memoryview(data)[3 : size // 2], bytearray(data[max(3, size // 2) :])]
        parts = parts if size > 6 else [data]
        room.faulty.fail("put", Transient("away"), "after")
        room.lab.settle(room.store.put("new", parts, True))
        assert room.lab.read("new") == data
        lengths = [call[3] for call in room.faulty.calls if call[0] == "get"][:-1]
        assert sum(lengths) == size
        assert all(length <= PIECE for length in lengths)

    @pytest.mark.parametrize("other", [b"", b"dat", b"data!", b"dato"])
    def test_other_bytes_are_not(self, room, other):
        """
        The failure is the store's own; different sizes are told without reading, other bytes are
        read twice.
        """
        room.lab.settle(room.memory.put("new", [other], True))
        with pytest.raises(Exists, match="new"):
            room.lab.settle(room.store.put("new", [b"data"], True))
        assert room.verbs == ["put", "head", "get", "get"][: 4 if len(other) == 4 else 2]

    @pytest.mark.parametrize("place", [0, PIECE, 2 * PIECE])
    def test_a_difference_anywhere_is_found(self, room, place):
        """
        To the last byte of the last piece.
        """
        data = bytearray(2 * PIECE + 1)
        room.lab.settle(room.memory.put("new", [bytes(data)], True))
        data[place] = 1
        with pytest.raises(Exists):
            room.lab.settle(room.store.put("new", [data], True))

    @pytest.mark.parametrize("wrong", [b"dat", b"datadata", b"dato"])
    def test_one_wrong_answer_does_not_make_it_another_s(self, room, wrong):
        """
        A volume that takes its own object for that of another gateway believes that it was taken
        over, and stops.
        """
        room.faulty.fail("put", Transient("away"), "after")
        answers, right = [succeed(wrong)], room.faulty.get
        room.faulty.get = lambda *args: answers.pop() if answers else right(*args)
        room.lab.settle(room.store.put("new", [b"data"], True))
        assert room.verbs == ["put", "put", "head", "get"]

    def test_the_comparison_is_tried_again(self, room):
        """
        Transient failures of it, and garbled bytes.
        """
        room.faulty.fail("put", Transient("away"), "after")
        room.faulty.fail("head", Transient("away"), times=2)
        room.faulty.fail("get", Transient("away"))
        room.faulty.fail("get", Garbled("short"))
        room.lab.settle(room.store.put("new", [b"data"], True))
        assert room.verbs == ["put"] * 2 + ["head"] * 3 + ["get"] * 3

    def test_a_comparison_that_cannot_be_made_is_not_success(self, room):
        """
        Nor is it `Exists`: at the deadline nobody knows.
        """
        room.faulty.fail("put", Transient("away"), "after")
        room.faulty.fail("head", Transient("still away"), times=10_000)
        with pytest.raises(Transient, match="still away"):
            room.lab.settle(room.store.put("new", [b"data"], True))
        assert room.clock.seconds() < DEADLINE + 0.2

    def test_a_name_that_is_free_again_is_tried_again(self, room):
        """
        Taken when it was to be put, gone when it was to be compared.
        """
        room.lab.settle(room.memory.put("new", [b"four"], True))
        told = room.faulty.hold("get")
        put = room.store.put("new", [b"data"], True)
        room.lab.settle(room.memory.delete(["new"]))
        told.callback(None)
        room.lab.settle(put)
        assert room.lab.read("new") == b"data"
        assert room.verbs[:4] == ["put", "head", "get", "put"]

    def test_without_the_condition_nothing_is_compared(self, room):
        """
        A put that replaces is simply made again.
        """
        room.faulty.fail("put", Transient("away"), "after")
        room.lab.settle(room.store.put("old", [b"data"], False))
        assert room.verbs == ["put", "put"]

    def test_one_of_two_that_race_through_bad_weather_wins(self, room):
        """
        Lost answers make no second winner, and no loser of both.
        """
        room.faulty.fail("put", Transient("away"), "after", times=4)
        answers = room.lab.outcomes(
            [room.store.put("new", [data], True) for data in (b"mine", b"yours", b"hers")]
        )
        assert sorted(map(type, answers), key=str) == [type(None), Exists, Exists]
        winner = answers.index(None)
        assert room.lab.read("new") == [b"mine", b"yours", b"hers"][winner]


class TestClosing:
    def test_a_request_that_waits_fails(self, room):
        """
        With its last failure; nothing is left on the clock.
        """
        room.faulty.fail("get", Transient("away"), times=10)
        get = room.store.get("old", 0, 9)
        room.lab.settle(room.store.close())
        with pytest.raises(Transient, match=r"away \(tried once in 0.0 s, until it was closed\)"):
            room.lab.settle(get)
        assert not room.clock.getDelayedCalls()
        assert room.verbs == ["get", "close"]

    def test_a_request_under_way_ends(self, room):
        """
        Its answer counts; its failure is not tried again.
        """
        first, second = room.faulty.hold("get", "after"), room.faulty.hold("get", "after")
        answered, failed = room.store.get("old", 0, 9), room.store.get("old", 0, 9)
        closing = room.store.close()
        first.callback(None)
        second.errback(Transient("away"))
        room.lab.settle(closing)
        with pytest.raises(Transient, match="until it was closed"):
            room.lab.settle(failed)
        assert room.lab.settle(answered) == b"old data"

    def test_a_request_that_nobody_wants_any_more_stops_waiting(self, room):
        """
        Cancelling takes its wait off the clock.
        """
        room.faulty.fail("get", Transient("away"), times=10)
        get = room.store.get("old", 0, 9)
        get.cancel()
        with pytest.raises(CancelledError):
            room.lab.settle(get)
        assert not room.clock.getDelayedCalls()
        assert room.verbs == ["get"]


class TestCounters:
    def test_every_attempt_counts(self, room):
        """
        Requests, failures, retries, bytes up, bytes down; of those that succeeded the bytes.
        """
        room.faulty.fail("get", Transient("away"), times=2)
        room.lab.settle(room.store.get("old", 0, 3))
        assert room.counts("get") == (3, 2, 2, 0, 3)
        room.faulty.fail("put", Transient("away"), "before")
        room.lab.settle(room.store.put("new", [b"ab", memoryview(b"c")], True))
        assert room.counts("put") == (2, 1, 1, 3, 0)
        room.lab.settle(room.store.list("", ""))
        room.faulty.fail("delete", Refused("no"))
        room.lab.outcomes([room.store.delete(["new"]), room.store.head("none")])
        assert room.counts("list") == (1, 0, 0, 0, 0)
        assert room.counts("delete") == (1, 1, 0, 0, 0)
        assert room.counts("head") == (1, 1, 0, 0, 0)

    def test_a_comparison_counts_as_what_it_is(self, room):
        """
        A head and gets beside the two puts.
        """
        room.faulty.fail("put", Transient("away"), "after")
        room.lab.settle(room.store.put("new", [b"data"], True))
        assert room.counts("put") == (2, 2, 1, 0, 0)
        assert room.counts("head") == (1, 0, 0, 0, 0)
        assert room.counts("get") == (1, 0, 0, 0, 4)
