"""
The experiment of the cover letter that proposed FAST_ZERO, with this gateway as the server.

    python -m benchmarks.cover_letter [--quick]

Copies an image of 50 x (1 MiB data, 1 MiB hole) onto a disk that takes 20 ms
per 256 KiB written and 5 ms per zero, with each strategy a client ever had,
and prints times and counts beside those published in August 2019. Then a
fragmented image, and the zeroing of a whole TiB. Needs qemu-img and qemu-io,
whose zeroing in advance stands in for what qemu-img 4.2 did by itself.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import MIB, started

TIB = 1 << 40

#: Starts the slow disk from any directory.
SERVER = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    "from benchmarks.slow_disk import main\n"
    "main()"
)

#: Seconds before a client is given up.
PATIENCE = 120


@dataclass(frozen=True)
class Row:
    """
    One line of the published table.

    Attributes:
        meaning: of the configuration.
        published: seconds and counts in the cover letter; ours to compare.
        strategy: of the client; a key of `STRATEGIES`.
        zeroes: the disk zeroes without writing.
        advertise: FAST_ZERO is offered.
    """

    meaning: str
    published: str
    strategy: str
    zeroes: bool
    advertise: bool


ROWS = [
    Row("client does not zero", "8.54 s, 400 writes", "write all", True, True),
    Row("zero first, guessed right", "4.30 s, 200 writes, 4 zeroes", "zero first", True, False),
    Row("zero first, guessed wrong", "12.51 s, 600 writes, 4 zeroes", "zero first", False, False),
    Row("slow, FAST not offered", "8.32 s, 400 writes", "zero holes", False, False),
    Row("quick, FAST not offered", "4.54 s, 200 writes, 50 zeroes", "zero holes", True, False),
    Row("slow, FAST offered", "8.41 s, 400 writes, 1 refused", "fast or holes", False, True),
    Row("quick, FAST offered", "4.31 s, 200 writes, 4 fast", "fast or holes", True, True),
]


def convert(source: Path, uri: str, *options: str) -> None:
    """``qemu-img convert`` onto an export; the client's caches do not matter."""
    command = ["qemu-img", "convert", "-n", *options, "-f", "qcow2", "-O", "raw"]
    subprocess.run([*command, str(source), uri], check=True, timeout=PATIENCE)


