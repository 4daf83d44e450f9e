"""What changing a volume costs, in requests and bytes sent."""

from __future__ import annotations

import pytest

from backends.volume.environment import Options
from gateway.info import KIB, MIB
from tests.figures import workloads
from tests.figures.lab import PATTERN, Lab
from tests.figures.workloads import GIB, TIB

#: The collector moves data for reasons of its own, and has figures of its own.
ALONE = Options(collect=False)


def test_a_flush_of_16_scattered_writes_is_one_put_of_80_kib_at_most():
    """Each of 4 KiB; the header costs less than a block."""
    lab = Lab()
    requests = workloads.flush_of_scattered_writes(lab, lab.new(GIB))
    assert [one.kind for one in requests] == ["put"]
    assert requests.bytes("put") <= 80 * KIB


def test_a_fua_write_is_one_put_of_8_kib_at_most():
    """Of 4 KiB."""
    lab = Lab()
    volume = lab.new(GIB)
    with lab.counting() as requests:
        lab.settle(volume.write(5 * MIB, PATTERN[:4096], True))
    assert [one.kind for one in requests] == ["put"]
    assert requests.bytes("put") <= 8 * KIB


@pytest.mark.parametrize("size", [GIB, 64 * GIB, TIB])
def test_random_writes_on_a_fresh_volume_cost_two_percent_at_most(size):
    """512 of 4 KiB, which is the least favourable: a checkpoint for 2 MiB."""
    lab = Lab(options=ALONE)
    upload = workloads.random_writes(lab, lab.new(size), 512)
    assert upload.requests.count("put", "log") == 1
    assert upload.overhead <= 0.02


def test_random_writes_on_a_fragmented_volume_cost_two_percent_at_most():
    """512 of 4 KiB on 128 MiB of which no two blocks lie together."""
    lab = Lab(options=ALONE)
    volume = workloads.fragmented(lab, 128 * MIB)
    upload = workloads.random_writes(lab, volume, 512)
    assert upload.requests.count("put", "log") == 1
    assert upload.overhead <= 0.02


def test_many_random_writes_cost_two_percent_at_most():
    """20,000 of 4 KiB on a terabyte; an object for 2,000 or more of them."""
    lab = Lab(options=ALONE)
    upload = workloads.random_writes(lab, lab.new(TIB), 20_000)
    assert upload.requests.count("put", "log") <= 20_000 / 2000 + 1
    assert upload.overhead <= 0.02


@pytest.mark.parametrize("state", workloads.CLEARED)
@pytest.mark.parametrize("way", workloads.CLEARINGS)
def test_clearing_64_gib_asks_nothing_of_the_store_until_the_flush(way, state):
    """Whatever the disk holds, and whether its map is in memory or not."""
    requests, _, puts = workloads.cleared(Lab(), way, state)
    assert requests == []
    assert puts <= 1


def test_mkfs_ext4_takes_ten_puts_at_most():
    """A recorded one, on a thin disk of 4 GiB."""
    requests = workloads.mkfs_ext4(Lab())
    assert requests.count("put") <= 10
    assert requests.count("get") == 0


def test_writing_in_order_takes_an_object_for_8_mib():
    """64 MiB: 8 puts, whose headers are a ten-thousandth."""
    lab = Lab()
    volume = lab.new(GIB)
    with lab.counting() as requests:
        lab.fill(volume, 0, 64 * MIB)
        lab.settle(volume.flush())
    assert [one.size // MIB for one in requests] == [8] * 8
    assert requests.bytes("put") <= 64 * MIB * 1.0002


def test_an_idle_volume_asks_for_nothing():
    """For an hour after its last checkpoint, collector and all."""
    lab = Lab()
    volume = lab.new(GIB)
    lab.scatter(volume, 5000, 0, GIB)
    lab.settle(volume.flush())
    lab.pass_time(600)
    with lab.counting() as requests:
        lab.pass_time(3600)
    assert requests == []
