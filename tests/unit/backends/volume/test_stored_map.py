"""Parts of the map come once however many need them, and nobody waits for ever."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.environment import Options
from backends.volume.units import PAGE_SECTORS, SECTOR
from backends.volume.values import HOLE, ZERO, data, kind
from gateway.errors import Corrupt, Unavailable
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

SIZE = 1 << 40
PAGE = PAGE_SECTORS * SECTOR
SECTORS = SIZE // SECTOR


class Bench:
    """The map of a volume with data in the first pages, none of it in memory."""

    def __init__(self, pages=4):
        self.store = HeldStore(MemoryStore(), holds=())
        options = Options(collect=False, upload_delay=1e9, checkpoint_delay=1e9)
        self.host = VolumeHost(store=self.store, options=options)
        volume = self.host.new(SIZE)
        for page in range(pages):
            self.host.settle(volume.write(page * PAGE + 4096, b"a" * 512, False))
        self.host.settle(volume.close())
        volume = self.host.again()
        self.volume = volume
        self.stored = volume._parts.stored
        self.store.calls.clear()
        self.store.holds.add("get")

    def ensure(self, start, end):
        answers = []
        Deferred.fromCoroutine(self.stored.ensure(start, end)).addBoth(answers.append)
        return answers


def test_needs_are_joined():
    bench = Bench()
    first, second = bench.ensure(0, 16), bench.ensure(0, 2 * PAGE_SECTORS)
    assert len(bench.store.held) == 1  # the leaf
    bench.store.answer()
    assert len(bench.store.held) == 1  # pages side by side
    bench.store.answer()
    assert first == [None] and second == [None]
    assert not bench.stored.map.needs(0, 2 * PAGE_SECTORS)
    assert bench.ensure(0, 16) == [None]
    assert len(bench.store.calls) == 2


def test_pages_nearby_come_along():
    """Their slices lie side by side: a guest that starts would ask for one after the other."""
    bench = Bench(pages=200)
    answers = bench.ensure(20 * PAGE_SECTORS, 20 * PAGE_SECTORS + 16)
    bench.store.answer_all()
    assert answers == [None] and len(bench.store.calls) == 2
    assert not bench.stored.map.needs(0, 148 * PAGE_SECTORS)
    assert len(bench.stored.map.needs(148 * PAGE_SECTORS, 200 * PAGE_SECTORS)) == 52


def test_what_lies_on_both_sides_comes_along_with_many_pages(monkeypatch):
    """They themselves are not looked at again: a whole disk may be asked for at once."""
    bench = Bench(pages=400)
    looked = []
    needs = bench.stored.map.needs

    def noted(self, start, end, whole=False):
        looked.append((start // PAGE_SECTORS, end // PAGE_SECTORS))
        return needs(start, end, whole)

    monkeypatch.setattr(type(bench.stored.map), "needs", noted)
    answers = bench.ensure(150 * PAGE_SECTORS, 250 * PAGE_SECTORS)
    bench.store.answer_all()
    assert answers == [None]
    asked = (150, 250)
    # for the leaf, for the pages, what is around them, and whether that was all
    assert looked == [asked, asked, (22, 150), (250, 377), asked]
    assert not needs(22 * PAGE_SECTORS, 377 * PAGE_SECTORS)
    assert needs(21 * PAGE_SECTORS, 22 * PAGE_SECTORS)
    assert needs(377 * PAGE_SECTORS, 378 * PAGE_SECTORS)


def test_nothing_comes_along_where_little_is_kept():
    """The page itself does."""
    bench = Bench(pages=20)
    bench.stored.limit = 100
    answers = bench.ensure(5 * PAGE_SECTORS, 5 * PAGE_SECTORS + 16)
    bench.store.answer_all()
    assert answers == [None]
    assert len(bench.stored.map.needs(0, 20 * PAGE_SECTORS)) == 19


def test_a_page_that_came_along_need_not_be_well():
    """What is asked for is got again without it."""
    bench = Bench(pages=20)
    bench.ensure(10 * PAGE_SECTORS, 10 * PAGE_SECTORS + 16)
    bench.store.answer()  # the leaf
    (key,) = bench.store.keys()
    needs = {need.number: need for need in bench.stored.map.needs(0, 20 * PAGE_SECTORS)}
    got = []
    bench.store._store.get(key, 0, 1 << 20).addCallback(got.append)
    body = bytearray(got[0])
    body[needs[3].slices[0].offset + 9] ^= 1
    bench.store._store.put(key, [bytes(body)], False)
    bench.store.answer_all()
    assert not bench.stored.map.needs(10 * PAGE_SECTORS, 10 * PAGE_SECTORS + 16)
    damaged = bench.ensure(3 * PAGE_SECTORS, 3 * PAGE_SECTORS + 16)
    bench.store.answer_all()
    assert damaged[0].check(Corrupt)
    assert not bench.stored._coming


@pytest.mark.parametrize("cut", [False, True])
def test_a_slice_that_came_wrong_once_is_fine(cut):
    """It is got a second time, as data is: a writer that cannot read its map fails for good."""
    bench = Bench(pages=1)  # nothing comes along, without which it would be got again
    answers = bench.ensure(0, 16)
    bench.store.answer()  # the leaf
    (key,) = bench.store.keys()
    got = []
    bench.store._store.get(key, 0, 1 << 20).addCallback(got.append)
    wrong = bytearray(got[0])
    (need,) = bench.stored.map.needs(0, 16)
    at = need.slices[0].offset + 9
    if cut:
        del wrong[at:]
    else:
        wrong[at] ^= 1
    bench.store._store.put(key, [bytes(wrong)], False)
    bench.store.answer()
    bench.store._store.put(key, [got[0]], False)
    assert not answers
    bench.store.answer_all()
    assert answers == [None] and not bench.stored.map.needs(0, 16)


@pytest.mark.parametrize("kind_of_failure", ["away", "gone", "torn", "nonsense"])
def test_a_failure_reaches_all_who_need_it(kind_of_failure, monkeypatch, logged_failures):
    """Also one that nobody expected."""
    bench = Bench()
    first, second = bench.ensure(0, 16), bench.ensure(0, 16)
    key = bench.store.keys()[0]
    expected = Corrupt
    if kind_of_failure == "gone":
        bench.store._store.delete([key])
    elif kind_of_failure == "torn":
        bench.store._store.put(key, [b"torn" * 100], False)
    elif kind_of_failure == "nonsense":

        def supply(need, plains):
            raise ValueError("runs: got nonsense")

        monkeypatch.setattr(type(bench.stored.map), "supply", lambda self, *args: supply(*args))
    for _ in range(4):
        while bench.store.held:
            if kind_of_failure == "away":
                expected = Unavailable
                bench.store.answer(0, Transient("503"))
            else:
                bench.store.answer(0)
    for answers in (first, second):
        assert answers[0].check(expected) and key in str(answers[0].value)
    assert not bench.stored._coming
    logged_failures.take()


def test_a_slice_that_was_superseded_meanwhile_is_not_missed():
    """Whoever waited for it looks again."""
    bench = Bench()
    stored = bench.stored
    answers = bench.ensure(0, 16)
    bench.store.answer()  # the leaf
    (key,) = bench.store.keys()
    bench.store._store.delete([key])
    stored.map.set(0, PAGE_SECTORS, HOLE)
    bench.store.answer()
    assert answers == [None]
    assert stored.map.runs(0, 16) == [(0, 16, HOLE)]


def test_whether_a_range_is_a_hole_or_zero_is_said_without_waiting():
    """What is not known is none."""
    bench = Bench()
    stored = bench.stored
    assert not stored.is_all(0, 8, HOLE) and not stored.reads_zero(0, 8)
    bench.store.holds.clear()
    bench.host.settle(stored.ensure(0, 4 * PAGE_SECTORS))
    assert stored.is_all(0, 8, HOLE) and stored.reads_zero(0, 8)
    assert not stored.is_all(0, 9, HOLE) and not stored.reads_zero(7, 9)
    behind = 4 * PAGE_SECTORS
    assert stored.is_all(behind, SECTORS, HOLE) and stored.reads_zero(behind, SECTORS)
    assert stored.is_all(3 * PAGE_SECTORS + 9, SECTORS, HOLE)
    stored.map.set(SECTORS - 1, SECTORS, ZERO)
    assert not stored.is_all(behind, SECTORS, HOLE) and stored.reads_zero(behind, SECTORS)
    stored.map.set(SECTORS - 2, SECTORS - 1, data(3, 0))
    assert not stored.reads_zero(behind, SECTORS)
    assert kind(stored.map.runs(SECTORS - 1, SECTORS)[0][2]) == ZERO


def test_sources_have_the_names_of_objects():
    bench = Bench(pages=1)
    bench.store.holds.clear()
    bench.host.settle(bench.stored.ensure(0, 16))
    ((_, _, value),) = bench.stored.map.runs(8, 9)
    number = value >> 24 & (1 << 38) - 1
    source = bench.stored.source(number)
    assert bench.stored.source(number) is source and source.volume == 0
    key = bench.volume._parts.lineage.key(source)
    assert bench.host.settle(bench.store.head(key)).size > 512
