"""The life of one volume, from its formatting to its recovery, lived by real clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.interop.clients import Clients
from tests.interop.images import Image
from tests.programs.running import run
from tests.service.twistd import Twistd

MIB = 1 << 20

CONFIGURATION = """
[gateway]
state_dir = state
[listen:unix]
endpoint = unix:nbd.sock
[export:vm1]
size = {size}
{keys}
"""
CLONE = """
[export:copy]
{keys}
"""


class Life:
    """
    One gateway and its volume ``vm1``.

    Args:
        directory: where the gateway runs.
        keys: of the export's section: provider and place.
        start: starts a gateway there.
        clients: run commands.
    """

    def __init__(
        self, directory: Path, keys: str, start: Callable[..., Twistd], clients: Clients
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._start = start
        self._clients = clients

    def uri(self, export: str = "vm1") -> str:
        """Of an export, or of ``EXPORT@SNAPSHOT``."""
        return f"nbd+unix:///{export}?socket={self._directory / 'nbd.sock'}"

    def serve(self, size: int, with_clone: bool = False) -> None:
        """Start the gateway."""
        text = CONFIGURATION.format(size=size, keys=self._keys)
        if with_clone:
            text += CLONE.format(keys=self._keys)
        (self._directory / "gw.ini").write_text(text)
        self.gateway = self._start("--config", "gw.ini")
        self.gateway.wait_for("export vm1 is open")
        if with_clone:
            self.gateway.wait_for("export copy is open")

    def kill(self) -> None:
        """As a crash does."""
        self.gateway.process.kill()
        self.gateway.process.wait()

    def operate(self, *arguments: str) -> Any:
        """``nbdgateway ARGUMENTS``; its answer."""
        words = ["--config", "gw.ini", "--json", *arguments]
        done = run("nbdgateway", *words, directory=self._directory)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def fill(self, image: Image) -> None:
        """Convert a file system with files onto the volume."""
        self._clients.run(
            "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", image.qcow2, self.uri()
        )

    def check(self, image: Image, export: str) -> None:
        """That an export starts with an image, whole and sound."""
        copy = self._clients.directory / "check.raw"
        self._clients.run("nbdcopy", self.uri(export), copy)
        with copy.open("r+b") as file:
            file.truncate(image.size)
        assert copy.read_bytes() == image.raw.read_bytes()
        self._clients.run("e2fsck", "-fn", copy)
        copy.unlink()


def live(life: Life, clients: Clients, image: Image) -> None:
    """
    Format, fill, snapshot, clone, grow, trim, collect, kill, recover.

    Args:
        image: what the volume is filled with.
    """
    life.serve(image.size)
    life.fill(image)
    life.operate("snapshot", "create", "vm1", "filled")
    life.operate("clone", "vm1", "filled", "copy")

    clients.qemu_io(life.uri(), "discard 0 32M", "write -P 7 8M 4M", "write -z -n 20M 4M", "flush")
    life.operate("volume", "resize", "vm1", str(2 * image.size))
    assert clients.run("nbdinfo", "--size", life.uri()).strip() == str(2 * image.size)
    clients.qemu_io(life.uri(), f"write -P 9 {2 * image.size - MIB} 1M", "flush")
    while life.operate("gc", "vm1")["emptied"]:
        pass

    def later() -> None:
        life.check(image, "vm1@filled")
        clients.qemu_io(
            life.uri(),
            "read -P 0 0 8M",
            "read -P 7 8M 4M",
            "read -P 0 12M 20M",
            f"read -P 9 {2 * image.size - MIB} 1M",
        )

    later()
    clients.qemu_io(life.uri(), "write -P 5 40M 64k", "flush", "write -P 6 41M 64k")
    life.kill()
    life.serve(2 * image.size, with_clone=True)
    later()
    clients.qemu_io(life.uri(), "read -P 5 40M 64k")

    life.check(image, "copy")
    clients.qemu_io(life.uri("copy"), "write -P 1 0 64k", "flush")
    life.check(image, "vm1@filled")
    life.operate("snapshot", "rollback", "vm1", "filled", "--yes")
    life.check(image, "vm1")
    assert life.gateway.stop() < 20
    life.serve(2 * image.size, with_clone=True)
    life.check(image, "vm1")
    clients.qemu_io(life.uri("copy"), "read -P 1 0 64k")
    assert life.gateway.stop() < 20
