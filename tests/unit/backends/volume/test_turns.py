"""Taking turns, and doing many things at once but not too many."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed

from backends.volume.turns import Turn, each


def start(coroutine):
    answers = []
    Deferred.fromCoroutine(coroutine).addBoth(answers.append)
    return answers


def test_whoever_asks_first_is_first():
    turn, order, told = Turn(), [], [Deferred() for _ in range(3)]

    async def work(number):
        async with turn:
            order.append(number)
            await told[number]

    answers = [start(work(number)) for number in range(3)]
    assert order == [0]
    told[1].callback(None)
    told[0].callback(None)
    assert order == [0, 1, 2] and answers[:2] == [[None], [None]] and not answers[2]
    told[2].callback(None)


def test_a_failure_gives_the_turn_away():
    turn = Turn()

    async def fail():
        async with turn:
            raise ZeroDivisionError

    assert start(fail())[0].check(ZeroDivisionError)
    assert start(fail())[0].check(ZeroDivisionError)


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_results_come_in_order_with_a_limit_under_way(limit):
    told = {}

    async def do(item):
        told[item] = Deferred()
        return await told[item]

    answers = start(each(range(10), do, limit))
    for item in range(10):
        assert len(told) <= item + limit
        told[item].callback(item * item)
    assert answers == [[item * item for item in range(10)]]


def test_the_first_failure_is_raised_when_what_had_begun_has_ended():
    told = {}

    def do(item):
        told[item] = Deferred()
        return told[item]

    answers = start(each(range(9), do, 3))
    told[1].errback(ZeroDivisionError())
    assert not answers and len(told) == 3
    told[0].callback(None)
    told[2].callback(None)
    assert answers[0].check(ZeroDivisionError) and len(told) == 3


def test_nothing_and_very_much_to_do():
    assert start(each([], succeed, 3)) == [[]]
    assert start(each(range(5000), succeed, 3)) == [list(range(5000))]
