"""Huge empty images: nothing is written, nothing is allocated, one hole is left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import MIB, Disk

pytestmark = pytest.mark.interop

GIB = 1 << 30
TIB = 1 << 40


def whole_map(clients: Clients, disk: Disk) -> list[dict[str, Any]]:
    """nbdinfo's map of a disk, neighbors of one kind merged."""
    merged: list[dict[str, Any]] = []
    for part in json.loads(clients.run("nbdinfo", "--json", "--map", disk.uri)):
        if merged and merged[-1]["type"] == part["type"]:
            merged[-1]["length"] += part["length"]
        else:
            merged.append(part)
    return merged


def assert_untouched(clients: Clients, disk: Disk) -> None:
    """It is one hole, and takes no space worth mentioning."""
    assert [(part["length"], part["type"]) for part in whole_map(clients, disk)] == [(disk.size, 3)]
    if disk.path is not None:
        assert disk.allocated() <= MIB


@pytest.fixture
def timed(
    clients: Clients, record_property: Callable[[str, object], None], capsys: Any
) -> Callable[..., None]:
    """Runs a client and prints how long it took; that is for people, nothing depends on it."""

    def run(*command: str) -> None:
        start = time.perf_counter()
        clients.run(*command)
        seconds = round(time.perf_counter() - start, 2)
        record_property("seconds", seconds)
        with capsys.disabled():
            print(f"\n{command[0]} {command[1]}: {seconds} s")  # noqa: T201

    return run


@pytest.mark.parametrize("source", ["qcow2", "raw"])
def test_converting_an_empty_tebibyte_leaves_one_hole(
    clients: Clients, new_disk: NewDisk, timed: Callable[..., None], source: str
) -> None:
    """32768 zeroes of 32 MiB, one after another; raw cuts them 512 bytes off the grid."""
    disk = new_disk(size=TIB)
    path = clients.directory / f"empty.{source}"
    clients.run("qemu-img", "create", "-q", "-f", source, path, str(TIB))
    timed("qemu-img", "convert", "-n", "-f", source, "-O", "raw", str(path), disk.uri)
    assert_untouched(clients, disk)


def test_zeroes_off_the_grid_make_no_data(clients: Clients, new_disk: NewDisk) -> None:
    """
    qemu-img cuts a raw source at multiples of 2 GiB - 512.

    Hardly one of the 2049 zeroes of 64 GiB is aligned to anything. The same
    over data: it is gone, to the last byte.
    """
    disk = new_disk(size=64 * GIB)
    path = clients.directory / "empty.raw"
    with path.open("wb") as file:
        file.truncate(disk.size)
    convert = ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(path), disk.uri]
    clients.run(*convert)
    assert_untouched(clients, disk)

    seams = [2 * GIB - 512, 4 * GIB - 1024, 32 * MIB, 62 * GIB - 31 * 512]
    clients.qemu_io(disk.uri, *(f"write -P 0xaa {seam - 70000} 140000" for seam in seams))
    clients.run(*convert)
    clients.qemu_io(disk.uri, *(f"read -P 0 {seam - 70001} 140002" for seam in seams))
    assert all(part["type"] & 2 for part in whole_map(clients, disk))


def test_nbdcopy_of_an_empty_image_leaves_one_hole(clients: Clients, new_disk: NewDisk) -> None:
    """From a sparse file, and from one export to another."""
    first, second = new_disk(size=64 * GIB), new_disk(size=64 * GIB)
    path = clients.directory / "empty.raw"
    with path.open("wb") as file:
        file.truncate(first.size)
    clients.run("nbdcopy", str(path), first.uri)
    clients.run("nbdcopy", first.uri, second.uri)
    assert_untouched(clients, first)
    assert_untouched(clients, second)


def test_a_file_system_on_a_tebibyte_is_made_from_its_image(
    clients: Clients, offer: NewDisk, timed: Callable[..., None]
) -> None:
    """What mkfs wrote is all that is there afterwards."""
    disk = offer("file", TIB)
    path = clients.directory / "fs.raw"
    options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    clients.run("mke2fs", "-q", "-t", "ext4", "-E", options, path, "1T")
    timed("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(path), disk.uri)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", path, disk.uri)
    assert disk.allocated() <= path.stat().st_blocks * 512 + 16 * MIB
