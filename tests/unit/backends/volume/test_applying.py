"""Stored segments reach the map in order, and those who wait hear of it."""

from __future__ import annotations

import random

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from backends.volume.units import PAGE_SECTORS, SECTOR
from backends.volume.values import ABSENT, DATA, kind
from gateway.errors import Closed, Corrupt
from gateway.info import MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

SIZE = 4096 * MIB
PAGE = PAGE_SECTORS * SECTOR


class Bench:
    """A volume whose parts are looked at."""

    def __init__(self, pages=0):
        self.store = HeldStore(MemoryStore(), holds=())
        options = Options(collect=False, upload_delay=1e9, checkpoint_delay=1e9)
        self.host = VolumeHost(store=self.store, options=options)
        volume = self.host.new(SIZE)
        if pages:
            for page in range(pages):
                self.host.settle(volume.write(page * PAGE + 4096, b"a" * 512, False))
            self.host.settle(volume.close())
            volume = self.host.again()
        self.attach(volume)

    def attach(self, volume):
        self.volume = volume
        self.parts = volume._parts
        self.store.calls.clear()

    def caught_up(self, slot=1 << 40):
        answers = []
        Deferred.fromCoroutine(self.parts.applier.caught_up(slot)).addBoth(answers.append)
        return answers

    def scatter(self, pages):
        """One segment that changes a part of each page."""
        for page in range(pages):
            assert self.volume.write(page * PAGE, b"b" * 512, False) is None
        self.host.settle(self.volume.flush())


def test_what_was_applied_leaves_the_overlay_and_memory():
    bench = Bench()
    rng = random.Random(1)
    for _ in range(300):
        bench.volume.write(rng.randrange(4096) * 512, b"x" * 512, False)
    bench.volume.write_zeroes(1 * MIB, MIB, False, False, False)
    assert bench.parts.recent.held
    bench.host.settle(bench.volume.flush())
    for _ in range(10):
        bench.host.go_on()
    recent = bench.parts.recent
    assert recent.overlay.runs(0, SIZE // SECTOR) == [(0, SIZE // SECTOR, ABSENT)]
    assert recent.held == 0 and set(recent.segments) == {recent.open.id}
    assert bench.caught_up() == [None]


def test_the_map_for_a_segment_is_fetched_together():
    """Not one page after the other: a segment of random writes touches many."""
    bench = Bench(pages=100)
    bench.store.holds.add("get")
    bench.scatter(100)
    assert len(bench.store.held) == 1  # a leaf
    bench.store.answer()
    assert bench.parts.applier.behind == 1
    rounds = 0
    while bench.parts.applier.behind and rounds < 5:
        for _ in range(len(bench.store.held)):
            bench.store.answer()
        bench.host.go_on()
        rounds += 1
    assert not bench.parts.applier.behind
    sectors = bench.parts.stored.map.runs(0, 1)
    assert kind(sectors[0][2]) == DATA


def test_a_map_that_cannot_be_read_for_now_is_asked_for_again():
    bench = Bench(pages=3)
    bench.store.holds.add("get")
    bench.scatter(3)
    waiting = bench.caught_up()
    for _ in range(4):
        while bench.store.held:
            bench.store.answer(0, Transient("503"))
        bench.host.clock.advance(1.0)
    assert not waiting and bench.parts.condition.failure is None
    for _ in range(100):
        bench.store.answer_all()
        bench.host.go_on()
    assert waiting == [None] and not bench.parts.applier.behind


def test_a_damaged_map_ends_the_volume_and_is_named():
    bench = Bench(pages=3)
    bench.store.holds.add("get")
    bench.scatter(3)
    waiting = bench.caught_up()
    keys = [key for key in bench.store.keys() if "/ck/" in key]
    bench.store._store.delete(keys)
    for _ in range(5):
        bench.store.answer_all()
        bench.host.go_on()
    assert waiting[0].check(Corrupt)
    assert isinstance(bench.parts.condition.failure, Corrupt)
    assert keys[0] in str(bench.parts.condition.failure)


def test_who_waits_hears_of_the_end():
    bench = Bench(pages=3)
    bench.store.holds.add("get")
    bench.scatter(3)
    first, second = bench.caught_up(), bench.caught_up()
    bench.parts.condition.fail(Closed("closed"))
    assert first[0].check(Closed) and second[0].check(Closed)
    with pytest.raises(Closed):
        bench.host.settle(bench.parts.applier.caught_up(1))


def test_who_is_answered_may_end_the_volume():
    """One of several who wait closes it in its own answer."""
    bench = Bench(pages=3)
    bench.store.holds.add("get")
    bench.scatter(3)
    slot = bench.parts.committer.next_slot - 1
    first = Deferred.fromCoroutine(bench.parts.applier.caught_up(slot))
    first.addCallback(lambda _: bench.parts.condition.fail(Closed("closed")))
    second, third = bench.caught_up(slot), bench.caught_up(slot + 5)
    for _ in range(10):
        bench.store.answer_all()
        bench.host.go_on()
    assert second == [None]
    assert third == [None] or third[0].check(Closed)
    assert isinstance(bench.parts.condition.failure, Closed)
