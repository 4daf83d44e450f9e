"""First come, first served, with and without waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from backends.volume.intake import Intake
from gateway.errors import Fenced, Unavailable


class Room:
    """So many changes fit; `wait` is noted."""

    def __init__(self, left=1000):
        self.left = left
        self.waits = []
        self.on_wait = lambda: None
        self.intake = Intake(lambda size: self.left > 0, self._wait)

    def _wait(self, size):
        self.waits.append(size)
        self.on_wait()


def test_without_waiting_a_change_is_made_at_once_and_answers_for_itself():
    """What `apply` returns or raises is what the caller gets, without a Deferred."""
    intake = Room().intake
    assert intake.submit(1, lambda: None) is None

    def refuse():
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        intake.submit(1, refuse)
    assert not intake
    assert intake.submit(1, lambda: None, lambda: None) is None


def test_a_change_without_room_holds_up_those_behind_it():
    room = Room(left=0)
    made = []
    answers = [room.intake.submit(n, lambda n=n: made.append(n)) for n in range(3)]
    assert made == [] and room.waits[0] == 0 and room.intake
    room.left = 5
    room.intake.go_on()
    assert made == [0, 1, 2]
    assert all(answer.called for answer in answers) and not room.intake


def test_room_that_is_made_at_once_is_used_at_once():
    """`wait` may free room before it returns: nobody calls again."""
    room = Room(left=0)
    room.on_wait = lambda: setattr(room, "left", 1) or room.intake.go_on()
    made = []
    answer = room.intake.submit(7, lambda: made.append(7))
    assert made == [7] and answer.called


def test_a_change_is_made_once_though_it_makes_room_itself():
    """A store that answers at once calls `go_on` from inside a change."""
    room = Room(left=0)
    made = []

    def apply(n):
        made.append(n)
        room.intake.go_on()

    for n in range(3):
        room.intake.submit(1, lambda n=n: apply(n))
    room.left = 1
    room.intake.go_on()
    assert made == [0, 1, 2]


def test_a_change_that_comes_while_another_is_made_comes_after_it():
    """Else an earlier write would land on a later one."""
    room = Room()
    order = []

    def outer():
        order.append("begin")
        inner.append(room.intake.submit(1, lambda: order.append("inner")))
        order.append("end")

    inner = []
    assert room.intake.submit(1, outer) is None
    assert order == ["begin", "end", "inner"]
    assert inner[0].called


def test_what_is_being_prepared_holds_up_those_behind_it():
    room = Room()
    ready = Deferred()
    made = []
    first = room.intake.submit(1, lambda: made.append(1), lambda: ready)
    second = room.intake.submit(1, lambda: made.append(2))
    room.intake.go_on()
    assert made == []
    ready.callback(None)
    assert made == [1, 2] and first.called and second.called


@pytest.mark.parametrize("queued", [False, True])
def test_what_cannot_be_prepared_fails_alone(queued):
    room = Room(left=0 if queued else 1)
    ready = Deferred()
    made = []
    first = room.intake.submit(1, lambda: made.append(1), lambda: ready)
    second = room.intake.submit(1, lambda: made.append(2))
    room.left = 1
    room.intake.go_on()
    ready.errback(Unavailable("gone"))
    failures = []
    first.addErrback(failures.append)
    assert failures[0].check(Unavailable)
    assert made == [2] and second.called


def test_a_mistake_in_a_change_does_not_stop_the_others():
    """Anything unexpected goes to the caller, whose log shows it."""
    room = Room(left=0)

    def broken():
        raise ZeroDivisionError

    failures, made = [], []
    room.intake.submit(1, broken).addErrback(failures.append)
    room.intake.submit(1, lambda: None, broken).addErrback(failures.append)
    room.intake.submit(1, lambda: made.append(1))
    room.left = 1
    room.intake.go_on()
    assert [failure.check(ZeroDivisionError) for failure in failures] == [ZeroDivisionError] * 2
    assert made == [1]


def test_a_later_answer_is_passed_on():
    room = Room(left=0)
    later = Deferred()
    answer = room.intake.submit(1, lambda: later)
    room.left = 1
    room.intake.go_on()
    assert not answer.called and not room.intake
    later.callback(None)
    assert answer.called


def test_failing_answers_everybody_and_late_news_do_no_harm():
    room = Room()
    ready = Deferred()
    failures, made = [], []
    room.intake.submit(1, lambda: made.append(1), lambda: ready).addErrback(failures.append)
    room.intake.submit(1, lambda: made.append(2)).addErrback(failures.append)
    room.intake.fail(lambda: Fenced("taken"))
    assert [failure.check(Fenced) for failure in failures] == [Fenced] * 2
    ready.callback(None)
    assert made == [] and not room.intake


@given(
    st.lists(
        st.sampled_from(["plain", "now", "later", "room", "full", "ready", "nested"]), max_size=60
    )
)
def test_changes_take_effect_in_the_order_in_which_they_came(steps):
    """Whatever waits for what: none is lost, none is made twice, none overtakes."""
    room = Room()
    made, preparing, count = [], [], 0

    def later():
        ready = Deferred()
        preparing.append(ready)
        return ready

    def nested(n):
        nonlocal count
        made.append(n)
        count += 1
        room.intake.submit(1, lambda n=count: made.append(n))
        room.intake.go_on()

    for step in steps:
        if step in ("plain", "now", "later", "nested"):
            count += 1
            prepare = {"now": lambda: succeed(None), "later": later}.get(step)
            apply = nested if step == "nested" and not room.intake else made.append
            room.intake.submit(1, lambda n=count, apply=apply: apply(n), prepare)
        elif step == "ready" and preparing:
            preparing.pop(0).callback(None)
        elif step in ("room", "full"):
            room.left = 1000 if step == "room" else 0
            room.intake.go_on()
    room.left = 1000
    room.intake.go_on()
    while preparing:
        preparing.pop(0).callback(None)
    assert made == list(range(1, count + 1))
    assert not room.intake
