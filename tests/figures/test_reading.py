"""What reading a volume costs, in requests."""

from __future__ import annotations

import pytest

from gateway.info import KIB, MIB
from tests.figures import workloads
from tests.figures.lab import PATTERN, Lab
from tests.figures.workloads import GIB


def test_unmapped_space_is_read_without_a_request():
    """Also on a volume that holds something elsewhere."""
    lab = Lab()
    volume = lab.new(GIB)
    lab.fill(volume, 0, MIB)
    lab.settle(volume.flush())
    with lab.counting() as requests:
        lab.settle(volume.read(600 * MIB, 4 * KIB))
    assert requests == []


def test_what_was_read_once_is_read_again_without_a_request():
    """On a cold volume the first time takes map and object, the second nothing."""
    lab = Lab()
    volume = lab.new(GIB)
    lab.fill(volume, 0, 16 * MIB)
    lab.settle(volume.close())
    volume = lab.again()
    with lab.counting() as first:
        lab.settle(volume.read(9 * MIB, 4 * KIB))
    assert first.count("get", "ck") <= 2
    assert first.count("get", "log") <= 2
    with lab.counting() as second:
        assert bytes(lab.settle(volume.read(9 * MIB, 4 * KIB))) == PATTERN[: 4 * KIB]
    assert second == []


def test_what_a_flush_stored_is_read_cold_with_one_get_of_its_object():
    """A small object comes along with its header."""
    lab = Lab()
    volume = lab.new(GIB)
    workloads.flush_of_scattered_writes(lab, volume, 8)
    lab.settle(volume.write(9 * MIB, PATTERN[: 4 * KIB], True))
    lab.settle(volume.close())
    volume = lab.again()
    with lab.counting() as requests:
        lab.settle(volume.read(9 * MIB, 4 * KIB))
    assert requests.count("get", "log") == 1


@pytest.mark.parametrize("depth", [1, 16, 64])
@pytest.mark.parametrize("places", [64, 1])
def test_a_thin_disk_is_copied_out_within_70_gets(places, depth):
    """1 GiB that holds 64 MiB, scattered or not, with a cold cache; nothing is got twice."""
    requests, read = workloads.copied_out(Lab(), places, depth)
    assert read == 64 * MIB
    assert requests.count("get") <= 70
    assert requests.bytes("get") <= 68 * MIB


@pytest.mark.parametrize(("piece", "depth"), [(128 * KIB, 8), (MIB, 1)])
def test_reading_in_order_takes_64_gets_for_64_mib_at_most(piece, depth):
    """With a cold cache and map; the store takes its time."""
    lab = Lab()
    volume = lab.new(GIB)
    lab.fill(volume, 0, 64 * MIB)
    lab.settle(volume.close())
    volume = lab.again()
    lab.store.delay = workloads.NEAR
    requests = workloads.read_in_order(lab, volume, 64 * MIB, piece, depth)
    assert requests.count("get") <= 64
    assert requests.bytes("get") <= 68 * MIB
