"""
What was changed since a snapshot, and the snapshot itself, as other projects' clients see them.

The gateway is a real one; the volumes are those of `tests.doubles.volume`,
found like any third party's provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import Clients
from tests.interop.gateway import MIB
from tests.service.twistd import Twistd

pytestmark = pytest.mark.interop

SIZE = 16 * MIB
BITMAP = "qemu:dirty-bitmap:monday"
CONTEXTS = [
    "base:allocation",
    "qemu:allocation-depth",
    "x-nbdgateway:changed:monday",
    BITMAP,
    "x-nbdgateway:changed:tues:day",
    "qemu:dirty-bitmap:tues:day",
]


class Volume:
    """An export called vm1 with two snapshots of its first 64 KiB of 0xaa."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "nbd.sock"

    def uri(self, snapshot: str = "") -> str:
        return f"nbd+unix:///vm1{snapshot}?socket={self.socket}"


@pytest.fixture
def volume(
    directory: Path, start: Callable[..., Twistd], monkeypatch: pytest.MonkeyPatch
) -> Volume:
    """Served by a process that lives as long as the test."""
    plugins = directory / "site" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "volumes_plugin.py").write_text(
        "from tests.doubles.volume import VolumeProvider\nvolumes = VolumeProvider()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(directory / "site"))
    (directory / "gw.ini").write_text(
        "[listen:unix]\nendpoint = unix:nbd.sock\n"
        f"[export:vm1]\nprovider = volumes\nsize = {SIZE}\nsnapshots = monday, tues:day\n"
    )
    process = start("--config", "gw.ini")
    process.wait_for("export vm1 is open")
    return Volume(directory)


def change(clients: Clients, volume: Volume) -> None:
    """Write, zero and trim a block each."""

    def script(h: Any) -> None:
        h.pwrite(b"\xbb" * 4096, 4096)
        h.zero(65536, 1 << 20)
        h.trim(65536, 2 << 20)
        h.flush()

    clients.nbdsh(volume.uri(), script)


def test_nbdinfo_lists_both_contexts_of_every_snapshot(clients: Clients, volume: Volume) -> None:
    """In the order in which storage names them."""
    (export,) = json.loads(clients.run("nbdinfo", "--json", volume.uri()))["exports"]
    assert export["contexts"] == CONTEXTS
    assert not export["is_read_only"]


@pytest.mark.parametrize("context", CONTEXTS[2:])
def test_nbdinfo_maps_what_was_changed(clients: Clients, volume: Volume, context: str) -> None:
    """It asks piece by piece, and knows the words."""
    change(clients, volume)
    text = clients.run("nbdinfo", "--json", f"--map={context}", volume.uri())
    found = [(part["offset"], part["length"], part["type"]) for part in json.loads(text)]
    assert found == [
        (0, 4096, 0),
        (4096, 4096, 1),
        (8192, MIB - 8192, 0),
        (MIB, 65536, 1),
        (MIB + 65536, MIB - 65536, 0),
        (2 * MIB, 65536, 1),
        (2 * MIB + 65536, SIZE - 2 * MIB - 65536, 0),
    ]


def test_qemu_img_maps_what_was_changed(clients: Clients, volume: Volume) -> None:
    """Its option shows what is dirty as not being data."""
    change(clients, volume)
    options = f"driver=nbd,server.type=unix,server.path={volume.socket},export=vm1"
    text = clients.run(
        "qemu-img", "map", "--output=json", "--image-opts", f"{options},x-dirty-bitmap={BITMAP}"
    )
    dirty = [(part["start"], part["length"]) for part in json.loads(text) if not part["data"]]
    assert dirty == [(4096, 4096), (MIB, 65536), (2 * MIB, 65536)]


def test_nbdsh_asks_for_several_contexts_at_once(clients: Clients, volume: Volume) -> None:
    """And gets each in a chunk of its own."""
    change(clients, volume)

    def script(h: Any, uri: str) -> None:
        wanted = ["base:allocation", "qemu:dirty-bitmap:monday", "x-nbdgateway:changed:tues:day"]
        for name in [*wanted, "qemu:dirty-bitmap:gone"]:
            h.add_meta_context(name)
        h.connect_uri(uri)
        assert not h.can_meta_context("qemu:dirty-bitmap:gone")
        found = {}
        h.block_status(
            8192, 0, lambda name, offset, entries, error: found.setdefault(name, entries) and 0
        )
        assert sorted(found) == sorted(wanted), found
        assert found["qemu:dirty-bitmap:monday"][:4] == [4096, 0, 4096, 1], found
        assert found["qemu:dirty-bitmap:monday"] == found["x-nbdgateway:changed:tues:day"]

    clients.nbdsh(None, script, volume.uri())


def test_a_snapshot_is_what_the_volume_was(clients: Clients, volume: Volume) -> None:
    """For libnbd and for qemu; read-only, whatever happens to the volume."""
    change(clients, volume)
    (export,) = json.loads(clients.run("nbdinfo", "--json", volume.uri("@monday")))["exports"]
    assert export["is_read_only"]
    assert export["contexts"] == CONTEXTS[:2]
    clients.run("nbdcopy", volume.uri("@monday"), "copy.raw")
    copied = (clients.directory / "copy.raw").read_bytes()
    assert copied == b"\xaa" * 65536 + bytes(SIZE - 65536)
    clients.run(
        "qemu-img", "compare", "-f", "raw", "-F", "raw", "copy.raw", volume.uri("@tues:day")
    )


def test_an_unknown_snapshot_is_refused(clients: Clients, volume: Volume) -> None:
    """Like any name that is not offered; snapshots are not listed."""
    assert "No such file" in clients.refused("nbdinfo", volume.uri("@sunday"))
    listed = json.loads(clients.run("nbdinfo", "--json", "--list", volume.uri()))["exports"]
    assert [export["export-name"] for export in listed] == ["vm1"]
