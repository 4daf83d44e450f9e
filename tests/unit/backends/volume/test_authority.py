"""The chain of superblocks: one owner, who notices when it is somebody else."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.authority import Authority
from backends.volume.claiming import claim
from backends.volume.condition import Condition
from backends.volume.creating import create
from backends.volume.names import Names
from backends.volume.superblocks import is_highest, newest, unlock
from gateway.errors import Closed, Corrupt, ExportUnavailable, Fenced, Unavailable
from gateway.info import MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

NAMES = Names("volume")


class Bench:
    """A volume of which only the superblocks are looked at."""

    def __init__(self):
        self.objects = MemoryStore()
        self.store = HeldStore(self.objects, holds=())
        self.host = VolumeHost(store=self.store)
        self.run(create(self.store, "volume", MIB, self.host.environment))
        self.condition = Condition()
        self.authority = self.take_over(self.condition)

    def take_over(self, condition):
        environment = self.host.environment
        superblock, _ = self.run(claim(self.store, NAMES, environment, None, None, False))
        return Authority(self.store, NAMES, None, superblock, condition, environment)

    def start(self, coroutine):
        answers = []
        Deferred.fromCoroutine(coroutine).addBoth(answers.append)
        return answers

    def run(self, coroutine):
        (answer,) = self.start(coroutine)
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer


def test_advancing_puts_the_next_generation():
    bench = Bench()
    bench.run(bench.authority.advance(description="new"))
    assert bench.authority.superblock.generation == 3
    found = bench.run(newest(bench.store, NAMES)).superblock
    assert (found.generation, found.description) == (3, "new")
    assert bench.authority.outdated() == [NAMES.sb(1)]
    bench.run(bench.authority.confirm())


def test_advances_take_turns():
    bench = Bench()
    bench.store.holds.add("put")
    first = bench.start(bench.authority.advance(description="one"))
    second = bench.start(bench.authority.advance(state="closed"))
    assert bench.store.keys() == [NAMES.sb(3)]
    bench.store.answer_all()
    assert first == [None] and second == [None]
    newest_one = bench.authority.superblock
    assert (newest_one.generation, newest_one.description, newest_one.state) == (4, "one", "closed")


def test_a_generation_that_is_taken_ends_the_volume():
    bench = Bench()
    bench.take_over(Condition())
    with pytest.raises(Fenced):
        bench.run(bench.authority.advance())
    assert isinstance(bench.condition.failure, Fenced)


def test_a_generation_that_was_deleted_since_does_not_make_an_owner():
    bench = Bench()
    other = bench.take_over(Condition())
    bench.run(other.advance())
    bench.objects.delete([NAMES.sb(3)])
    with pytest.raises(Fenced):
        bench.run(bench.authority.advance())
    assert bench.authority.superblock.generation == 2


def test_who_asks_whether_it_still_owns_the_volume_is_told():
    bench = Bench()
    bench.take_over(Condition())
    with pytest.raises(Fenced):
        bench.run(bench.authority.confirm())
    assert isinstance(bench.condition.failure, Fenced)


@pytest.mark.parametrize("verb", ["put", "list"])
def test_advancing_is_tried_until_it_is_known(verb):
    bench = Bench()
    bench.store.holds.add(verb)
    answers = bench.start(bench.authority.advance())
    for _ in range(3):
        bench.store.answer(0, Transient("503"))
        bench.host.clock.advance(1.0)
    assert not answers
    bench.store.answer_all()
    assert answers == [None] and bench.authority.superblock.generation == 3
    bodies = {body for key, body in bench.store.bodies if key == NAMES.sb(3)}
    assert len(bodies) == 1


def test_trying_ends_with_the_volume():
    bench = Bench()
    bench.store.holds.add("put")
    answers = bench.start(bench.authority.advance())
    bench.store.answer(0, Transient("503"))
    bench.condition.fail(Closed("closed"))
    bench.host.clock.advance(1.0)
    assert answers[0].check(Closed) and not bench.store.held


def test_a_store_that_does_not_answer_proves_nothing():
    bench = Bench()
    bench.store.holds.add("list")
    answers = bench.start(bench.authority.confirm())
    bench.store.answer(0, Transient("503"))
    assert answers[0].check(Unavailable) and bench.condition.failure is None


def test_the_newest_superblock_may_go_while_it_is_looked_for():
    bench = Bench()
    assert bench.run(newest(bench.store, Names("other"))) is None
    bench.store.holds.add("get")
    answers = bench.start(newest(bench.store, NAMES))
    bench.run(bench.authority.advance())
    bench.objects.delete([NAMES.sb(2)])
    bench.store.answer_all()
    assert answers[0].superblock.generation == 3
    assert bench.run(is_highest(bench.store, NAMES, 3))
    assert not bench.run(is_highest(bench.store, NAMES, 2))


def test_a_damaged_superblock_is_not_passed_over_for_an_older_one():
    bench = Bench()
    bench.objects.put(NAMES.sb(9), [b"torn" * 50], True)
    with pytest.raises(Corrupt, match=NAMES.sb(9)):
        bench.run(newest(bench.store, NAMES))


def test_keys_are_asked_for_when_they_are_needed():
    host = VolumeHost(key=bytes(32))
    run = host.settle
    run(create(host.store, "volume", MIB, host.environment, source=host._source))
    found = run(newest(host.store, NAMES))
    assert unlock(found, NAMES, host._source).own.crypt is not None
    with pytest.raises(ExportUnavailable, match="encrypted"):
        unlock(found, NAMES, None)
    bench = Bench()
    with pytest.raises(ExportUnavailable, match="not encrypted"):
        unlock(bench.run(newest(bench.store, NAMES)), NAMES, host._source)
