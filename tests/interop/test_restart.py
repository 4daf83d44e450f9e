"""A gateway is restarted and killed under qemu: with `reconnect-delay` nobody sees an error."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.clients import find
from tests.service.twistd import PATIENCE, Twistd, until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

Start = Callable[..., Twistd]

KIB = 1 << 10
BLOCK = 64 * KIB
#: Blocks of the disk that the writer goes round.
BLOCKS = 256

HEAD = (
    "[gateway]\nstate_dir = state\n[listen:u]\nendpoint = unix:nbd.sock\n[export:vm1]\nsize = 64M\n"
)
#: By name. Nothing is stored before a flush asks, or a segment is full.
PLACES = {
    "file": "provider = file\npath = disk.raw\n",
    "volume": "provider = directory\npath = objects\nupload_delay = 600\n",
    "journal": "provider = directory\npath = objects\nupload_delay = 600\ndurability = journal\n"
    "journal_size = 128M\n",
}


class Writer:
    """
    A qemu-io that stays, with eight writes in flight.

    Args:
        directory: of the gateway's socket.
        delay: seconds that it waits for a gateway that is gone.
        cache: as ``-t`` has it.
    """

    def __init__(self, directory: Path, delay: int, cache: str = "writeback") -> None:
        self._output = directory / "qemu-io"
        self._written = 0
        #: What each block holds, by its number.
        self.patterns: dict[int, int] = {}
        image = (
            f"driver=nbd,server.type=unix,server.path=nbd.sock,export=vm1,reconnect-delay={delay}"
        )
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                # else it reads ahead, and keeps what it has to say until it ends
                [find("stdbuf"), "-i0", "-oL", find("qemu-io"), "-t", cache, "--image-opts", image],
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                bufsize=1,
            )

    def text(self) -> str:
        """All that it said."""
        return self._output.read_text(errors="replace")

    def write(self, rounds: int) -> None:
        """Ask for so many rounds of eight writes; returns before they are done."""
        for _ in range(rounds):
            for _ in range(8):
                block, pattern = self._written % BLOCKS, 1 + self._written % 251
                self.say(f"aio_write -P {pattern} {block * BLOCK} {BLOCK}")
                self.patterns[block] = pattern
                self._written += 1
            self.say("aio_flush")

    def say(self, command: str) -> None:
        """Hand it a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")

    def wait_for(self, count: int) -> None:
        """Until so many writes were answered."""

        def is_there() -> bool:
            assert self.process.poll() is None, self.text()
            return self.text().count("wrote ") >= count

        until(is_there, f"{count} writes in\n{self.text()[-1000:]}")

    def finish(self) -> str:
        """After all of it was done; what it said."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        return self.text()

    @property
    def written(self) -> int:
        """Writes asked for."""
        return self._written


@pytest.fixture
def writer(directory: Path) -> Iterator[Callable[..., Writer]]:
    """Starts writers, and ends them after the test."""
    started: list[Writer] = []

    def start_one(delay: int, cache: str = "writeback") -> Writer:
        started.append(Writer(directory, delay, cache))
        return started[-1]

    yield start_one
    for one in started:
        one.process.kill()
        one.process.communicate()


def serve(directory: Path, start: Start, place: str) -> Twistd:
    (directory / "gw.ini").write_text(HEAD + PLACES[place])
    gateway = start("--config", "gw.ini")
    gateway.wait_for("export vm1 is open")
    return gateway


def go(gateway: Twistd, signal: str) -> None:
    """End a gateway, in order or not."""
    if signal == "kill":
        gateway.process.kill()
        gateway.process.wait()
    else:
        gateway.stop()


def check(directory: Path, patterns: dict[int, int]) -> None:
    """By a client that knows nothing of what was."""
    reads = [f"read -P {pattern} {block * BLOCK} {BLOCK}" for block, pattern in patterns.items()]
    done = subprocess.run(
        [find("qemu-io"), "-r", "-f", "raw", f"nbd+unix:///vm1?socket={directory}/nbd.sock"],
        input="\n".join(reads),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "failed" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert done.stdout.count("read ") == len(patterns)


@pytest.mark.parametrize("signal", ["term", "kill"])
@pytest.mark.parametrize("place", PLACES)
def test_a_restart_is_no_error_to_who_waits_for_it(
    directory: Path, start: Start, writer: Callable[..., Writer], place: str, signal: str
) -> None:
    """
    Three times under writes, which go on; every byte that was answered is there.

    Killed, a volume without a journal keeps what was flushed or forced: so each write is, as a
    disk with ``write-cache=off`` does it.
    """
    gateway = serve(directory, start, place)
    forced = signal == "kill" and place == "volume"
    client = writer(60, "writethrough" if forced else "writeback")
    for _ in range(3):
        client.write(12)
        client.wait_for(client.written - 80)
        go(gateway, signal)
        client.write(2)  # nobody is there to take them
        gateway = serve(directory, start, place)
        client.write(2)
    said = client.finish()
    assert "failed" not in said and "rror" not in said, said
    assert said.count("wrote ") == client.written
    check(directory, client.patterns)
    assert "Traceback" not in gateway.text()


@pytest.mark.parametrize("signal", ["term", "kill"])
def test_who_does_not_wait_sees_an_error(
    directory: Path, start: Start, writer: Callable[..., Writer], signal: str
) -> None:
    """Without `reconnect-delay`, so that the test above would see one."""
    gateway = serve(directory, start, "file")
    client = writer(0)
    client.write(1)
    client.wait_for(8)
    go(gateway, signal)
    client.write(1)
    assert "failed" in client.finish()


@pytest.mark.parametrize("place", PLACES)
def test_a_client_that_waited_is_told_of_no_crash(
    directory: Path, start: Start, writer: Callable[..., Writer], place: str
) -> None:
    """
    Its flush succeeds: with a file or a journal rightly so.

    A volume without a journal has lost what was not flushed, which is why the page on virtual
    machines says to give them one, to reset them after a crash, or ``write-cache=off``.
    """
    gateway = serve(directory, start, place)
    client = writer(60)
    client.write(1)
    client.say("flush")
    client.write(1)
    client.wait_for(16)
    go(gateway, "kill")
    serve(directory, start, place)
    client.say("flush")
    said = client.finish()
    assert "failed" not in said and "rror" not in said, said
    lost = dict.fromkeys(range(8, 16), 0) if place == "volume" else {}
    check(directory, client.patterns | lost)
