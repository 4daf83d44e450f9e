"""What a volume takes, and what collecting would give back."""

from __future__ import annotations

import pytest

from backends.volume.environment import Options
from backends.volume.inspection.measuring import garbage, usage
from gateway.info import KIB, MIB
from tests.doubles.volume_at_rest import QUIET, SIZE, VolumeAtRest


@pytest.fixture
def lab():
    return VolumeAtRest()


def fill(lab, offset, length):
    lab.host.settle(lab.volume.write(offset, lab.random.randbytes(length), True))


def test_an_empty_volume(lab):
    lab.close()
    used = lab.do(usage, QUIET)
    assert (used.size, used.data, used.zero, used.hole) == (SIZE, 0, 0, SIZE)
    assert used.objects == len(lab.keys())


def test_what_is_data_zero_and_hole_also_behind_the_checkpoint(lab):
    fill(lab, 0, MIB)
    lab.host.settle(lab.volume.checkpoint())
    lab.host.settle(lab.volume.trim(0, 64 * KIB, True))
    lab.host.settle(lab.volume.write_zeroes(4 * MIB, 128 * KIB, False, True, False))
    used = lab.do(usage, QUIET)
    assert used.data == used.live == MIB - 64 * KIB
    assert used.zero == 128 * KIB
    assert used.data + used.zero + used.hole == SIZE
    assert used.stored == sum(len(lab.get(key)) for key in lab.keys())
    assert 0 < used.requests < 40


def test_what_each_snapshot_costs(lab):
    """Only the one that alone has the old data; deleting it gives back just so much."""
    fill(lab, 0, MIB)
    lab.host.settle(lab.volume.snapshots.take("one"))
    fill(lab, 0, MIB)
    lab.host.settle(lab.volume.snapshots.take("two"))
    lab.close()
    before = lab.do(usage, QUIET)
    one, two = before.snapshots
    assert (one.name, one.data, two.name, two.data) == ("one", MIB, "two", MIB)
    assert one.unique > MIB
    assert two.unique < 64 * KIB
    lab.open()
    lab.host.settle(lab.volume.snapshots.delete("one"))
    lab.close()
    after = lab.do(usage, QUIET)
    assert before.stored_data - after.stored_data > MIB
    assert abs(before.stored - after.stored - one.unique) < 64 * KIB


def test_a_clone_inherits(lab):
    fill(lab, 0, MIB)
    lab.host.settle(lab.volume.snapshots.take("one"))
    lab.close()
    lab.clone("one", "copy")
    fill(lab, 0, 64 * KIB)
    lab.close()
    used = lab.do(usage, QUIET)
    assert (used.live, used.inherited) == (64 * KIB, MIB - 64 * KIB)


def test_garbage_is_what_collecting_then_empties(lab):
    for _ in range(2):
        for offset in range(0, 2 * MIB, 64 * KIB):
            fill(lab, offset, 64 * KIB)
    for offset in range(0, 2 * MIB, 64 * KIB):
        fill(lab, offset, 48 * KIB)
    lab.host.settle(lab.volume.checkpoint())
    before = lab.keys()
    assert lab.do(usage, QUIET).dead > MIB
    to_empty, _ = lab.do(garbage, Options(), QUIET)
    assert lab.keys() == before
    emptied = 0
    while count := lab.host.settle(lab.volume.collect()):
        emptied += count
    assert to_empty > 0
    assert abs(to_empty - emptied) <= emptied // 4
    lab.close()
