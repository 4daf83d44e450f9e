"""Maps made anew: the disk and its snapshots are, byte for byte, what they were."""

from __future__ import annotations

import pytest

from backends.volume.inspection.checking import check
from backends.volume.inspection.rebuilding import rebuild
from backends.volume.inspection.repairing import repair
from backends.volume.inspection.view import look
from backends.volume.superblocks import NoVolume
from gateway.errors import Corrupt, ExportBusy, ExportUnavailable
from gateway.maintenance import Severity
from tests.doubles.volume_at_rest import QUIET, SIZE, VolumeAtRest

KEY = bytes(range(32))


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def lab(request):
    return VolumeAtRest(key=request.param).live()


@pytest.fixture
def plain():
    return VolumeAtRest().live()


def collected(key=None):
    """A volume whose collector has moved data."""
    lab = VolumeAtRest(key=key, seed=1)
    settle = lab.host.settle
    for length in (65536, 49152):
        for number in range(30):
            data = lab.random.randbytes(length)
            settle(lab.volume.write(number * 65536, data, False))
        settle(lab.volume.flush())
        settle(lab.volume.checkpoint())
    while settle(lab.volume.collect()):
        pass
    settle(lab.volume.checkpoint())
    lab.close()
    return lab


def severe(verdict):
    return [
        one for one in verdict.findings if one.severity in (Severity.DAMAGE, Severity.REPAIRABLE)
    ]


def test_without_any_checkpoint(lab):
    """Writes, holes, snapshots, a way back, a crash, collected garbage: all of it is as it was."""
    before = lab.contents()
    lab.lose(*lab.keys("ck/"))
    verdict = lab.do(rebuild, QUIET, QUIET)
    assert severe(verdict) == []
    assert verdict.repaired > 0
    assert lab.contents() == before


def test_life_goes_on(lab):
    """What was rebuilt can be written to, snapshots can go, collecting takes nothing needed."""
    lab.lose(*lab.keys("ck/"))
    lab.do(rebuild, QUIET, QUIET)
    kept = lab.contents()["first"]
    settle = lab.host.settle
    lab.open()
    lab.write(30)
    settle(lab.volume.snapshots.delete("second"))
    settle(lab.volume.checkpoint())
    while settle(lab.volume.collect()):
        pass
    settle(lab.volume.sweep())
    lab.close()
    assert lab.do(check, QUIET).findings == ()
    after = lab.contents()
    assert after["first"] == kept
    lab.lose(*lab.keys("ck/"))
    assert severe(lab.do(rebuild, QUIET, QUIET)) == []
    assert lab.contents() == after


def test_with_little_memory(plain):
    """Window after window of the disk; what objects tell is asked for again each time."""
    before = plain.contents()
    plain.lose(*plain.keys("ck/"))
    plain.extents = 20
    assert severe(plain.do(rebuild, QUIET, QUIET)) == []
    plain.extents = 1 << 21
    assert severe(plain.do(check, QUIET)) == []
    assert plain.contents() == before


@pytest.mark.parametrize("seed", range(3))
def test_other_lives(seed):
    lab = VolumeAtRest(seed=100 + seed).live()
    before = lab.contents()
    lab.lose(*lab.keys("ck/"))
    assert severe(lab.do(rebuild, QUIET, QUIET)) == []
    assert lab.contents() == before


def test_what_a_crash_left_in_the_log_counts(plain):
    """A writer died behind its last checkpoint; what it had flushed is in the new map."""
    plain.open()
    plain.write(10)
    plain.host.settle(plain.volume.flush())
    plain.lose(*plain.keys("ck/"))
    plain.do(rebuild, QUIET, QUIET)
    verdict = plain.do(check, QUIET)
    assert severe(verdict) == []
    data = bytes(plain.host.settle(plain.volume.read(0, 1 << 20)))
    assert plain.contents()[None][: 1 << 20] == data


