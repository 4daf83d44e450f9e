"""What a request waited for, as storage tells it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from gateway.stages import Stages, Told, current, note, stage, stages_of, told


def test_stages_add_up_and_the_longest_comes_first() -> None:
    """What goes on still counts up to now."""
    clock = Clock()
    stages = Stages(clock.seconds)
    stages.begin("order")
    clock.advance(1)
    stages.end("order")
    stages.begin("store")
    clock.advance(2)
    stages.end("store")
    stages.begin("store")
    clock.advance(3)
    assert list(stages.spent().items()) == [("store", 5.0), ("order", 1.0)]


def test_a_stage_that_goes_on_several_times_at_once_counts_once() -> None:
    """Three fetches of one second beside each other are one second."""
    clock = Clock()
    stages = Stages(clock.seconds)
    for _ in range(3):
        stages.begin("store")
    clock.advance(1)
    stages.end("store")
    stages.end("store")
    clock.advance(1)
    stages.end("store")
    stages.end("store")
    clock.advance(9)
    assert stages.spent() == {"store": 2.0}


def test_work_of_others_is_taken_over_with_its_notes() -> None:
    """Retries add up, ids are those of the last."""
    mine, theirs = Stages(), Stages()
    mine.notes.update(retries=1, s3_request_id="a")
    theirs.add("seal", 2.0)
    theirs.notes.update(retries=2, s3_request_id="b")
    mine.absorb(theirs)
    assert mine.spent() == {"seal": 2.0}
    assert mine.notes == {"retries": 3, "s3_request_id": "b"}


def test_what_runs_for_a_request_tells_it_and_nobody_else() -> None:
    """Also behind a wait, and in coroutines that it begins; two at once are kept apart."""
    first: Deferred[None] = Deferred()
    second: Deferred[None] = Deferred()

    async def inner(wait: Deferred[None], name: str) -> None:
        await wait
        note("s3_request_id", name)

    async def work(wait: Deferred[None], name: str) -> str:
        with stage(name):
            await Deferred.fromCoroutine(inner(wait, name))
        return name

    one, two = told(work(first, "one")), told(work(second, "two"))
    assert current() is None
    second.callback(None)
    first.callback(None)
    results: list[str] = []
    one.addCallback(results.append)
    two.addCallback(results.append)
    assert results == ["one", "two"]
    assert (list(one.stages.spent()), one.stages.notes) == (["one"], {"s3_request_id": "one"})
    assert (list(two.stages.spent()), two.stages.notes) == (["two"], {"s3_request_id": "two"})
    assert current() is None


def test_a_part_of_a_request_tells_the_whole() -> None:
    """A chunk of a long read, or the flush of a durable write."""
    parts: list[Told[None]] = []

    async def part() -> None:
        await succeed(None)

    async def whole() -> None:
        parts.append(told(part()))
        parts.append(Told())

    answer = told(whole())
    assert [each.stages for each in parts] == [answer.stages] * 2


def test_what_an_answer_brings_about_is_no_part_of_its_request() -> None:
    """The client's next request is begun from inside of the answer to the last."""
    begun: list[object] = []
    wait: Deferred[None] = Deferred()

    async def work() -> None:
        await wait

    async def shared_work() -> None:
        wait.callback(None)

    async def fails() -> None:
        raise ValueError

    first, beside = told(work()), Told[None]()
    first.addCallback(lambda _: begun.append(current()))
    told(shared_work())
    with Stages().told_of():
        beside.addErrback(lambda _: begun.append(current()))
        beside.errback(ValueError())
        told(fails()).addErrback(lambda _: begun.append(current()))
        assert current() is not None
    # The last was there before anybody asked for it.
    assert begun[:2] == [None, None]


def test_nobody_is_told_where_nobody_asked() -> None:
    """Work in the background has no request."""
    note("s3_request_id", "a")
    with stage("store"):
        assert current() is None
    assert stages_of(Deferred()) is None
    assert stages_of(None) is None


def test_failures_and_cancellation_pass_through() -> None:
    """An answer that tells is an answer."""

    async def fails() -> None:
        raise ValueError("no")

    answer = told(fails())
    with pytest.raises(ValueError, match="no"):
        answer.addErrback(lambda failure: failure.value)
        answer.addCallback(_raise)
        _result(answer)

    async def waits() -> None:
        await Deferred()

    cancelled = told(waits())
    cancelled.cancel()
    kinds: list[type] = []
    cancelled.addErrback(lambda failure: kinds.append(failure.type))
    assert kinds == [CancelledError]


def _raise(error: Exception) -> None:
    raise error


def _result(answer: Deferred[None]) -> None:
    failures: list[BaseException] = []
    answer.addErrback(lambda failure: failures.append(failure.value))
    raise failures[0]
