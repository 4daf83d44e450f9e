"""qemu-storage-daemon mirrors a disk onto an export, as libvirt's storage migration does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.clients import Clients, find
from tests.interop.gateway import Disk
from tests.interop.images import Image
from tests.interop.qmp import Qmp

pytestmark = pytest.mark.interop


@pytest.fixture
def daemon() -> Iterator[Qmp]:
    """A qemu-storage-daemon that ends with the test."""
    chardev = ["--chardev", "stdio,id=monitor", "--monitor", "chardev=monitor"]
    with Qmp([find("qemu-storage-daemon"), *chardev]) as running:
        yield running


@pytest.mark.parametrize("discard", ["unmap", "ignore"])
def test_a_disk_is_mirrored(
    clients: Clients, disk: Disk, image: Image, daemon: Qmp, discard: str
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
