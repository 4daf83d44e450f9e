"""A volume that is damaged in every way that the format's page allows to tell."""

from __future__ import annotations

import json
import tracemalloc
from random import Random

import attrs
import pytest

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.checkpoint import at_once, write
from backends.volume.checkpointing import CheckpointObjects, load
from backends.volume.environment import Options
from backends.volume.header import decode
from backends.volume.inspection.checking import check
from backends.volume.inspection.view import Inspected, look
from backends.volume.superblock_json import encode
from backends.volume.superblocks import NoVolume, newest
from gateway.errors import ExportUnavailable, Unavailable
from gateway.info import MIB
from gateway.maintenance import Severity
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.volume_at_rest import QUIET, VolumeAtRest
from tests.doubles.volumes import VolumeHost

KEY = bytes(range(32))
TIB = 1 << 40


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def lab(request):
    return VolumeAtRest(key=request.param).live()


@pytest.fixture
def plain():
    return VolumeAtRest().live()


def wrong(verdict):
    return [one for one in verdict.findings if one.severity is not Severity.NOTE]


def data_key(lab):
    """An object of data that the disk as it is now needs."""
    from backends.volume.inspection.walking import RootWalk, source_of

    view = lab.do(look)
    walk = RootWalk(lab.host.store, view.lineage, view.superblock.checkpoint, view.superblock.size)
    lab.host.settle(walk.open())
    entries = [entry for _, entry in walk.loaded.table.items()]
    best = max(entries, key=lambda entry: entry.live)
    return view.lineage.key(source_of(best))


def root_key(lab):
    root = lab.host.settle(newest(lab.host.store, lab.inspected.names)).superblock.checkpoint
    return lab.inspected.names.ck(root.epoch, root.n)


def fence_key(lab):
    for key in lab.keys("log/"):
        if decode(lab.get(key)[:65536], None, key).kind.name == "FENCE":
            return key
    raise AssertionError("no fence")


def superblock_key(lab):
    return lab.keys("sb/")[-1]


def swapped(lab, key):
    """Another sound object of the same folder lies under its name."""
    other = next(one for one in lab.keys(key.split("/")[1] + "/") if one != key)
    lab.put(key, lab.get(other))


DAMAGES = {
    "lost": lambda lab, key: lab.lose(key),
    "truncated": lambda lab, key: lab.truncate(key),
    "cut in its header": lambda lab, key: lab.put(key, lab.get(key)[:100]),
    "another bit in its header": lambda lab, key: lab.flip(key, 50),
    "another bit in its tables": lambda lab, key: lab.flip(key, 130),
    "swapped": swapped,
    "something foreign": lambda lab, key: lab.put(key, b"<html>it works</html>" * 100),
    "empty": lambda lab, key: lab.put(key, b""),
}


def test_a_volume_that_is_well_is_told_to_be(lab):
    verdict = lab.do(check, QUIET)
    assert verdict.findings == ()
    assert verdict.objects > 20
    assert not verdict.damaged


def test_nothing_is_changed(lab):
    before = {key: lab.get(key) for key in lab.keys()}
    lab.flip(data_key(lab), 50)
    before = {key: lab.get(key) for key in lab.keys()}
    lab.do(check, QUIET)
    assert {key: lab.get(key) for key in lab.keys()} == before


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_data_is_named_with_its_ranges(lab, how):
    key = data_key(lab)
    DAMAGES[how](lab, key)
    found = wrong(lab.do(check, QUIET))
    mine = [one for one in found if one.object == key]
    assert mine
    assert all(one.severity is Severity.DAMAGE and key in one.what for one in mine)
    assert any(one.snapshot is None and one.ranges for one in mine)
    assert {one.object for one in found} == {key}


@pytest.mark.parametrize("how", ["lost", "something foreign", "empty", "swapped"])
def test_a_damaged_root_is_named_with_the_whole_disk(lab, how):
    key = root_key(lab)
    DAMAGES[how](lab, key)
    found = wrong(lab.do(check, QUIET))
    assert any(
        one.object == key
        and one.severity is Severity.DAMAGE
        and one.snapshot is None
        and one.ranges == ((0, 40 << 20),)
        for one in found
    )


def test_every_byte_of_every_checkpoint_that_is_in_use_counts(plain):
    """A bit is turned in each slice; the check finds each, or the object is of no use."""
    found = 0
    for key in plain.keys("ck/"):
        body = plain.get(key)
        for at in range(140, len(body), 397):
            plain.flip(key, at)
            verdict = plain.do(check, QUIET)
            if wrong(verdict):
                assert {one.object for one in wrong(verdict)} == {key}
                found += 1
            plain.put(key, body)
    assert found > 3


