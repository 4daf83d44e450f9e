"""qemu-storage-daemon mirrors a disk onto an export, as libvirt's storage migration does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.clients import PATIENCE, Clients, find
from tests.interop.gateway import Disk
from tests.interop.images import Image

pytestmark = pytest.mark.interop


class Daemon:
    """A qemu-storage-daemon on pipes, spoken to in QMP."""

    def __init__(self, program: str) -> None:
        chardev = ["--chardev", "stdio,id=monitor", "--monitor", "chardev=monitor"]
        self.process = subprocess.Popen(
            [program, *chardev], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []
        assert "QMP" in self._read()
        self.call("qmp_capabilities")

    def call(self, command: str, **arguments: Any) -> None:
        """Run a command that has to succeed."""
        assert self.process.stdin is not None
        text = json.dumps({"execute": command, "arguments": arguments})
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        while "return" not in (answer := self._read()):
            assert "error" not in answer, answer
            self.events.append(answer)

    def wait_for(self, event: str) -> dict[str, Any]:
        """The data of the next event of a name."""
        while True:
            for number, seen in enumerate(self.events):
                if seen.get("event") == event:
                    data: dict[str, Any] = self.events.pop(number)["data"]
                    return data
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the daemon has ended"
        read: dict[str, Any] = json.loads(line)
        return read


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """One that ends with the test."""
    running = Daemon(find("qemu-storage-daemon"))
    yield running
    running.process.terminate()
    running.process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("discard", ["unmap", "ignore"])
def test_a_disk_is_mirrored(
    clients: Clients, disk: Disk, image: Image, daemon: Daemon, discard: str
) -> None:
    """The whole of it, then the job is ended and the copies are equal."""
    file = {"driver": "file", "filename": str(image.raw)}
    daemon.call("blockdev-add", **{"node-name": "source", "driver": "raw", "file": file})
    server = {"type": "unix", "path": str(disk.socket)}
    target = {"driver": "nbd", "server": server, "export": disk.name, "discard": discard}
    daemon.call("blockdev-add", **{"node-name": "target"}, **target)
    mirror = {"device": "source", "target": "target", "sync": "full", "job-id": "job"}
    daemon.call("blockdev-mirror", **mirror)
    daemon.wait_for("BLOCK_JOB_READY")
    daemon.call("block-job-complete", device="job")
    assert "error" not in daemon.wait_for("BLOCK_JOB_COMPLETED")
    daemon.call("blockdev-del", **{"node-name": "target"})
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, disk.uri)
