"""NBD servers to measure, each on its own copy of one disk image."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass
class Server:
    """
    A running server.

    Attributes:
        name: for the table.
        uri: where it serves.
        pid: its process.
    """

    name: str
    uri: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time spent so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Memory held now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def make_image(path: Path, size: int) -> None:
    """A file of ``size`` bytes that no server can take for zeroes, in page cache."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)


def gateway_command(directory: Path, image: Path, endpoint: str) -> list[str]:
    """This gateway, serving ``image`` as export ``disk``."""
    config = directory / "gw.ini"
    config.write_text(
        f"[listen:bench]\nprotocol = nbd\nendpoint = {endpoint}\n"
        f"[export:disk]\nprovider = file\npath = {image}\n"
    )
    twistd = Path(sys.executable).with_name("twistd")
    return [
        str(twistd), "-n", f"--pidfile={directory}/twistd.pid", f"--logfile={directory}/log",
        "nbdgateway", f"--config={config}",
    ]  # fmt: skip


def nbdkit_command(directory: Path, image: Path, endpoint: str) -> list[str]:
    """nbdkit's file plugin."""
    kind, _, rest = endpoint.partition(":")
    where = ["-U", rest] if kind == "unix" else ["-p", rest.split(":")[0], "-i", "127.0.0.1"]
    return ["nbdkit", "-f", *where, "file", str(image)]


def qemu_nbd_command(directory: Path, image: Path, endpoint: str) -> list[str]:
    """qemu-nbd with its default cache mode, as persistent as the others."""
    kind, _, rest = endpoint.partition(":")
    where = ["-k", rest] if kind == "unix" else ["-p", rest.split(":")[0], "-b", "127.0.0.1"]
    return ["qemu-nbd", "-t", "-f", "raw", "-e", "64", "--discard=unmap", *where, str(image)]


COMMANDS: dict[str, Callable[[Path, Path, str], list[str]]] = {
    "nbdgateway": gateway_command,
    "nbdkit file": nbdkit_command,
    "qemu-nbd": qemu_nbd_command,
}


@contextmanager
def running(
    names: list[str], directory: Path, image: Path, transport: str
) -> Iterator[list[Server]]:
    """
    The servers called ``names``, each serving its own copy of ``image``.

    Args:
        transport: "unix" or "tcp".
    """
    with ExitStack() as stack:
        servers = []
        for index, name in enumerate(names):
            home = directory / f"server{index}"
            home.mkdir()
            copy = home / "disk.raw"
            shutil.copyfile(image, copy)
            export = "disk" if name == "nbdgateway" else ""
            if transport == "unix":
                address: str | tuple[str, int] = str(home / "nbd.sock")
                endpoint = f"unix:{address}"
                uri = f"nbd+unix:///{export}?socket={address}"
            else:
                port = _free_port()
                address = ("127.0.0.1", port)
                endpoint = f"tcp:{port}:interface=127.0.0.1"
                uri = f"nbd://127.0.0.1:{port}/{export}"
            command = COMMANDS[name](home, copy, endpoint)
            process = stack.enter_context(started(command, home, address))
            servers.append(Server(name, uri, process.pid))
        yield servers


@contextmanager
def started(
    command: list[str], home: Path, address: str | tuple[str, int]
) -> Iterator[subprocess.Popen[bytes]]:
    """
    One server process, from when it listens until it has stopped.

    Args:
        address: where it will listen, a Unix socket's path or host and port.
    """
    with (home / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            _wait_until_listening(process, address, home / "stderr")
            yield process
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_listening(
    process: subprocess.Popen[bytes], address: str | tuple[str, int], stderr: Path
) -> None:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended: {stderr.read_text()}")
        with socket.socket(family) as client:
            try:
                client.connect(address)
                client.recv(1)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"{process.args!r} does not listen")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