def test_the_header_of_a_checkpoint_is_checked_too(plain):
    key = root_key(plain)
    plain.flip(key, 50)
    (one,) = wrong(plain.do(check, QUIET))
    assert (one.object, one.severity) == (key, Severity.REPAIRABLE)


@pytest.mark.parametrize("how", ["truncated", "another bit in its tables", "something foreign"])
def test_a_damaged_superblock_is_not_replaced_by_an_older_one(lab, how):
    key = superblock_key(lab)
    DAMAGES[how](lab, key)
    verdict = lab.do(check, QUIET)
    assert [one.object for one in wrong(verdict)] == [key]
    assert verdict.damaged


def test_a_superblock_that_is_missing_is_missed(plain):
    """The log is of an epoch that the one below does not know."""
    before = plain.keys("sb/")
    plain.open()
    plain.close()
    plain.lose(*[key for key in plain.keys("sb/") if key > before[-1]])
    found = wrong(plain.do(check, QUIET))
    assert any("newest superblock is missing" in one.what for one in found)
    assert plain.do(check, QUIET).damaged


def test_a_missing_fence_is_missed(lab):
    lab.lose(*[key for key in lab.keys("log/") if key == fence_key(lab)])
    found = wrong(lab.do(check, QUIET))
    assert [one.severity for one in found] == [Severity.REPAIRABLE]
    assert "fence of epoch 2 is missing" in found[0].what


def test_left_overs_are_leaks(lab):
    orphans = [lab.orphan(), "volume-1/ck/00000001-00000077"]
    lab.put(orphans[1], b"x" * 100)
    found = wrong(lab.do(check, QUIET))
    assert sorted((one.object, one.severity) for one in found) == sorted(
        (key, Severity.LEAK) for key in orphans
    )


def test_what_cannot_be_read_and_nobody_names_is_a_note(lab):
    """It may be data that a map made anew has to do without: it is no left-over."""
    key = lab.orphan()
    lab.flip(key, 20)
    (one,) = lab.do(check, QUIET).findings
    assert (one.object, one.severity) == (key, Severity.NOTE)
    assert "it stays" in one.what


def test_foreign_objects_are_a_note(plain):
    plain.put("volume-1/readme.txt", b"hello")
    (one,) = plain.do(check, QUIET).findings
    assert one.severity is Severity.NOTE
    assert "volume-1/readme.txt" in one.what


def test_a_log_that_misses_an_object_behind_the_checkpoint(plain):
    """It is known to have been stored: what was sealed later says so."""
    plain.open()
    for number in range(6):
        plain.host.settle(plain.volume.write(number << 20, b"x" * 512, True))
    view = plain.do(look)
    first = view.superblock.checkpoint.version
    tail = [key for key in plain.keys("log/") if plain.inspected.names.parse_log(key) > first]
    lost = tail[3]
    plain.lose(lost)
    found = wrong(plain.do(check, QUIET))
    assert [(one.object, one.severity) for one in found] == [(lost, Severity.DAMAGE)]


def recounted(lab, change):
    """The volume with a table of objects that was changed, under a new superblock."""
    host = lab.host
    view = lab.do(look)
    superblock = view.superblock
    stored = host.settle(load(host.store, view.lineage, superblock.size, superblock.checkpoint, 0))
    stored.state.next_n = 500
    change(stored)
    objects = CheckpointObjects(view.lineage, superblock, 0, stored.containers, stored.state)
    steps = write(stored.map, stored.objects, stored.containers, stored.state, None, objects.emit)
    written = at_once(steps)
    for key, sealed in objects.sealed():
        host.settle(host.store.put(key, sealed.parts, True))
    following = attrs.evolve(
        superblock,
        generation=superblock.generation + 1,
        checkpoint=objects.root(written.root),
    )
    key = view.names.sb(following.generation)
    host.settle(host.store.put(key, [encode(following, view.lineage.own.crypt)], True))


def live_entry(stored):
    return next(
        index for index, entry in stored.objects.items() if entry.live > 3 and not entry.volume
    )


def test_wrong_counts_are_found(lab):
    recounted(lab, lambda stored: stored.objects.live_add(live_entry(stored), 3))
    found = [one for one in wrong(lab.do(check, QUIET)) if one.severity is Severity.REPAIRABLE]
    assert any("in the table, live: got" in one.what for one in found)