def test_a_clone_with_its_parents_checkpoints_lost_as_well(lab):
    lab.clone("first", "copy")
    lab.write()
    lab.host.settle(lab.volume.snapshots.take("own"))
    lab.write()
    lab.close()
    lab.clone("own", "copy of the copy")
    lab.write(10)
    lab.close()
    before = lab.contents()
    for prefix in ("copy of the copy", "copy", "volume-1"):
        lab.lose(*lab.keys("ck/", prefix))
    assert severe(lab.do(rebuild, QUIET, QUIET)) == []
    assert lab.contents() == before


def test_clones_keep_what_they_need_of_a_rebuilt_parent(lab):
    """Also what the parent does without from then on, as its new map names other objects."""
    settle = lab.host.settle
    lab.clone("first", "copy")
    lab.write()
    lab.close()
    before = lab.contents()
    lab.prefix = "volume-1"
    assert severe(lab.do(rebuild, QUIET, QUIET)) == []
    lab.open()
    lab.write()
    settle(lab.volume.checkpoint())
    while settle(lab.volume.collect()):
        pass
    settle(lab.volume.sweep())
    settle(lab.volume.checkpoint())
    lab.close()
    assert severe(lab.do(check, QUIET)) == []
    lab.prefix = "copy"
    assert severe(lab.do(check, QUIET)) == []
    assert lab.contents() == before


def test_a_clone_whose_parent_is_gone_says_what_is_missing(plain):
    plain.clone("first", "copy")
    plain.close()
    plain.lose(*plain.keys("sb/", "volume-1"))
    with pytest.raises(ExportUnavailable, match="clone of one that is not there"):
        plain.do(rebuild, QUIET, QUIET)


def test_the_newest_superblock_is_damaged(plain):
    """An older one is asked for size and snapshots, and the verdict says so."""
    before = plain.contents()
    key = plain.keys("sb/")[-1]
    plain.flip(key, 300)
    verdict = plain.do(rebuild, QUIET, QUIET)
    assert severe(verdict) == []
    assert any(
        one.object == key and "are taken from generation" in one.what for one in verdict.findings
    )
    assert plain.contents() == before


def test_a_rebuild_that_ends_early_leaves_no_older_state_to_be_believed(plain):
    """The map of an older superblock is not opened, whenever the rebuild dies."""
    plain.flip(plain.keys("sb/")[-1], 300)
    highest = plain.keys("sb/")[-1]
    store = plain.host.store

    class Dying:
        def __getattr__(self, name):
            return getattr(store, name)

        def put(self, key, parts, if_absent):
            if "/ck/" in key:
                raise RuntimeError("the process dies here")
            return store.put(key, parts, if_absent)

    plain.host.store = Dying()
    with pytest.raises(RuntimeError, match="dies here"):
        plain.do(rebuild, QUIET, QUIET)
    plain.host.store = store
    assert plain.keys("sb/")[-1] > highest
    with pytest.raises(Corrupt, match="missing from the store"):
        plain.open()
    assert severe(plain.do(rebuild, QUIET, QUIET)) == []


def test_without_superblocks_it_says_what_is_needed(plain):
    plain.lose(*plain.keys("sb/"))
    with pytest.raises(ExportUnavailable, match="bring one back from a copy"):
        plain.do(rebuild, QUIET, QUIET)
    plain.prefix = "elsewhere"
    with pytest.raises(NoVolume):
        plain.do(rebuild, QUIET, QUIET)


def test_an_object_that_cannot_be_read_is_named(plain):
    """What it told is lost, and everything else is there."""
    view = plain.do(look)
    last = max(slot for slot in view.slots() if view.objects[view.names.log(slot)] > 1000)
    key = view.names.log(last)
    plain.flip(key, 50)
    plain.lose(*plain.keys("ck/"))
    verdict = plain.do(rebuild, QUIET, QUIET)
    assert [one.object for one in severe(verdict)] == [key]
    assert "What it told is not known" in severe(verdict)[0].what


def test_a_volume_that_somebody_holds_is_left_alone(plain):
    before = plain.keys()

    def refuse(last):
        raise ExportBusy("held")

    for tool in (rebuild, repair):
        plain.lose(*plain.keys("ck/"))
        with pytest.raises(ExportBusy):
            plain.do(tool, refuse, QUIET)
    assert plain.keys() == [key for key in before if "/ck/" not in key]


