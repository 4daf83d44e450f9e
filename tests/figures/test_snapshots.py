"""What snapshots and clones cost, in requests; neither reads or copies any data."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.volume.cloning import clone
from gateway.info import MIB
from tests.figures.lab import PATTERN, Lab
from tests.figures.workloads import GIB


@pytest.fixture
def lab():
    return Lab()


@pytest.fixture
def volume(lab):
    """64 MiB in 64 places, and something that is not stored yet."""
    volume = lab.new(GIB)
    for start in range(0, GIB, GIB // 64):
        lab.fill(volume, start, start + MIB)
    lab.settle(volume.flush())
    volume.write(5 * MIB, PATTERN[:4096], False)
    return volume


def test_a_snapshot_takes_four_puts_at_most(lab, volume):
    """What is in memory, the map, the superblock."""
    with lab.counting() as requests:
        lab.settle(volume.snapshots.take("now"))
    assert requests.count("put") <= 4
    assert requests.count("get") == 0


def test_a_clone_takes_four_puts_at_most(lab, volume):
    """A note for the parent, a checkpoint, a superblock; and it holds what the parent held."""
    lab.settle(volume.snapshots.take("now"))
    with lab.counting() as requests:
        lab.settle(
            Deferred.fromCoroutine(clone(lab.store, "volume-1", "now", "volume-2", lab.environment))
        )
    assert requests.count("put") <= 4
    assert requests.bytes("put") <= MIB
    assert requests.count("get", "log") == 0
    copy = lab.settle(lab.attaching("volume-2"))
    assert bytes(lab.settle(copy.read(5 * MIB, 4096))) == PATTERN[:4096]
