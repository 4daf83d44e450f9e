"""What an open volume tells of itself."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from backends.objects.contract import Exists, NotFound
from backends.objects.counting import CountingStore
from backends.objects.memory import MemoryStore
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.measures import VolumeMeasures
from gateway import measures as m
from gateway.errors import Closed, Fenced, Unavailable
from gateway.info import MIB
from gateway.measures import IMeasured
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

SIZE = 64 * MIB


class Lab:
    """A volume of 64 MiB whose store answers when the test says so."""

    def __init__(self):
        self.store = HeldStore(MemoryStore(), ())
        self.host = VolumeHost(store=self.store)
        self.volume = self.host.new(SIZE)
        self.told = VolumeMeasures(
            CountingStore(MemoryStore()), FrameCache(FrameMemory(MIB)), None, self.volume.parts
        )

    def value(self, measure, *labels):
        """As it is now."""
        (found,) = [
            sample.value
            for sample in self.told.measures()
            if (sample.measure, sample.labels) == (measure, labels)
        ]
        return found


@pytest.fixture
def lab():
    return Lab()


def test_it_is_what_the_law_says(lab):
    """
    Every method with its arguments, and nothing beside the vocabulary.
    """
    assert verifyObject(IMeasured, lab.told)
    samples = list(lab.told.measures())
    assert {sample.measure for sample in samples} <= {*m.STORAGE}
    assert len({(sample.measure, sample.labels) for sample in samples}) == len(samples)
    for sample in samples:
        assert len(sample.labels) == len(sample.measure.labels) - 1
        for label, value in zip(sample.measure.labels[1:], sample.labels, strict=True):
            assert value in m.LABELS[label]


def test_the_oldest_change_that_is_not_stored_has_an_age(lab):
    """
    It is what is lost with the machine: the alert to begin with.
    """
    assert lab.value(m.VOLUME_OLDEST_DIRTY) == 0
    lab.store.holds.add("put")
    lab.volume.write(0, b"x" * 4096, False)
    lab.host.clock.advance(1.0)
    lab.volume.write(MIB, b"y" * 4096, False)
    assert lab.value(m.VOLUME_OLDEST_DIRTY) == 1.0
    assert lab.value(m.VOLUME_DIRTY) >= 8192
    flushed = lab.volume.flush()
    lab.host.clock.advance(4.0)
    assert lab.value(m.VOLUME_OLDEST_DIRTY) == 5.0
    assert lab.value(m.LAST_FLUSH) == 0
    lab.store.holds.clear()
    lab.store.answer_all()
    lab.host.settle(flushed)
    assert lab.value(m.VOLUME_OLDEST_DIRTY) == 0
    assert lab.value(m.LAST_FLUSH) > 0


def test_zeroes_that_cost_nothing_are_counted(lab):
    """
    Written ones and such as were asked for.
    """
    lab.volume.write(0, bytes(65536), False)
    lab.volume.write_zeroes(MIB, MIB, True, False, True)
    assert lab.value(m.ZERO_AVOIDED) == 65536 + MIB


def test_what_is_dead_and_what_of_it_can_be_freed(lab):
    """
    What a snapshot needs is dead for the disk, and not for the collector.
    """
    half = [(number * 65536, b"x" * 65536) for number in range(16)]
    for offset, data in half:
        lab.volume.write(offset, data, False)
    lab.host.settle(lab.volume.checkpoint())
    assert (lab.value(m.VOLUME_LIVE), lab.value(m.VOLUME_DEAD)) == (MIB, 0)
    lab.host.settle(lab.volume.snapshots.take("monday"))
    for offset, _ in half[:8]:
        lab.volume.write(offset, b"y" * 65536, False)
    lab.host.settle(lab.volume.checkpoint())
    assert (lab.value(m.VOLUME_LIVE), lab.value(m.VOLUME_DEAD)) == (MIB, MIB // 2)
    assert lab.value(m.GC_BACKLOG) == 0
    assert lab.value(m.GC_RUNS, "emptied") == 0
    idle = lab.value(m.GC_RUNS, "nothing_to_do")
    assert idle > 0
    for offset, _ in half[:6]:
        lab.volume.write(offset, b"z" * 65536, False)
    lab.host.settle(lab.volume.checkpoint())
    lab.host.settle(lab.volume.collect())
    assert lab.value(m.GC_RUNS, "emptied") == 1
    assert lab.value(m.GC_BACKLOG) == 0
    assert lab.value(m.GC_MOVED) == MIB // 8


def test_a_round_that_fails_is_counted_and_leaves_its_backlog(lab):
    """
    A collector that cannot work is seen, by what it does not free.
    """
    lab.volume.write(0, b"x" * MIB, False)
    lab.host.settle(lab.volume.checkpoint())
    assert lab.value(m.GC_BACKLOG) == 0
    lab.volume.write(0, b"y" * (MIB - 4096), False)
    lab.host.settle(lab.volume.flush())
    lab.volume.parts.fetcher.header = refusing
    lab.host.settle(lab.volume.checkpoint())
    assert lab.value(m.GC_RUNS, "failed") == 1
    assert lab.value(m.GC_BACKLOG) == MIB - 4096


async def refusing(source):
    """In the place of a store that is away."""
    raise Unavailable("away")


def test_the_map_tells_how_large_it_is(lab):
    """
    Each extent is one, and memory follows.
    """
    before = lab.value(m.MAP_MEMORY)
    for number in range(8):
        lab.volume.write(2 * number * 4096, b"x" * 4096, False)
    lab.host.settle(lab.volume.checkpoint())
    assert lab.value(m.MAP_EXTENTS) == 16
    assert lab.value(m.MAP_MEMORY) > before


@pytest.mark.parametrize(
    ("failure", "fenced", "failed", "trouble"),
    [
        (None, 0, 0, None),
        (Fenced("another has it"), 1, 1, "another has it"),
        (Unavailable("gone"), 0, 1, "gone"),
        (Closed("closed"), 0, 0, None),
    ],
)
def test_trouble_is_told(lab, failure, fenced, failed, trouble):
    """
    Being closed is none.
    """
    if failure is not None:
        lab.volume.parts.condition.fail(failure)
    assert (lab.value(m.VOLUME_FENCED), lab.value(m.VOLUME_FAILED)) == (fenced, failed)
    assert lab.told.trouble() == trouble


def test_requests_are_told_by_outcome_and_timed():
    """
    Each attempt is money; a name that is taken is a conflict.
    """
    now = [0.0]
    store = HeldStore(MemoryStore(), ())
    counting = CountingStore(store, lambda: now[0])
    told = VolumeMeasures(counting, FrameCache(FrameMemory(MIB)))
    store.holds.add("put")
    counting.put("a", [b"12345"], True)
    now[0] = 0.2
    store.holds.clear()
    store.answer_all()
    counting.put("a", [b"1"], True).addErrback(lambda failure: failure.trap(Exists))
    counting.get("b", 0, 1).addErrback(lambda failure: failure.trap(NotFound))
    found = {(sample.measure, *sample.labels): sample.value for sample in told.measures()}
    assert found[m.S3_REQUESTS, "put", "ok"] == 1
    assert found[m.S3_REQUESTS, "put", "exists"] == found[m.S3_CONFLICTS,] == 1
    assert found[m.S3_REQUESTS, "get", "not_found"] == 1
    assert found[m.S3_REQUESTS, "get", "ok"] == 0
    assert found[m.S3_BYTES, "up"] == 5
    seconds = found[m.S3_SECONDS, "put"]
    assert (sum(seconds.counts), seconds.sum) == (2, 0.2)
    assert seconds.counts[seconds.bounds.index(0.25)] == 1


def test_a_volume_that_is_only_read_tells_of_its_store_and_caches():
    """
    There is nothing dirty to tell of.
    """
    told = VolumeMeasures(CountingStore(MemoryStore()), FrameCache(FrameMemory(MIB)))
    measures = {sample.measure for sample in told.measures()}
    assert m.CACHE_BYTES in measures
    assert m.VOLUME_DIRTY not in measures
    assert told.trouble() is None