def zero_whole(uri: str, size: int, flags: str) -> bool:
    """Zero an export with qemu-io, in requests of 32 MiB; False where that was refused."""
    command = ["qemu-io", "-t", "writeback", "-f", "raw", "-c", f"write {flags} 0 {size}", uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode == 0 and "failed" not in done.stdout + done.stderr


def write_all(source: Path, uri: str, size: int) -> None:
    convert(source, uri, "-S", "0")


def zero_holes(source: Path, uri: str, size: int) -> None:
    convert(source, uri)


def zero_first(source: Path, uri: str, size: int) -> None:
    assert zero_whole(uri, size, "-z -u")
    convert(source, uri, "--target-is-zero")


def fast_or_holes(source: Path, uri: str, size: int) -> None:
    if zero_whole(uri, size, "-z -u -n"):
        convert(source, uri, "--target-is-zero")
    else:
        convert(source, uri)


def zero_holes_at_once(source: Path, uri: str, size: int) -> None:
    convert(source, uri, "-W", "-m", "16")


#: What a client does about the holes of its source.
STRATEGIES: dict[str, Callable[[Path, str, int], None]] = {
    "write all": write_all,
    "zero holes": zero_holes,
    "zero first": zero_first,
    "fast or holes": fast_or_holes,
    "holes, -W -m 16": zero_holes_at_once,
}


def make_source(path: Path, size: int, run: int) -> None:
    """A qcow2 image with ``run`` bytes of data at every other multiple of ``run``."""
    raw = path.with_suffix(".raw")
    data = b"\x5a" * run
    with raw.open("wb") as file:
        for offset in range(0, size, 2 * run):
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    cluster = f"cluster_size={min(run, 65536)}"
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", cluster]
    subprocess.run([*command, str(raw), str(path)], check=True, timeout=PATIENCE)


def measure(
    source: Path, size: int, strategy: str, **settings: str | int
) -> tuple[float, dict[str, int]]:
    """Copy ``source`` onto a slow disk; returns seconds and what the disk was asked to do."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        home = Path(made)
        keys = {"size": size, "counts": home / "counts", **settings}
        lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
        config = home / "gw.ini"
        config.write_text(
            f"[listen:bench]\nendpoint = unix:{home}/nbd.sock\n"
            f"[export:disk]\nprovider = slow\n{lines}"
        )
        command = [sys.executable, "-c", SERVER, str(config)]
        with started(command, home, f"{home}/nbd.sock"):
            start = time.perf_counter()
            STRATEGIES[strategy](source, f"nbd+unix:///disk?socket={home}/nbd.sock", size)
            seconds = time.perf_counter() - start
        return seconds, json.loads((home / "counts").read_text())


def told(seconds: float, counts: dict[str, int]) -> str:
    """A figure as the table shows it."""
    names = {"writes": "writes", "zeroes": "zeroes", "zeroes written": "zeroes written"}
    names |= {"fast zeroes": "fast", "fast refused": "refused"}
    parts = [f"{counts[key]} {name}" for key, name in names.items() if counts.get(key)]
    return ", ".join([f"{seconds:.2f} s", *parts, f"{counts['bytes'] // MIB} MiB written"])


def published_table(directory: Path) -> None:
    """The seven rows of the cover letter."""
    source = directory / "cover.qcow2"
    make_source(source, 100 * MIB, MIB)
    print("100 MiB, every other MiB a hole; 20 ms per 256 KiB written, 5 ms per zero:\n")
    print("| disk and offer | client | August 2019 | this gateway |")
    print("|---|---|---|---|")
    for row in ROWS:
        result = measure(
            source, 100 * MIB, row.strategy, zeroes=row.zeroes, advertise=row.advertise
        )
        print(f"| {row.meaning} | {row.strategy} | {row.published} | {told(*result)} |", flush=True)


def fragmented_table(directory: Path) -> None:
    """Holes so small that the requests for them cost as much as the data."""
    source = directory / "fragmented.qcow2"
    make_source(source, 256 * MIB, 65536)
    print("\n256 MiB, every other 64 KiB a hole; 1 ms per write and per zero:\n")
    print("| client | this gateway |")
    print("|---|---|")
    for strategy in ("zero holes", "fast or holes", "holes, -W -m 16"):
        result = measure(source, 256 * MIB, strategy, write_ms=1, zero_ms=1)
        print(f"| {strategy} | {told(*result)} |", flush=True)


@contextmanager
def gateway(provider: str) -> Iterator[tuple[str, Path]]:
    """The gateway itself with an empty TiB, and no delays: the path of its socket, its home."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        home = Path(made)
        path = f"path = {home}/disk.raw\n" if provider == "file" else ""
        config = home / "gw.ini"
        config.write_text(
            f"[listen:bench]\nendpoint = unix:{home}/nbd.sock\n"
            f"[export:disk]\nprovider = {provider}\nsize = 1T\n{path}"
        )
        twistd = str(Path(sys.executable).with_name("twistd"))
        options = ["-n", "--pidfile=", "--logfile=log", "nbdgateway", f"--config={config}"]
        with started([twistd, *options], home, f"{home}/nbd.sock"):
            yield f"{home}/nbd.sock", home


def whole_export_table(directory: Path) -> None:
    """A TiB of nothing, in 32768 requests and in one."""
    empty = directory / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(empty), "1T"], check=True)
    print("\nAn empty TiB, Unix socket:\n")
    print("| | memory | file |")
    print("|---|---|---|")
    times: dict[str, list[float]] = {}
    for provider in ("memory", "file"):
        with gateway(provider) as (path, _):
            uri = f"nbd+unix:///disk?socket={path}"
            for options in ([], ["-W", "-m", "16"], ["--target-is-zero"]):
                label = " ".join(["`qemu-img convert -n", *options]) + "`"
                start = time.perf_counter()
                convert(empty, uri, *options)
                times.setdefault(label, []).append(time.perf_counter() - start)
            with Extended(path) as client:
                label = "one FAST_ZERO request for all of it, empty"
                times.setdefault(label, []).append(client.fast_zero(TIB))
                for offset in range(0, TIB, TIB // 256):
                    client.write(offset, b"\x5a" * 262144)
                label = "the same over 256 x 256 KiB of data"
                times.setdefault(label, []).append(client.fast_zero(TIB))
    for label, figures in times.items():
        print(f"| {label} | {' | '.join(f'{seconds * 1000:.1f} ms' for seconds in figures)} |")


class Extended:
    """A client of a few lines that speaks the 64-bit headers, which Debian 12's tools do not."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(path)
        assert self._receive(18).startswith(b"NBDMAGICIHAVEOPT")
        self._socket.sendall(struct.pack(">I", 3))
        self._option(11, b"")  # extended headers
        self._option(7, struct.pack(">I4sH", 4, b"disk", 0))  # GO

    def __enter__(self) -> Extended:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fast_zero(self, length: int) -> float:
        """Zero from 0 on, quickly or not at all; returns seconds."""
        start = time.perf_counter()
        self._call(6, 1 << 4, 0, length, b"")
        return time.perf_counter() - start

    def write(self, offset: int, data: bytes) -> None:
        self._call(1, 1 << 5, offset, len(data), data)

    def _call(self, command: int, flags: int, offset: int, length: int, data: bytes) -> None:
        self._socket.sendall(
            struct.pack(">IHHQQQ", 0x21E41C71, flags, command, 1, offset, length) + data
        )
        magic, _, kind, cookie, _, extra = struct.unpack(">IHHQQQ", self._receive(32))
        assert (magic, kind, cookie, extra) == (0x6E8A278C, 0, 1, 0), "an error"

    def _option(self, number: int, data: bytes) -> None:
        self._socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        kind = 0
        while kind != 1:
            _, _, kind, length = struct.unpack(">QIII", self._receive(20))
            self._receive(length)
            assert kind < 1 << 31, "refused"

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self._socket.recv(count - len(data))
            assert got, "the server has hung up"
            data += got
        return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="only the whole TiB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cover") as made:
        if not arguments.quick:
            published_table(Path(made))
            fragmented_table(Path(made))
        whole_export_table(Path(made))


if __name__ == "__main__":
    main()
