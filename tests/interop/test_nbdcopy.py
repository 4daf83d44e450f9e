"""nbdcopy copies in and out, in each of its modes."""

from __future__ import annotations

import filecmp

import pytest

from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import Disk
from tests.interop.images import Image

pytestmark = pytest.mark.interop

#: Its own ways to copy; each sends other requests.
MODES = {
    "asynchronous": [],
    "synchronous": ["--synchronous"],
    "without extents": ["--no-extents"],
    "fully allocated": ["--allocated"],
    "one connection": ["--connections=1", "--requests=8", "--threads=1"],
    "four connections": ["--connections=4"],
    "small requests": ["--request-size=4096", "--sparse=512"],
}


@pytest.mark.parametrize("mode", MODES)
def test_an_image_is_the_same_after_nbdcopy_in_and_out(
    clients: Clients, disk: Disk, image: Image, mode: str
) -> None:
    """Over several connections at once where it may."""
    copy = clients.directory / "copy.raw"
    clients.run("nbdcopy", *MODES[mode], "--flush", image.raw, disk.uri)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, disk.uri)
    clients.run("nbdcopy", *MODES[mode], disk.tcp, copy)
    assert filecmp.cmp(image.raw, copy, shallow=False)


def test_an_empty_destination_needs_no_zeroes(clients: Clients, disk: Disk, image: Image) -> None:
    """The quickest way onto a fresh export; what the image lacks stays a hole."""
    clients.run("nbdcopy", "--destination-is-zero", "--flush", image.raw, disk.uri)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, disk.uri)
    assert "hole,zero" in clients.run("nbdinfo", "--map", disk.uri)


def test_one_export_is_copied_to_another_at_once(
    clients: Clients, new_disk: NewDisk, image: Image
) -> None:
    """Four connections to each, into old data."""
    first, second = new_disk(), new_disk()
    clients.run("nbdcopy", image.raw, first.uri)
    clients.qemu_io(second.uri, "write -P 0xee 0 64M")
    clients.run("nbdcopy", first.uri, second.tcp)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, second.uri)


def test_allocated_leaves_no_hole(clients: Clients, offer: NewDisk, image: Image) -> None:
    """NO_HOLE on every zero: the whole file is paid for."""
    disk = offer("file")
    clients.run("nbdcopy", "--allocated", "--flush", image.raw, disk.uri)
    assert "hole" not in clients.run("nbdinfo", "--map", disk.uri)
    assert disk.allocated() >= disk.size


def test_a_stream_is_copied_out(clients: Clients, disk: Disk, image: Image) -> None:
    """To a pipe, in order."""
    clients.run("nbdcopy", image.raw, disk.uri)
    copy = clients.directory / "copy.raw"
    script = 'set -o pipefail; nbdcopy "$0" - | cat > "$1"'
    clients.run("bash", "-c", script, disk.uri, copy)
    assert filecmp.cmp(image.raw, copy, shallow=False)
