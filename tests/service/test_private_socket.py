"""A disk on a socket of its own is there for one command, and for nobody else."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.twistd import PATIENCE, environment

#: Runs a command with a disk of 1 MiB in memory, then prints what the disk holds at its start.
PROGRAM = """
import os, sys
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread
from backends.memory import MemoryExport
from gateway.private_socket import PrivateSocket, run

async def main(reactor, *command):
    disk = MemoryExport(1 << 20)
    socket = PrivateSocket(reactor, "vm 1", disk)
    print(socket.path, oct(os.stat(os.path.dirname(socket.path)).st_mode & 0o777), flush=True)
    try:
        status = await run(deferToThread, command, socket, os.environ)
    finally:
        await socket.close()
    print(bytes(disk.read(0, 4)), flush=True)
    print("status", status, flush=True)

task.react(lambda *words: ensureDeferred(main(*words)), sys.argv[1:])
"""


def run(*command: str) -> list[str]:
    """The lines that are printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_command_finds_the_disk_by_its_uri_and_leaves_nothing() -> None:
    """The place is closed to others, and gone in the end."""
    if shutil.which("qemu-io") is None and not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"):
        pytest.skip("qemu-io is not installed")
    first, *_, data, status = run("qemu-io", "-f", "raw", "-c", "write -P 97 0 4096", "{uri}")
    path, mode = first.split()
    assert mode == "0o700"
    assert data == "b'aaaa'"
    assert status == "status 0"
    assert not Path(path).parent.exists()


def test_one_line_is_for_the_shell() -> None:
    """With the address in its variables."""
    first, uri, socket, *_, status = run('echo "$uri"; echo "$socket"; exit 7')
    assert uri == f"nbd+unix:///vm%201?socket={socket}"
    assert socket == first.split()[0]
    assert status == "status 7"


def test_a_command_that_is_not_there_has_the_status_that_shells_give_it() -> None:
    """127, and 128 and the signal's number for one that a signal ended."""
    assert run("/no/such/program", "{uri}")[-1] == "status 127"
    assert run("kill -TERM $$")[-1] == "status 143"


def test_the_socket_is_for_its_owner_only() -> None:
    """Whatever the umask."""
    _, mode, *_ = run('stat -c %a "$socket"')
    assert int(mode, 8) & (stat.S_IRWXG | stat.S_IRWXO) == 0
