"""qemu-io writes, zeroes, discards and flushes, and finds what it wrote."""

from __future__ import annotations

import pytest

from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import MIB, Disk

pytestmark = pytest.mark.interop

#: write_zeroes in its four forms: NO_HOLE or not, FAST_ZERO or not.
ZEROES = ["write -z", "write -z -u", "write -z -n", "write -z -u -n"]


@pytest.mark.parametrize("how", ZEROES)
def test_zeroes_over_data_read_as_zeroes_and_spare_their_neighbors(
    clients: Clients, disk: Disk, how: str
) -> None:
    """Where fast zeroes are possible they are done; the bytes beside them stay."""
    clients.qemu_io(disk.uri, "write -P 0xaa 0 12M", f"{how} 4M 4M", "flush")
    clients.qemu_io(disk.tcp, "read -P 0xaa 0 4M", "read -P 0 4M 4M", "read -P 0xaa 8M 4M")


@pytest.mark.parametrize("how", ZEROES)
def test_zeroes_start_and_end_at_any_byte(clients: Clients, disk: Disk, how: str) -> None:
    """The minimum block is one byte, so qemu sends the range as it is."""
    clients.qemu_io(disk.uri, "write -P 0xaa 0 1M", f"{how} 1001 300003")
    clients.qemu_io(
        disk.uri, "read -P 0xaa 0 1001", "read -P 0 1001 300003", "read -P 0xaa 301004 747572"
    )


@pytest.mark.parametrize("how", ZEROES)
def test_an_empty_disk_is_zeroed_as_a_whole(clients: Clients, disk: Disk, how: str) -> None:
    """What is zero already is quick, too."""
    clients.qemu_io(disk.uri, f"{how} 0 64M", "read -P 0 0 64M")


def test_zeroes_that_may_be_holes_give_their_space_back(clients: Clients, offer: NewDisk) -> None:
    """A fast zero of a file punches, and so does a discard; without -u the space is kept."""
    disk = offer("file")
    clients.qemu_io(disk.uri, "write -P 1 0 32M", "flush")
    assert disk.allocated() >= 32 * MIB
    clients.qemu_io(disk.uri, "write -z -n 0 8M", "flush")
    assert disk.allocated() >= 32 * MIB
    clients.qemu_io(disk.uri, "write -z -u -n 8M 8M", "discard 16M 15M", "flush")
    assert disk.allocated() <= 10 * MIB
    clients.qemu_io(disk.uri, "read -P 0 0 31M", "read -P 1 31M 1M")


def test_a_discarded_range_reads_as_zeroes(clients: Clients, disk: Disk) -> None:
    """More than the protocol promises, the same on every provider."""
    clients.qemu_io(disk.uri, "write -P 0xaa 0 8M", "discard 2M 4M")
    clients.qemu_io(disk.uri, "read -P 0xaa 0 2M", "read -P 0 2M 4M", "read -P 0xaa 6M 2M")


def test_a_discard_at_odd_bytes_touches_nothing_outside(clients: Clients, disk: Disk) -> None:
    """qemu sends fragments below its own block size; an error there breaks guests."""
    clients.qemu_io(disk.uri, "write -P 0xaa 0 1M", "discard 512 3584", "discard 69632 65536")
    clients.qemu_io(
        disk.uri, "read -P 0xaa 0 512", "read -P 0xaa 4096 65536", "read -P 0xaa 135168 1024"
    )


@pytest.mark.parametrize("cache", ["writeback", "writethrough", "none", "unsafe"])
def test_what_was_written_is_there_in_every_cache_mode(
    clients: Clients, disk: Disk, cache: str
) -> None:
    """writethrough sends FUA with each write; the others leave it to flush."""
    clients.qemu_io(
        disk.uri,
        "write -P 0x11 0 64k",
        "write -f -P 0x22 64k 64k",
        "write -z -f 128k 64k",
        "flush",
        "read -P 0x11 0 64k",
        cache=cache,
    )
    clients.qemu_io(
        disk.tcp, "read -P 0x11 0 64k", "read -P 0x22 64k 64k", "read -P 0 128k 128k", cache=cache
    )


def test_writes_at_any_byte_leave_the_others_alone(clients: Clients, disk: Disk) -> None:
    """Unaligned in both start and length, across pages and blocks."""
    clients.qemu_io(
        disk.uri,
        "write -P 0xaa 0 1M",
        "write -P 0xbb 1 1",
        "write -P 0xcc 4095 2",
        "write -P 0xdd 65535 131074",
        f"write -P 0xee {disk.size - 1} 1",
    )
    clients.qemu_io(
        disk.uri,
        "read -P 0xaa 0 1",
        "read -P 0xbb 1 1",
        "read -P 0xaa 2 4093",
        "read -P 0xcc 4095 2",
        "read -P 0xaa 4097 61438",
        "read -P 0xdd 65535 131074",
        "read -P 0xaa 196609 851967",
        f"read -P 0 1M {disk.size - MIB - 1}",
        f"read -P 0xee {disk.size - 1} 1",
    )


def test_many_requests_in_flight_come_back_right(clients: Clients, disk: Disk) -> None:
    """Overlapping reads and writes in disjoint places, then a flush after all of them."""
    writes = [f"aio_write -P {number} {number}M 1M" for number in range(1, 33)]
    clients.qemu_io(disk.uri, *writes, "aio_flush")
    reads = [f"aio_read -P {number} {number}M 1M" for number in range(1, 33)]
    clients.qemu_io(disk.tcp, *reads, "aio_flush", "read -P 0 0 1M", "read -P 0 33M 31M")


def test_wrong_patterns_are_told(clients: Clients, disk: Disk) -> None:
    """The other tests would see a difference."""
    assert "verification failed" in clients.qemu_io_fails(disk.uri, "read -P 1 0 512")


def test_qcow2_on_an_export_zeroes_fast_and_survives(clients: Clients, disk: Disk) -> None:
    """qemu's one regular user of FAST_ZERO: new clusters of a qcow2 image on the export."""
    clients.run("qemu-img", "create", "-q", "-f", "qcow2", disk.uri, "48M")
    commands = ["write -P 0x5a 4k 4k", "write -P 0x5b 1M 200k", "write -z 2M 3M", "flush"]
    options = [part for command in commands for part in ("-c", command)]
    assert "failed" not in clients.run("qemu-io", "-f", "qcow2", *options, disk.uri)
    reads = ["read -P 0 0 4k", "read -P 0x5a 4k 4k", "read -P 0x5b 1M 200k", "read -P 0 2M 3M"]
    options = [part for command in reads for part in ("-c", command)]
    assert "failed" not in clients.run("qemu-io", "-f", "qcow2", *options, disk.tcp)
    assert "No errors" in clients.run("qemu-img", "check", "-f", "qcow2", disk.uri)
