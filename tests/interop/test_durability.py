"""What a client was told is safe outlives the gateway: SIGTERM, kill -9, a full disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import Clients, find
from tests.service.twistd import PATIENCE, Twistd

pytestmark = pytest.mark.interop

Start = Callable[..., Twistd]

#: twistd's status after a clean exit: it ends by the signal that it was told to end with.
ENDED = -signal.SIGTERM

CONFIGURATION = (
    "[gateway]\nshutdown_timeout = 5\n"
    "[listen:u]\nendpoint = unix:nbd.sock\n"
    "[export:disk]\nprovider = file\npath = {path}\nsize = 64M\n"
)


def serve(directory: Path, start: Start, path: str = "disk.raw") -> tuple[Twistd, str]:
    """A gateway with one file, and the URI of its export."""
    (directory / "gw.ini").write_text(CONFIGURATION.format(path=path))
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export disk is open")
    return gateway, f"nbd+unix:///disk?socket={directory}/nbd.sock"


def write_until_it_ends(h: Any, uri: str) -> None:
    """
    Write block after block, flush every eighth, and tell what is safe; in nbdsh.

    The first half of the disk only. Each line is the number of blocks that were
    written, answered, and then flushed.
    """
    import nbd

    h.connect_uri(uri)
    number = 0
    try:
        while number < 8192:
            h.pwrite((b"%08d" % number) * 512, number * 4096)
            number += 1
            if number % 8 == 0:
                h.flush()
                print(number, flush=True)  # noqa: T201
    except nbd.Error:
        pass


def keep_busy(h: Any, uri: str) -> None:
    """Random writes to the second half, 32 in flight, until the end; in nbdsh."""
    import random

    import nbd

    h.connect_uri(uri)
    data = nbd.Buffer(65536)
    print("ready", flush=True)  # noqa: T201
    try:
        while True:
            while h.aio_in_flight() < 32:
                h.aio_pwrite(data, (32 << 20) + random.randrange(512) * 65536)
            h.poll(1000)
            cookie = h.aio_peek_command_completed()
            while cookie > 0:
                h.aio_command_completed(cookie)
                cookie = h.aio_peek_command_completed()
    except nbd.Error:
        pass


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_flushed_bytes_are_there_after_the_gateway_ended_under_load(
    clients: Clients, directory: Path, start: Start, how: signal.Signals
) -> None:
    """Two clients write without end; what one of them flushed is in the next gateway's disk."""
    gateway, uri = serve(directory, start)
    busy = clients.start_nbdsh(keep_busy, uri)
    writer = clients.start_nbdsh(write_until_it_ends, uri)
    assert busy.stdout is not None and writer.stdout is not None
    try:
        assert busy.stdout.readline() == "ready\n"
        safe = 0
        while safe < 64:
            line = writer.stdout.readline()
            assert line, "the writer ended early"
            safe = int(line)
        gateway.process.send_signal(how)
        gateway.process.wait(PATIENCE)
        lines, _ = writer.communicate(timeout=PATIENCE)
        busy.communicate(timeout=PATIENCE)
        safe = max([safe, *map(int, lines.split())])
    finally:
        for process in (busy, writer):
            process.kill()
            process.communicate()
    if how == signal.SIGTERM:
        assert gateway.process.returncode == ENDED
        assert "every export is closed" in gateway.text()
        assert "Traceback" not in gateway.text()
    again, uri = serve(directory, start)
    commands = clients.nbdsh(uri, check_blocks, safe)
    assert commands == f"{safe}\n"
    again.stop()


def check_blocks(h: Any, safe: int) -> None:
    """Compare the first blocks with what `write_until_it_ends` wrote; in nbdsh."""
    for number in range(safe):
        assert h.pread(4096, number * 4096) == (b"%08d" % number) * 512, number
    print(safe)  # noqa: T201


def test_everything_answered_is_there_after_sigterm(
    clients: Clients, directory: Path, start: Start
) -> None:
    """A clean exit flushes for the clients that did not."""
    gateway, uri = serve(directory, start)

    def script(h: Any) -> None:
        for number in range(1024):
            h.pwrite((b"%08d" % number) * 512, number * 4096)

    clients.nbdsh(uri, script)
    gateway.stop()
    expected = b"".join((b"%08d" % number) * 512 for number in range(1024))
    assert (directory / "disk.raw").read_bytes()[: len(expected)] == expected


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 16 MiB; only root can make one."""
    mount = directory / "small"
    mount.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    command = [find("mount"), "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mount)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr}")
    yield mount
    subprocess.run([find("umount"), "-l", str(mount)], check=True, timeout=PATIENCE)


def test_a_full_disk_is_told_and_service_goes_on_once_there_is_space(
    clients: Clients, directory: Path, start: Start, small_disk: Path
) -> None:
    """ENOSPC to the one who writes; reads go on, and so do writes where there is data."""
    gateway, uri = serve(directory, start, "small/disk.raw")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    clients.qemu_io(uri, "write -P 1 0 4M")
    complaint = clients.qemu_io_fails(uri, "write -P 2 4M 16M")
    assert "No space left on device" in complaint
    clients.qemu_io(uri, "read -P 1 0 4M", "write -P 3 0 4M", "flush", "read -P 3 0 4M")
    copy_in = ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw"]
    noise = clients.directory / "noise.raw"
    noise.write_bytes(bytes(range(1, 256)) * ((12 << 20) // 255))
    assert "No space left" in clients.refused(*copy_in, noise, uri)

    ballast.unlink()
    clients.qemu_io(uri, "discard 0 64M", "write -P 4 20M 8M", "flush", "read -P 4 20M 8M")
    gateway.stop()
    assert not re.search("Traceback|Unhandled", gateway.text())
    assert gateway.process.returncode == ENDED