def test_who_wrote_before_is_fenced_off(plain):
    plain.open()
    old = plain.volume
    plain.do(rebuild, QUIET, QUIET)
    plain.host.settle(old.write(0, b"late" * 128, False))
    with pytest.raises(Exception, match="taken the volume over"):
        plain.host.settle(old.flush())
    assert severe(plain.do(check, QUIET)) == []


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_what_a_rebuild_could_not_read_is_not_swept(key):
    """Whoever brings the object back as it was, and rebuilds again, has the disk as it was."""
    lab = collected(key)
    before, lost = lab.contents(), lab.keys("gc/")[0]
    whole = lab.get(lost)
    lab.flip(lost, 20)
    lab.lose(*lab.keys("ck/"))
    verdict = lab.do(rebuild, QUIET, QUIET)
    assert lost in {one.object for one in severe(verdict)}
    for tool in (repair, rebuild):
        lab.do(tool, QUIET, QUIET)
    lab.open()
    lab.host.settle(lab.volume.write(SIZE - 512, b"new" + bytes(509), False))
    lab.host.settle(lab.volume.checkpoint())
    lab.host.settle(lab.volume.sweep())
    assert lab.contents() != before
    assert lost in lab.keys("gc/")
    notes = [one for one in lab.do(check, QUIET).findings if one.object == lost]
    assert [one.severity for one in notes] == [Severity.NOTE]
    lab.put(lost, whole)
    verdict = lab.do(rebuild, QUIET, QUIET)
    assert severe(verdict) == []
    assert lab.contents()[None] == before[None][:-512] + b"new" + bytes(509)


# Repairing.


def test_nothing_is_repaired_where_nothing_is_wrong(plain):
    before = plain.keys()
    assert plain.do(repair, QUIET, QUIET).findings == ()
    assert plain.keys() == before


@pytest.mark.parametrize("which", [0, -1])
def test_a_lost_checkpoint_is_repaired(lab, which):
    before = lab.contents()
    lab.lose(lab.keys("ck/")[which])
    verdict = lab.do(repair, QUIET, QUIET)
    assert severe(verdict) == []
    assert lab.contents() == before


def test_left_overs_and_missing_fences_are_repaired(plain):
    before = plain.contents()
    orphan = plain.orphan()
    fences = [key for key in plain.keys("log/") if len(plain.get(key)) == 128]
    assert fences
    plain.lose(fences[0])
    verdict = plain.do(repair, QUIET, QUIET)
    assert verdict.findings == ()
    assert verdict.repaired == 2
    assert orphan not in plain.keys("gc/")
    assert plain.contents() == before


def test_a_clones_note_is_put_again(lab):
    lab.clone("first", "copy")
    lab.close()
    (note,) = lab.keys("ref/", "volume-1")
    body = lab.get(note)
    lab.lose(note)
    verdict = lab.do(repair, QUIET, QUIET)
    assert (verdict.findings, verdict.repaired) == ((), 1)
    assert lab.get(note) == body


def test_a_map_is_not_made_anew_from_less_than_it_knows(plain):
    """An object of the log is lost, and a part of the map: repairing would lose what is known."""
    view = plain.do(look)
    data = max(view.objects, key=lambda key: view.objects[key] if "/log/" in key else 0)
    plain.lose(data)
    before = plain.keys("ck/")
    plain.flip(before[0], 140)
    verdict = plain.do(repair, QUIET, QUIET)
    assert data in {one.object for one in verdict.findings}
    assert set(before) <= set(plain.keys("ck/"))


def test_repair_makes_no_map_of_damaged_objects():
    """Older data would take the place of newer, and what is damaged could never be looked at."""
    lab = collected()
    moved = lab.keys("gc/")
    assert moved
    lab.lose(*lab.keys("ck/"))
    for key in moved:
        lab.flip(key, 20)
    verdict = lab.do(repair, lambda superblock: None, QUIET)
    assert verdict.damaged
    assert verdict.repaired == 0
    assert lab.keys("gc/") == moved
    assert not lab.keys("ck/")
