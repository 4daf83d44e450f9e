"""nbdinfo and qemu-nbd --list see what is served."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import MIB, Disk, Gateway

pytestmark = pytest.mark.interop

CONTEXTS = ["base:allocation", "qemu:allocation-depth"]


def described(clients: Clients, *arguments: str) -> list[dict[str, Any]]:
    """nbdinfo's exports, as it prints them for programs."""
    done = json.loads(clients.run("nbdinfo", "--json", *arguments))
    assert (done["protocol"], done["structured"]) == ("newstyle-fixed", True)
    exports: list[dict[str, Any]] = done["exports"]
    return exports


def test_nbdinfo_shows_size_abilities_block_sizes_and_contexts(
    clients: Clients, disk: Disk
) -> None:
    """Both providers do everything there is, from any byte on."""
    assert f"export-size: {disk.size} (64M)" in clients.run("nbdinfo", disk.uri)
    (export,) = described(clients, disk.tcp)
    abilities = ("cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero")
    assert {name for name in abilities if not export[f"can_{name}"]} == set()
    assert not export["is_read_only"]
    assert export["contexts"] == CONTEXTS
    assert export["block_size_minimum"] == 1
    assert export["block_size_maximum"] == 32 * MIB


def test_a_read_only_export_says_so(clients: Clients, new_disk: NewDisk) -> None:
    """Before a client opens it for writing, and to the client that tries."""
    disk = new_disk(read_only="yes")
    (export,) = described(clients, disk.uri)
    assert export["is_read_only"]
    assert "Permission denied" in clients.refused(
        "qemu-io", "-f", "raw", "-c", "write 0 1k", disk.uri
    )


def test_every_export_is_listed_with_its_description(
    clients: Clients, new_disk: NewDisk, gateway: Gateway
) -> None:
    """By libnbd and by qemu, in the order of the configuration."""
    disk = new_disk(description="a disk\tfor tests")
    listed = described(clients, "--list", disk.uri)
    assert [export["export-name"] for export in listed] == gateway.names()
    assert listed[-1]["description"] == "a disk\tfor tests"
    text = clients.run("qemu-nbd", "--list", "-k", str(disk.socket))
    for name in gateway.names():
        assert f"export: '{name}'" in text
    assert "a disk\tfor tests" in text
    assert "qemu:allocation-depth" in text


def extents(clients: Clients, uri: str, context: str = "base:allocation") -> list[list[int]]:
    """The map in one context as offset, length and type."""
    text = clients.run("nbdinfo", "--json", f"--map={context}", uri)
    return [[part["offset"], part["length"], part["type"]] for part in json.loads(text)]


def test_the_map_of_an_empty_disk_is_one_hole(clients: Clients, disk: Disk) -> None:
    """In both contexts: nothing is there to copy."""
    assert extents(clients, disk.uri) == [[0, disk.size, 3]]
    assert extents(clients, disk.uri, "qemu:allocation-depth") == [[0, disk.size, 0]]
    assert "100.0%" in clients.run("nbdinfo", "--map", "--totals", disk.uri)


def test_the_map_shows_data_zeroes_and_holes(clients: Clients, disk: Disk) -> None:
    """qemu-img's map of the same disk agrees."""
    clients.qemu_io(disk.uri, "write -P 7 8M 8M", "write -z 24M 8M")
    assert extents(clients, disk.uri) == [
        [0, 8 * MIB, 3],
        [8 * MIB, 8 * MIB, 0],
        [16 * MIB, 8 * MIB, 3],
        [24 * MIB, 8 * MIB, 2],
        [32 * MIB, 32 * MIB, 3],
    ]
    depths = extents(clients, disk.uri, "qemu:allocation-depth")
    assert [part for part in depths if part[2]] == [[8 * MIB, 8 * MIB, 1], [24 * MIB, 8 * MIB, 1]]
    mapped = json.loads(clients.run("qemu-img", "map", "--output=json", "-f", "raw", disk.uri))
    assert [[part["start"], part["length"]] for part in mapped if not part["zero"]] == [
        [8 * MIB, 8 * MIB]
    ]
