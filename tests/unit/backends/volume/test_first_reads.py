"""An object that nobody knows: its header comes once, and what is wanted with it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import Garbled, Transient
from backends.volume.header import Kind
from backends.volume.lineage import Source
from backends.volume.units import FRAME
from gateway.errors import Corrupt, Unavailable
from tests.doubles.one_object import FAR, SLOT, Host, failed_with


def test_frames_at_the_start_come_with_the_header():
    host = Host()
    assert host.read(0, 2) == [[host.frame(0), host.frame(2)]]
    assert host.gets() == 1


@pytest.mark.parametrize("key", [None, bytes(range(32))])
def test_frames_of_an_object_like_the_last_are_got_beside_its_header(key):
    """They wait for one request, not for one after the other"""
    host = Host(holds=["get"], key=key)
    other = Source(0, Kind.DATA, 0, 4)
    host.make(other, host.data)
    host.read(20)
    host.store.answer_all()
    host.store.calls.clear()
    answers = host.read(FAR, source=other)
    assert len(host.store.held) == 2
    host.store.answer_all()
    assert answers == [[host.frame(FAR)]] and host.gets() == 2


def test_what_came_with_the_header_is_not_got_again_while_it_is_opened():
    """Whoever asks meanwhile waits for it."""
    host = Host()
    threads = []

    def in_thread(work, *args):
        threads.append(Deferred())
        return threads[-1].addCallback(lambda _: work(*args))

    host.in_thread = in_thread
    first, second = host.read(*range(8)), host.read(3)
    assert len(threads) == 1 and not first and not second
    threads[0].callback(None)
    assert first == [[host.frame(number) for number in range(8)]]
    assert second == [[host.frame(3)]] and host.gets() == 1


def test_many_frames_are_not_guessed():
    """All who ask for the object meanwhile would wait for them."""
    host = Host(holds=["get"])
    other = Source(0, Kind.DATA, 0, 4)
    host.make(other, host.data)
    host.read(20)
    host.store.answer_all()
    answers = host.read(*range(FAR, FAR + 5), source=other)
    assert len(host.store.held) == 1
    host.store.answer_all()
    assert answers == [[host.frame(FAR + number) for number in range(5)]]


@pytest.mark.parametrize("why", [Transient("503"), Garbled("short")])
def test_a_guess_that_fails_is_nothing_to_those_who_wait(why):
    """What they want is got where the header says that it lies."""
    host = Host(holds=["get"])
    other = Source(0, Kind.DATA, 0, 4)
    host.make(other, host.data[: FAR * FRAME] + bytes(FRAME))
    host.read(20)
    host.store.answer_all()
    answers = host.read(FAR, source=other)
    host.store.answer(0, why)
    host.store.answer_all()
    assert answers == [[bytes(FRAME)]]


@pytest.mark.parametrize("opened", [False, True])
def test_an_object_that_is_missing_is_corrupt(opened, said):
    host = Host()
    if opened:
        host.read(20)
    host.objects.delete([host.lineage.key(SLOT)])
    answers = host.read(FAR)
    assert failed_with(answers, Corrupt) and "missing" in str(answers[0].value)
    assert len(said) == 1 and not host.fetcher.busy


def test_a_damaged_header_is_got_a_second_time_and_fails_all_who_wait(said):
    host = Host(holds=["get"])
    host.damage(20)
    first, second = host.read(1), host.read(FAR)
    host.store.answer_all()
    assert failed_with(first, Corrupt) and failed_with(second, Corrupt)
    assert host.gets() == 2 and len(said) == 1
    assert host.lineage.key(SLOT) in said[0]
    host.damage(20)
    again = host.read(1)
    host.store.answer_all()
    assert again == [[host.frame(1)]]


def test_an_intact_object_in_the_wrong_place_is_corrupt(said):
    host = Host()
    host.objects.put(host.lineage.key(Source(0, Kind.DATA, 0, 4)), [host.body()], False)
    assert failed_with(host.read(0, source=Source(0, Kind.DATA, 0, 4)), Corrupt)


@pytest.mark.parametrize("opened", [False, True])
def test_a_store_that_does_not_answer_is_unavailable_and_nobody_waits_for_ever(opened, said):
    host = Host(holds=["get"])
    if opened:
        host.read(20)
        host.store.answer_all()
    first, second = host.read(FAR), host.read(FAR)
    host.store.answer(0, Transient("503"))
    assert failed_with(first, Unavailable) and failed_with(second, Unavailable)
    third = host.read(FAR)
    host.store.answer_all()
    assert third == [[host.frame(FAR)]] and not said


class Odd(Exception):
    """Made of more than its text, as many that libraries raise."""

    def __init__(self, code, text):
        super().__init__(text)


@pytest.mark.parametrize("opened", [False, True])
def test_whatever_the_store_raises_nobody_waits_for_ever(opened):
    """It is no failure of storage, so it is told as it is: a bug."""
    host = Host(holds=["get"])
    if opened:
        host.read(20)
        host.store.answer_all()
    first, second = host.read(FAR), host.read(FAR, 60)
    while host.store.held:
        host.store.answer(0, Odd(5, "odd"))
    assert failed_with(first, Odd) and failed_with(second, Odd)
    assert not host.fetcher._coming and not host.fetcher._first._waiting and not host.fetcher.busy
    third = host.read(FAR)
    host.store.answer_all()
    assert third == [[host.frame(FAR)]]
