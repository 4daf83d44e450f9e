"""kill -9 under other projects' clients: what they were told is safe is there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.crash.served import MIB, Served
from tests.interop.clients import PATIENCE, Clients, find

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

Serve = Callable[..., Served]

KEYS = "durability = {}\njournal_size = 128M\nobject_size = 1M\nupload_delay = 0.1\n"


def fio(uri: str, name: str, offset: int, *options: str) -> list[str]:
    """A command that writes a piece of 2 MiB in random order, with checksums to verify."""
    return [
        find("fio"),
        f"--name={name}",
        "--ioengine=nbd",
        f"--uri={uri}",
        "--rw=randwrite",
        f"--offset={offset}",
        "--size=2m",
        "--bsrange=512-32k",
        "--bs_unaligned=0",
        "--iodepth=8",
        "--randseed=7",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--thread",
        *options,
    ]


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize("seed", range(2))
def test_what_fio_synced_verifies_after_a_kill(
    clients: Clients, served: Serve, durability: str, seed: int
) -> None:
    """
    Piece after piece is written and synced while another fio never stops writing elsewhere;
    every piece that was synced before the kill passes fio's own verification after it.
    """
    random = Random(seed)
    gateway = served("one", KEYS.format(durability))
    gateway.serve()
    busy = subprocess.Popen(
        fio(gateway.uri, "busy", 40 * MIB, "--time_based", "--runtime=60", "--do_verify=0"),
        cwd=clients.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pieces = [number * 2 * MIB for number in range(random.randint(2, 5))]
        for piece in pieces:
            written = fio(gateway.uri, "piece", piece, "--do_verify=0", "--end_fsync=1")
            done = run(written, clients.directory)
            assert done.returncode == 0, done.stderr + done.stdout
        gateway.kill()
        assert busy.wait(PATIENCE) != 0  # it was still writing
    finally:
        busy.kill()
        busy.wait()
    gateway.serve()
    for piece in pieces:
        done = run(fio(gateway.uri, "piece", piece, "--verify_only"), clients.directory)
        assert done.returncode == 0, done.stderr + done.stdout
    assert not gateway.alarms()


@pytest.fixture
def picture(clients: Clients) -> Path:
    """A disk of 40 MiB: noise, with holes in it."""
    path = clients.directory / "picture.raw"
    random = Random(5)
    with path.open("wb") as file:
        for start in range(0, 40, 4):
            file.seek(start * MIB)
            file.write(random.randbytes(3 * MIB))
        file.truncate(40 * MIB)
    return path


def test_qemu_img_convert_is_told_of_a_kill_and_can_do_it_again(
    clients: Clients, served: Serve, durability: str, picture: Path
) -> None:
    """The volume that was half written takes the whole image the next time."""
    gateway = served("one", KEYS.format(durability))
    gateway.serve()
    options = ["convert", "-n", "-f", "raw", "-O", "raw"]
    command = [find("qemu-img"), *options, "-r", "20M", str(picture), gateway.uri]
    copying = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        with gateway.connect() as client:
            while client.read(0, 4096) == bytes(4096):
                assert copying.poll() is None
        gateway.kill()
        output, _ = copying.communicate(timeout=PATIENCE)
        assert copying.returncode > 0, output
    finally:
        copying.kill()
        copying.communicate()
    gateway.serve()
    clients.run("qemu-img", *options, picture, gateway.uri)
    gateway.kill()
    gateway.serve()
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", picture, gateway.uri)
    assert not gateway.alarms()