def test_a_map_that_says_otherwise_than_the_log_is_found(lab):
    """Data that lies elsewhere in its object, and zeroes where there is data."""

    def change(stored):
        start, end, value = next(
            run for run in runs_of(lab, stored) if run[2] >= 3 << 62 and run[1] - run[0] > 4
        )
        stored.paint(start, start + 1, 1 << 62, None)
        stored.paint(end - 1, end, value, None)

    recounted(lab, change)
    found = [one for one in wrong(lab.do(check, QUIET)) if one.severity is Severity.DAMAGE]
    assert {one.object for one in found} == {root_key(lab)}
    assert all("the log tells something else" in one.what for one in found)
    assert [one.ranges[0][1] for one in found] == [512, 512]


def runs_of(lab, stored):
    lab.host.settle(stored.ensure(0, stored.map.sectors))
    return stored.map.runs(0, stored.map.sectors)


def test_clones_and_their_notes(plain):
    plain.clone("first", "copy")
    plain.write()
    plain.close()
    assert plain.do(check, QUIET).findings == ()
    (note,) = plain.keys("ref/", "volume-1")
    plain.prefix = "volume-1"
    assert plain.do(check, QUIET).findings == ()
    body = json.loads(plain.get(note))
    plain.lose(note)
    plain.prefix = "copy"
    (one,) = plain.do(check, QUIET).findings
    assert (one.object, one.severity) == (note, Severity.REPAIRABLE)
    plain.put(note, json.dumps({**body, "snapshot": 99}).encode())
    plain.prefix = "volume-1"
    (one,) = plain.do(check, QUIET).findings
    assert "needs snapshot 99, which is not there" in one.what


def test_what_a_clone_inherited_is_looked_at(plain):
    plain.clone("first", "copy")
    plain.close()
    parent = [key for key in plain.keys("log/", "volume-1") if len(plain.get(key)) > 1000]
    plain.lose(*parent)
    found = wrong(plain.do(check, QUIET))
    assert found
    assert {one.object for one in found} <= set(parent)
    assert all(one.ranges for one in found)


def test_a_place_without_a_volume(plain):
    plain.prefix = "elsewhere"
    with pytest.raises(NoVolume):
        plain.do(check, QUIET)


def test_a_volume_that_needs_a_key():
    lab = VolumeAtRest(key=KEY)
    lab.close()
    lab.source = None
    with pytest.raises(ExportUnavailable):
        lab.do(check, QUIET)


def test_a_store_that_does_not_answer(plain):
    plain.host.store = FaultyStore(plain.host.store)
    plain.host.store.fail("get", Transient("not now"), times=1000)
    with pytest.raises(Unavailable):
        plain.do(check, QUIET)


def test_beside_a_writer_nothing_is_missed(plain):
    """Whatever it writes, collects and deletes between any two requests of the check."""
    plain.open()
    host, store = plain.host, plain.host.store
    asked = 0

    class Between:
        """Lets the writer go on now and then."""

        def __getattr__(self, name):
            return getattr(store, name)

        def get(self, key, start, length):
            nonlocal asked
            asked += 1
            if asked % 9 == 0:
                plain.write(2)
                host.settle(plain.volume.checkpoint())
                host.settle(plain.volume.collect())
            return store.get(key, start, length)

    inspected = attrs.evolve(plain.inspected, store=Between())
    verdict = host.settle(check(inspected, QUIET))
    assert wrong(verdict) == []
    assert asked > 30


def test_progress_is_told(plain):
    told = []
    plain.do(check, lambda *what: told.append(what))
    assert told[-1][0] == told[-1][1]
    assert {unit for _, _, unit in told} == {"objects"}


def test_memory_does_not_grow_with_the_disk():
    """A disk of 1 TiB whose map is in 4,000 pages is checked in less than the map would take."""
    host = VolumeHost(MemoryStore(), Options(collect=False, map_memory=MIB), codec="zstd")
    volume = host.new(TIB)
    random = Random(1)
    pages = random.sample(range(TIB // (16 * MIB)), 4000)
    for page in pages:
        host.settle(volume.write(page * 16 * MIB + 8192, b"x" * 512, False))
        host.settle(volume.write(page * 16 * MIB + 12288, b"x" * 512, False))
    host.settle(volume.close())
    inspected = Inspected(host.store, "volume-1", host.environment, None, 1000)
    tracemalloc.start()
    try:
        verdict = host.settle(check(inspected, QUIET))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert verdict.findings == ()
    assert peak < 8 * MIB
