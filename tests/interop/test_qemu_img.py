"""qemu-img copies real images in and out, and finds them equal."""

from __future__ import annotations

import json

import pytest

from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import MIB, Disk
from tests.interop.images import Image

pytestmark = pytest.mark.interop

#: Ways of `qemu-img convert` to fill an export.
WAYS = {
    "in order": ["-n"],
    "out of order": ["-n", "-W", "-m", "16"],
    "without sparse runs": ["-n", "-S", "0"],
    "onto what is zero": ["-n", "--target-is-zero"],
    "after creating it": [],
    "write through": ["-n", "-t", "writethrough"],
}


@pytest.mark.parametrize("source", ["raw", "qcow2"])
@pytest.mark.parametrize("way", WAYS)
def test_an_image_is_the_same_after_it_was_copied_in(
    clients: Clients, disk: Disk, image: Image, way: str, source: str
) -> None:
    """From either format, in every way that makes qemu-img send other requests."""
    path = image.raw if source == "raw" else image.qcow2
    clients.run("qemu-img", "convert", *WAYS[way], "-f", source, "-O", "raw", path, disk.uri)
    clients.run("qemu-img", "compare", "-f", source, "-F", "raw", path, disk.uri)
    clients.run("e2fsck", "-fn", disk.path or image.raw)


@pytest.mark.parametrize("target", ["raw", "qcow2"])
def test_an_image_is_the_same_after_it_was_copied_out(
    clients: Clients, disk: Disk, image: Image, target: str
) -> None:
    """Sparse runs included: the copy takes no more space than the image."""
    clients.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.raw, disk.tcp)
    copy = clients.directory / f"copy.{target}"
    clients.run("qemu-img", "convert", "-f", "raw", "-O", target, disk.tcp, copy)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", target, image.raw, copy)
    assert copy.stat().st_blocks <= image.raw.stat().st_blocks + 1024


def test_old_data_does_not_shine_through_an_image(
    clients: Clients, disk: Disk, image: Image
) -> None:
    """The zeroes of the image replace what the export held."""
    clients.qemu_io(disk.uri, f"write -P 0xee 0 {disk.size}")
    clients.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", image.qcow2, disk.uri)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, disk.uri)


def test_a_qcow2_image_can_be_written_onto_an_export(
    clients: Clients, disk: Disk, image: Image
) -> None:
    """The export holds the file, as it would hold a partition of a guest."""
    clients.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image.raw, disk.uri)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", image.raw, disk.uri)
    assert "No errors" in clients.run("qemu-img", "check", "-f", "qcow2", disk.uri)


def test_one_export_is_copied_to_another(clients: Clients, new_disk: NewDisk, image: Image) -> None:
    """Reads and writes of one gateway in turn."""
    first, second = new_disk(), new_disk()
    clients.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.raw, first.uri)
    clients.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", first.uri, second.tcp)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, second.uri)


def test_what_qemu_img_skips_takes_no_space(clients: Clients, offer: NewDisk, image: Image) -> None:
    """Zeroes arrive as holes, in spite of a source that has them written."""
    disk = offer("file")
    clients.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.raw, disk.uri)
    assert disk.allocated() <= image.raw.stat().st_blocks * 512 + MIB


def test_qemu_img_compare_tells_a_difference(clients: Clients, disk: Disk, image: Image) -> None:
    """The other tests would see one."""
    told = clients.refused("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, disk.uri)
    assert "Content mismatch" in told


def test_an_image_too_large_for_the_export_is_refused(
    clients: Clients, new_disk: NewDisk, image: Image
) -> None:
    """And leaves it as it was."""
    disk = new_disk(size=MIB)
    told = clients.refused(
        "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.raw, disk.uri
    )
    assert "smaller" in told or "larger" in told, told
    clients.qemu_io(disk.uri, "read -P 0 0 1M")


def test_an_export_can_back_an_overlay(clients: Clients, disk: Disk, image: Image) -> None:
    """A read-only base image on the gateway under a local qcow2 file; rebased and committed."""
    clients.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.raw, disk.uri)
    overlay = clients.directory / "overlay.qcow2"
    clients.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk.uri, overlay)
    clients.run("qemu-io", "-f", "qcow2", "-c", "write -P 3 60M 1M", overlay)
    clients.run("qemu-img", "commit", "-q", overlay)
    clients.qemu_io(disk.uri, "read -P 3 60M 1M")
    info = json.loads(clients.run("qemu-img", "info", "--output=json", "-f", "raw", disk.uri))
    assert info["virtual-size"] == disk.size
