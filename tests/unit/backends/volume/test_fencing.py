"""Taking over: a superblock of our own, a fence in the first free slot, and what lies before it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume import keys, superblocks
from backends.volume.authority import Authority
from backends.volume.claiming import claim
from backends.volume.condition import Condition
from backends.volume.creating import create
from backends.volume.fencing import Log
from backends.volume.header import Codec, Extent, Kind, decode
from backends.volume.journal_standing import NotCurrent, Standing
from backends.volume.keys import KeySource
from backends.volume.names import Names
from backends.volume.sealing import seal
from backends.volume.superblocks import current
from backends.volume.units import SECTOR, WINDOW
from backends.volume.values import DATA
from gateway.errors import Corrupt, ExportBusy, ExportUnavailable
from gateway.info import MIB
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

NAMES = Names("volume")


class Bench:
    """A volume of which only superblocks and the log are looked at."""

    def __init__(self, holds=()):
        self.objects = MemoryStore()
        self.store = HeldStore(self.objects, holds=())
        self.host = VolumeHost(store=self.store)
        self.run(create(self.store, "volume", MIB, self.host.environment))
        self.store.calls.clear()
        self.store.holds.update(holds)

    def start(self, coroutine):
        answers = []
        Deferred.fromCoroutine(coroutine).addBoth(answers.append)
        return answers

    def run(self, coroutine):
        (answer,) = self.start(coroutine)
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer

    def claiming(self, accept_loss=False, **given):
        return claim(self.store, NAMES, self.host.environment, None, None, accept_loss, **given)

    def log(self, claimed=None):
        superblock, lineage = claimed or self.run(self.claiming())
        return Log(self.store, lineage, superblock, self.host.environment)

    def put(self, slot, superblock, unsettled=0):
        """What a writer stores in a slot."""
        sealed = seal(
            Kind.DATA, superblock.volume, superblock.writer, superblock.epoch, slot, 0, 0,
            [Extent(0, 1, DATA, 0)], [bytes([slot]) * SECTOR], Codec.NONE, None,
            unsettled,
        )  # fmt: skip
        self.objects.put(NAMES.log(slot), sealed.parts, True)

    def damage(self, slot):
        self.objects.put(NAMES.log(slot), [b"damaged" * 40], False)

    def fence_at(self, slot):
        got = []
        self.objects.get(NAMES.log(slot), 0, 1 << 20).addCallback(got.append)
        return decode(got[0], None, "log", kind=Kind.FENCE, position=slot)


def test_every_claim_is_a_new_epoch_and_a_new_writer():
    bench = Bench()
    first, _ = bench.run(bench.claiming())
    second, _ = bench.run(bench.claiming())
    assert (first.generation, first.epoch, first.state) == (2, 2, "open")
    assert (second.generation, second.epoch) == (3, 3) and first.writer != second.writer


def test_without_a_volume_there_is_nothing_to_claim():
    bench = Bench()
    other = claim(bench.store, Names("other"), bench.host.environment, None, None, False)
    with pytest.raises(ExportUnavailable, match="no volume"):
        bench.run(other)


def test_a_claim_that_lost_the_race_begins_again():
    bench = Bench(holds=["put"])
    first, second = bench.start(bench.claiming()), bench.start(bench.claiming())
    assert len(bench.store.held) == 2
    bench.store.answer(1)
    assert second[0][0].epoch == 2
    bench.store.answer(0)
    bench.store.answer_all()
    assert first[0][0].epoch == 3


def test_a_claim_that_came_too_late_begins_again():
    """Its generation was taken and deleted meanwhile: that the put succeeded proves nothing."""
    bench = Bench(holds=["put"])
    late = bench.start(bench.claiming())
    bench.store.holds.clear()
    for _ in range(3):
        bench.run(bench.claiming())
    bench.objects.delete([NAMES.sb(2)])
    bench.store.answer()
    assert late[0][0].generation == 5 and late[0][0].epoch == 5


def test_a_claim_that_loses_every_race_gives_up():
    bench = Bench(holds=["put"])
    tired = bench.start(bench.claiming())
    while not tired:
        told = bench.store.held.pop()
        bench.store.holds.clear()
        bench.run(bench.claiming())
        bench.store.holds.add("put")
        bench.store.held.append(told)
        bench.store.answer()
    assert tired[0].check(ExportBusy)


def test_an_owner_that_is_busy_loses_its_volume_all_the_same():
    """However often its next superblock was faster: nobody else took the volume over."""
    bench = Bench()
    superblock, lineage = bench.run(bench.claiming())
    crypt = lineage.own.crypt
    environment = bench.host.environment
    owner = Authority(bench.store, NAMES, crypt, superblock, Condition(), environment)
    bench.store.holds.add("put")
    taking = bench.start(bench.claiming())
    for _ in range(50):
        told = bench.store.held.pop()
        bench.store.holds.clear()
        bench.run(owner.advance())
        bench.store.holds.add("put")
        bench.store.held.append(told)
        bench.store.answer()
        assert not taking
    bench.store.answer_all()
    assert taking[0][0].epoch == superblock.epoch + 1


def test_a_key_is_unwrapped_once_however_often_a_claim_begins_again(monkeypatch):
    """A passphrase takes a while: whoever takes over would be slower than any busy owner."""
    bench = Bench()
    source = KeySource.from_key_file(bytes(range(32)))
    names = Names("secret")
    bench.run(create(bench.store, "secret", MIB, bench.host.environment, source=source))
    unwrapped = []

    def unwrap_any(*arguments):
        unwrapped.append(arguments)
        return keys.unwrap_any(*arguments)

    monkeypatch.setattr(superblocks, "unwrap_any", unwrap_any)
    environment = bench.host.environment
    bench.store.holds.add("put")
    first = bench.start(claim(bench.store, names, environment, source, None, False))
    second = bench.start(claim(bench.store, names, environment, source, None, False))
    bench.store.answer(1)
    bench.store.answer(0)
    bench.store.answer_all()
    assert (first[0][0].epoch, second[0][0].epoch) == (3, 2)
    assert len(unwrapped) == 2


def test_a_superblock_that_was_read_is_not_read_again():
    bench = Bench()
    found = bench.run(current(bench.store, NAMES))
    bench.store.calls.clear()
    superblock, _ = bench.run(bench.claiming(found=found))
    assert superblock.epoch == 2
    assert [verb for verb, _ in bench.store.calls] == ["put", "list"]


@pytest.mark.parametrize("swept", [False, True])
def test_a_superblock_that_is_not_the_newest_any_more_is_read_again(swept):
    """Whether its successor is still there, or was deleted, so that its name is free again."""
    bench = Bench()
    found = bench.run(current(bench.store, NAMES))
    for _ in range(3):
        bench.run(bench.claiming())
    if swept:
        bench.objects.delete([NAMES.sb(2)])
    superblock, _ = bench.run(bench.claiming(found=found))
    assert superblock.generation == superblock.epoch == 5


@pytest.mark.parametrize("failure", [ExportUnavailable("no"), NotCurrent(Standing.OUTLIVED, "no")])
def test_an_old_superblock_alone_refuses_nothing(failure):
    """A journal would be put away for what was true before another process had it."""
    bench = Bench()
    found = bench.run(current(bench.store, NAMES))
    bench.run(bench.claiming())
    asked = []

    def admit(last):
        asked.append(last.epoch)
        if last.epoch == 1:
            raise failure

    superblock, _ = bench.run(bench.claiming(admit=admit, found=found))
    assert asked == [1, 2]
    assert superblock.epoch == 3


def test_the_newest_superblock_refuses_though_it_was_read_before():
    bench = Bench()
    found = bench.run(current(bench.store, NAMES))

    def admit(last):
        raise ExportBusy("it is in use")

    with pytest.raises(ExportBusy, match="in use"):
        bench.run(bench.claiming(admit=admit, found=found))
    assert "put" not in [verb for verb, _ in bench.store.calls]


def test_the_first_fence_lies_in_the_first_slot():
    bench = Bench()
    log = bench.log()
    assert bench.run(log.fence()) == []
    fence = bench.fence_at(1)
    assert fence.epoch == 2 and fence.number == log.end == 1 + WINDOW


def test_what_lies_in_front_of_the_fence_is_the_log():
    """In order, over earlier fences; what lies behind a gap counts for nothing."""
    bench = Bench()
    first = bench.run(bench.claiming())
    log = bench.log(first)
    bench.run(log.fence())
    for slot in (log.end, log.end + 1):
        bench.put(slot, first[0])
    bench.put(log.end + 3, first[0], unsettled=1)
    second = bench.log()
    found = bench.run(second.fence())
    assert [header.position for header in found] == [log.end, log.end + 1]
    assert bench.fence_at(log.end + 2).epoch == 3
    assert second.end == log.end + 2 + WINDOW
    assert [header.position for header in bench.run(bench.log().read())] == [log.end, log.end + 1]


def test_a_slot_that_the_old_writer_fills_meanwhile_is_part_of_the_log():
    bench = Bench()
    old = bench.run(bench.claiming())
    log = bench.log(old)
    bench.run(log.fence())
    bench.store.holds.add("put")
    ours = bench.start(bench.claiming())
    bench.store.answer()
    fencing = bench.start(bench.log(ours[0]).fence())
    bench.put(log.end, old[0])
    bench.store.answer()  # Exists
    bench.store.answer()
    assert [header.position for header in fencing[0]] == [log.end]


def test_of_two_who_fence_the_higher_epoch_wins():
    """Whichever comes first."""
    for number in (0, 1):
        bench = Bench()
        older, newer = bench.run(bench.claiming()), bench.run(bench.claiming())
        bench.store.holds.add("put")
        answers = [bench.start(bench.log(one).fence()) for one in (older, newer)]
        bench.store.answer(number)
        bench.store.answer_all()
        assert answers[0][0].check(ExportBusy)
        assert answers[1] == [[]]


def test_whoever_was_superseded_while_looking_has_lost():
    """What it took for the end of the log may be a slot that was deleted since."""
    bench = Bench()
    older = bench.run(bench.claiming())
    bench.store.holds.add("put")
    fencing = bench.start(bench.log(older).fence())
    bench.store.holds.clear()
    bench.run(bench.claiming())
    bench.store.answer_all()
    assert fencing[0].check(ExportBusy)


def test_damage_counts_only_where_the_walk_comes_by():
    bench = Bench()
    first = bench.run(bench.claiming())
    log = bench.log(first)
    bench.run(log.fence())
    bench.put(log.end, first[0])
    bench.damage(3)  # jumped over by the fence
    bench.damage(log.end + 2)  # behind a gap
    assert len(bench.run(bench.log().fence())) == 1
    bench.damage(log.end)
    with pytest.raises(Corrupt, match=NAMES.log(log.end)):
        bench.run(bench.log().fence())


def test_a_store_that_does_not_answer_is_said_to():
    bench = Bench()
    log = bench.log()
    bench.store.holds.add("list")
    fencing = bench.start(log.fence())
    bench.store.answer(0, Transient("503"))
    assert fencing[0].check(Transient)
