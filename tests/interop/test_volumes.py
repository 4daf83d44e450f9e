"""
Volumes in object stores, as other projects' clients see them.

The gateway is a real process; its stores are a directory, and S3 over HTTP on
this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.moto_server import S3Server, aws_environment, s3_process, s3_server
from tests.interop.clients import Clients
from tests.interop.gateway import ALARMS, MIB
from tests.interop.images import Image
from tests.service.twistd import Twistd

__all__ = ["aws_environment", "s3_process", "s3_server"]

pytestmark = pytest.mark.interop

Start = Callable[..., Twistd]

SIZE = 64 * MIB


class Volume:
    """
    One volume, served by a process that can be ended in many ways.

    Args:
        directory: of the process; its socket is there.
        keys: of the export's section.
        start: starts a process there.
    """

    def __init__(self, directory: Path, keys: str, start: Start) -> None:
        self.directory = directory
        self.uri = f"nbd+unix:///vm1?socket={directory / 'nbd.sock'}"
        self._start = start
        (directory / "gw.ini").write_text(
            f"[listen:unix]\nendpoint = unix:nbd.sock\n[export:vm1]\nsize = {SIZE}\n{keys}"
        )

    def serve(self) -> None:
        """Start the gateway."""
        self.process = self._start("--config", "gw.ini")
        self.process.wait_for("export vm1 is open")

    def kill(self) -> None:
        """As a crash does: nothing is flushed."""
        self.process.process.kill()
        self.process.process.wait()

    def check_log(self) -> None:
        """No client may cause an alarm."""
        lines = self.process.text().splitlines()
        assert not [line for line in lines if any(alarm in line for alarm in ALARMS)]


@pytest.fixture(params=["directory", "s3"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store that is empty."""
    if request.param == "directory":
        return f"provider = directory\npath = {tmp_path / 'objects'}\n"
    server: S3Server = request.getfixturevalue("s3_server")
    return (
        f"provider = s3\nbucket = {server.bucket}\nendpoint_url = {server.url}\n"
        "region = us-east-1\n"
    )


@pytest.fixture(params=["store", "journal"])
def volume(request: pytest.FixtureRequest, directory: Path, start: Start, keys: str) -> Volume:
    """An empty volume with each durability, not served yet."""
    durability = f"durability = {request.param}\njournal_size = 128M\nupload_delay = 3600\n"
    return Volume(directory, keys + durability, start)


def extents(clients: Clients, uri: str) -> list[tuple[int, int, int]]:
    """Offset, length and type of each, as nbdinfo prints them."""
    found = json.loads(clients.run("nbdinfo", "--json", "--map", uri))
    return [(one["offset"], one["length"], one["type"]) for one in found]


def test_a_disk_image_goes_in_and_out(
    clients: Clients, directory: Path, start: Start, keys: str, image: Image
) -> None:
    """By qemu and by libnbd, compressed and not, also by a gateway started anew."""
    volume = Volume(directory, keys, start)
    volume.serve()
    clients.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", image.qcow2, volume.uri)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, volume.uri)
    before = extents(clients, volume.uri)
    assert volume.process.stop() < 10
    volume.check_log()
    volume.serve()
    assert extents(clients, volume.uri) == before
    clients.run("nbdcopy", volume.uri, "copy.raw")
    assert (clients.directory / "copy.raw").read_bytes() == image.raw.read_bytes()
    volume.check_log()


def test_what_was_flushed_survives_a_crash(clients: Clients, volume: Volume) -> None:
    """Data, zeroes and holes; zeroing is fast, as nothing is written for it."""
    volume.serve()
    clients.qemu_io(
        volume.uri,
        "write -P 7 1M 4M",
        "write -z -n 2M 1M",
        "write -z -n -u 3M 1M",
        "write -P 9 512 1536",
        "flush",
    )
    expected = [
        (0, 512, 3),
        (512, 1536, 0),
        (2048, MIB - 2048, 3),
        (MIB, MIB, 0),
        (2 * MIB, MIB, 2),
        (3 * MIB, MIB, 3),
        (4 * MIB, MIB, 0),
        (5 * MIB, SIZE - 5 * MIB, 3),
    ]
    assert extents(clients, volume.uri) == expected
    volume.kill()
    volume.check_log()
    volume.serve()
    assert extents(clients, volume.uri) == expected
    clients.qemu_io(
        volume.uri,
        "read -P 9 512 1536",
        "read -P 7 1M 1M",
        "read -P 0 2M 2M",
        "read -P 7 4M 1M",
        "read -P 0 5M 59M",
    )
    volume.check_log()


@pytest.fixture
def two(directory: Path, keys: str) -> Iterator[list[Volume]]:
    """One volume, as two gateways serve it."""
    started: list[Twistd] = []

    def machine(name: str) -> Volume:
        place = directory / name
        place.mkdir()

        def start(*arguments: str) -> Twistd:
            started.append(Twistd(place, *arguments))
            return started[-1]

        return Volume(place, keys, start)

    yield [machine("first"), machine("second")]
    for process in started:
        process.stop()


def test_a_second_gateway_takes_the_volume_over(clients: Clients, two: list[Volume]) -> None:
    """What the first acknowledged is there, and it acknowledges nothing afterwards."""
    first, second = two
    first.serve()
    clients.qemu_io(first.uri, "write -P 7 0 1M", "flush")
    second.serve()
    clients.qemu_io(second.uri, "read -P 7 0 1M", "write -P 8 0 1M", "flush")
    clients.qemu_io_fails(first.uri, "write -f -P 9 0 1M", cache="writethrough")
    clients.qemu_io(second.uri, "read -P 8 0 1M")
    second.check_log()
