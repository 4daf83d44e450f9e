"""What an operator does with an open volume."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.keys import KeySource
from backends.volume.operations import VolumeOperations
from gateway.errors import (
    ExportBusy,
    ExportUnavailable,
    Fenced,
    Unavailable,
    UnknownExport,
)
from gateway.info import MIB, Collected
from gateway.interfaces import IVolume
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.held_store import HeldStore
from tests.doubles.volumes import VolumeHost

KEY = bytes(range(32))
SIZE = 64 * MIB


class Lab:
    """A volume of 64 MiB and its operations."""

    def __init__(self, key=None, **host):
        self.host = VolumeHost(key=key, **host)
        self.source = None if key is None else KeySource.from_key_file(key)
        self.use(self.host.new(SIZE))

    def use(self, volume, prefix="volume-1"):
        """From now on everything is about that one."""
        store, environment = self.host.store, self.host.environment
        self.volume = volume
        self.operations = VolumeOperations(
            volume, store, prefix, environment, FrameCache(FrameMemory(MIB)), self.source
        )

    def reopen(self):
        """With nothing in memory."""
        self.host.settle(self.volume.close())
        self.use(self.host.again())

    def do(self, name, *args):
        """The answer of an operation, which has to be a Deferred."""
        answer = getattr(self.operations, name)(*args)
        assert isinstance(answer, Deferred)
        return self.host.settle(answer)

    def write(self, byte, offset=0, volume=None):
        self.host.settle((volume or self.volume).write(offset, byte * 4096, False))

    def read(self, volume=None, offset=0):
        return bytes(self.host.settle((volume or self.volume).read(offset, 4096)))[:1]


@pytest.fixture
def lab():
    made = Lab()
    yield made
    made.host.settle(made.volume.close())


def test_it_is_what_the_law_says(lab):
    """
    Every method with its arguments.
    """
    assert verifyObject(IVolume, lab.operations)


def test_snapshots_are_taken_listed_and_deleted(lab):
    """
    With the size and the time of then.
    """
    assert lab.do("snapshots") == []
    taken = lab.do("take_snapshot", "monday")
    assert (taken.name, taken.size) == ("monday", SIZE)
    assert 1_700_000_000 <= taken.created < 1_700_000_100
    lab.do("take_snapshot", "tuesday")
    assert [one.name for one in lab.do("snapshots")] == ["monday", "tuesday"]
    lab.do("delete_snapshot", "monday")
    assert [one.name for one in lab.do("snapshots")] == ["tuesday"]


@pytest.mark.parametrize(
    "operation",
    [
        ("take_snapshot", "tuesday"),
        ("delete_snapshot", "monday"),
        ("roll_back", "monday"),
        ("clone", "monday", "new"),
        ("grow", 2 * SIZE),
        ("collect",),
    ],
)
def test_nothing_is_begun_while_the_store_is_away(operation):
    """
    The operator hears of it; what is begun is tried until it is done, however long that takes.
    """
    store = FaultyStore(MemoryStore())
    lab = Lab(store=store)
    lab.do("take_snapshot", "monday")
    store.fail("list", Transient("away"))
    before = len(store.calls)
    with pytest.raises(Unavailable, match="away"):
        lab.do(*operation)
    assert [verb for verb, *_ in store.calls[before:]] == ["list"]
    lab.do(*operation)
    lab.host.settle(lab.volume.close())


def test_an_unknown_snapshot_is_named(lab):
    """
    Whatever is to be done with it.
    """
    for operation in (("delete_snapshot", "no"), ("roll_back", "no"), ("clone", "no", "new")):
        with pytest.raises(UnknownExport, match="'no'"):
            lab.do(*operation)
    assert lab.host.settle(lab.host.store.list("new/", "")) == []


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 101, "monday"])
def test_a_name_that_is_taken_or_none_is_refused(lab, name):
    """
    And nothing changes.
    """
    lab.do("take_snapshot", "monday")
    with pytest.raises(ExportUnavailable):
        lab.do("take_snapshot", name)
    assert len(lab.do("snapshots")) == 1


def test_rolling_back_brings_the_bytes_back(lab):
    """
    Those of the moment of the snapshot.
    """
    lab.write(b"a")
    lab.do("take_snapshot", "monday")
    lab.write(b"b")
    lab.do("roll_back", "monday")
    assert lab.read() == b"a"


def test_a_write_that_a_client_left_behind_does_not_outlive_a_rollback():
    """
    It waited for the rest of its sector when the client went away.
    """
    store = HeldStore(MemoryStore(), holds=())
    lab = Lab(store=store)
    lab.write(b"a")
    lab.do("take_snapshot", "monday")
    lab.reopen()
    store.holds = {"get"}
    left = lab.volume.write(100, b"b" * 10, False)
    assert isinstance(left, Deferred)
    rolled_back = lab.operations.roll_back("monday")
    for _ in range(100):
        while len(store.held) > 1:
            store.answer(-1)
        lab.host.go_on()
    store.holds = set()
    store.answer_all()
    lab.host.settle(rolled_back)
    assert left.called
    assert bytes(lab.host.settle(lab.volume.read(0, 4096))) == b"a" * 4096
    lab.host.settle(lab.volume.close())


@pytest.mark.parametrize("key", [None, KEY])
def test_a_clone_is_a_volume_beside_it(key):
    """
    Opened by what opens its parent, it holds what the snapshot holds; both go their own ways.
    """
    lab = Lab(key)
    lab.write(b"a")
    lab.do("take_snapshot", "monday")
    lab.write(b"b")
    lab.do("clone", "monday", "copies/one")
    clone = lab.host.settle(lab.host.attaching(prefix="copies/one"))
    assert lab.read(clone) == b"a"
    lab.write(b"c", volume=clone)
    assert (lab.read(), lab.read(clone)) == (b"b", b"c")
    with pytest.raises(ExportBusy, match="copies/one"):
        lab.do("delete_snapshot", "monday")
    lab.host.settle(clone.close())


@pytest.mark.parametrize(
    "name", ["", "volume-1", "volume-1/log", "volume-1/", "../x", "a//b", "taken", "x" * 901]
)
def test_a_clone_needs_a_place_of_its_own(lab, name):
    """
    Not one where a volume is, nor one inside another, nor where anything lies.
    """
    lab.do("take_snapshot", "monday")
    lab.host.settle(lab.host.store.put("taken/log/0000000000000007", [b"old"], True))
    with pytest.raises(ExportUnavailable, match="name: got"):
        lab.do("clone", "monday", name)
    lab.do("delete_snapshot", "monday")


def test_the_disk_grows_and_does_not_shrink(lab):
    """
    Whoever asks for its size from now on gets the new one.
    """
    lab.do("grow", 2 * SIZE)
    assert lab.volume.info.size == 2 * SIZE
    for size in (SIZE, 2 * SIZE + 1, 0, -512, 1 << 70):
        with pytest.raises(ExportUnavailable, match="size: got"):
            lab.do("grow", size)


def test_collecting_gives_back_what_nothing_needs(lab):
    """
    What was written over is gone from the store, and the bytes that count are there.
    """
    for round in range(4):
        for number in range(64):
            lab.write(bytes([65 + round]), number * 65536)
        lab.host.settle(lab.volume.flush())
    for number in range(60):
        lab.write(b"z", number * 65536)
    before = lab.do("facts")
    collected = lab.do("collect")
    assert isinstance(collected, Collected)
    after = lab.do("facts")
    assert after["stored_bytes"] <= before["stored_bytes"] + 61 * 4096
    assert after["live_bytes"] == 64 * 4096
    assert lab.read() == b"z"
    assert lab.read(offset=63 * 65536) == b"D"
    assert lab.do("collect") == Collected(0, 0)


def test_facts_tell_what_there_is(lab):
    """
    Keys are for graphs: they stay, and say their unit.
    """
    lab.write(b"a")
    facts = lab.do("facts")
    assert facts["dirty_bytes"] >= 4096
    assert facts["objects"] == facts["stored_bytes"] == 0
    lab.do("take_snapshot", "monday")
    facts = lab.do("facts")
    assert (facts["snapshots"], facts["objects"], facts["live_bytes"]) == (1, 1, 4096)
    assert facts["stored_bytes"] > 4096
    assert (facts["encrypted"], facts["compression"], facts["parent"]) == ("no", "none", "")
    assert facts["failure"] == ""
    assert set(facts) == {
        *("uuid", "parent", "compression", "encrypted", "epoch", "generation", "snapshots"),
        *("objects", "live_bytes", "stored_bytes", "inherited_bytes", "dirty_bytes"),
        *("moved_bytes", "cache_hits", "cache_misses", "failure"),
    }


def test_a_volume_that_was_taken_over_says_so(lab):
    """
    And does nothing more for operators; they see why.
    """
    lab.host.settle(lab.volume.close())
    lab.use(lab.host.again())
    then = lab.operations
    lab.use(lab.host.again())
    with pytest.raises(Fenced):
        lab.host.settle(then.grow(2 * SIZE))
    with pytest.raises(Fenced):
        lab.host.settle(then.collect())
    assert "another gateway" in lab.host.settle(then.facts())["failure"]
    assert lab.do("facts")["failure"] == ""


def test_the_facts_of_a_clone_tell_what_it_inherited(lab):
    """
    It has no objects of its own yet.
    """
    lab.write(b"a")
    lab.do("take_snapshot", "monday")
    lab.do("clone", "monday", "copy")
    lab.host.settle(lab.volume.close())
    lab.use(lab.host.settle(lab.host.attaching(prefix="copy")), "copy")
    facts = lab.do("facts")
    assert (facts["parent"], facts["inherited_bytes"]) == ("volume-1", 4096)
    assert (facts["objects"], facts["live_bytes"], facts["stored_bytes"]) == (0, 0, 0)


def test_a_store_that_fails_is_unavailable(lab, monkeypatch):
    """
    Not an error of the program: kinds of stores stay below.
    """

    def fail(*call):
        raise Transient("no route to the store")

    lab.do("take_snapshot", "monday")
    monkeypatch.setattr(lab.host.store, "list", fail)
    with pytest.raises(Unavailable, match="no route"):
        lab.do("clone", "monday", "new")
    monkeypatch.undo()
