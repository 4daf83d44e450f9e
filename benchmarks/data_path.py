"""
Reads and writes through NBD servers side by side, as ratios of medians.

    python -m benchmarks.data_path [--rounds 5] [--seconds 2] [--quick] [--pin]

Runs fio's nbd engine (block size x queue depth x direction x transport x
connections) and nbdcopy against this gateway, nbdkit's file plugin and
qemu-nbd, each on its own copy of one image in page cache. In each round the
servers take turns, so that a slow spell of the machine hits all of them.
Needs fio, nbdcopy, nbdkit and qemu-nbd; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.servers import COMMANDS, MIB, Server, make_image, running


@dataclass(frozen=True)
class Case:
    """One fio workload."""

    pattern: str
    block: str
    depth: int
    connections: int = 1

    def __str__(self) -> str:
        return f"{self.block} {self.pattern} depth {self.depth}, {self.connections} conn"


CASES = [
    Case(pattern, block, depth, connections)
    for connections in (1, 4)
    for block, patterns in (("4k", ("randread", "randwrite")), ("1m", ("read", "write")))
    for pattern in patterns
    for depth in (1, 32)
]


@dataclass
class Samples:
    """What one server did in one case, a figure a round."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def fio(
    server: Server, case: Case, seconds: float, size: int, pin: list[str]
) -> tuple[float, float]:
    """
    Run one workload once.

    Returns:
        Requests per second, and microseconds of the server's CPU per request.
    """
    command = [
        *pin,
        "fio", "--name=bench", "--ioengine=nbd", f"--uri={server.uri}", f"--rw={case.pattern}",
        f"--bs={case.block}", f"--iodepth={case.depth}", f"--size={size}", "--time_based",
        f"--runtime={round(1000 * seconds)}ms", f"--numjobs={case.connections}",
        "--group_reporting", "--thread", "--output-format=json", "--norandommap", "--randrepeat=0",
    ]  # fmt: skip
    before = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    spent = server.cpu_seconds() - before
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    if job["error"]:
        raise RuntimeError(f"fio against {server.name}: error {job['error']}")
    requests = job["read"]["total_ios"] + job["write"]["total_ios"]
    return job["read"]["iops"] + job["write"]["iops"], spent / max(requests, 1) * 1e6


def nbdcopy(server: Server, directory: Path, inward: bool, image: Path) -> float:
    """Copy the whole image in or out once; copies per second."""
    ends = [str(image), server.uri] if inward else [server.uri, "null:"]
    started = time.monotonic()
    subprocess.run(["nbdcopy", *ends], check=True)
    return 1 / (time.monotonic() - started)


def table(title: str, names: list[str], rows: dict[str, dict[str, Samples]]) -> str:
    """Rows of medians and ratios, as Markdown."""
    ours, *peers = names
    head = [title, ours, *(f"/ {peer}" for peer in peers), *(f"CPU µs {name}" for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, samples in rows.items():
        median = {name: statistics.median(samples[name].rates) for name in names}
        cells = [label, f"{median[ours]:,.0f}" if median[ours] > 10 else f"{median[ours]:.2f}"]
        cells += [f"{median[ours] / median[peer]:.2f}" for peer in peers]
        cells += [
            f"{statistics.median(samples[name].cpu_us):.1f}" if samples[name].cpu_us else ""
            for name in names
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure(args: argparse.Namespace, transport: str, directory: Path, image: Path) -> None:
    """All cases over one transport."""
    names = list(COMMANDS)
    cases = [case for case in CASES if not args.only or args.only in str(case)]
    if args.quick:
        cases = [case for case in cases if case.connections == case.depth == 1]
    rows = {str(case): {name: Samples() for name in names} for case in cases}
    copies = (
        {} if args.only else {way: {name: Samples() for name in names} for way in ("in", "out")}
    )
    pin = ["taskset", "-c", "1"] if args.pin else []
    with running(names, directory, image, transport) as servers:
        if args.pin:
            for server in servers:
                subprocess.run(
                    ["taskset", "-apc", "0", str(server.pid)], check=True, capture_output=True
                )
        for _ in range(args.rounds):
            for case in cases:
                for server in servers:
                    rate, cpu = fio(server, case, args.seconds, args.size * MIB, pin)
                    rows[str(case)][server.name].rates.append(rate)
                    rows[str(case)][server.name].cpu_us.append(cpu)
            for way, samples in copies.items():
                for server in servers:
                    samples[server.name].rates.append(
                        nbdcopy(server, directory, way == "in", image)
                    )
    print(table(f"fio over {transport} (requests/s)", names, rows), flush=True)
    if copies:
        copies = {f"nbdcopy {way}": samples for way, samples in copies.items()}
        print("\n" + table(f"over {transport} (copies/s)", names, copies), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each fio run")
    parser.add_argument("--size", type=int, default=256, help="image size in MiB")
    parser.add_argument("--transport", choices=("unix", "tcp"), action="append")
    parser.add_argument(
        "--quick", action="store_true", help="one connection, one request at a time"
    )
    parser.add_argument(
        "--pin", action="store_true", help="each server on processor 0, fio on processor 1"
    )
    parser.add_argument("--only", help="cases whose title contains this")
    args = parser.parse_args()
    for transport in args.transport or ("unix", "tcp"):
        with tempfile.TemporaryDirectory(prefix="nbdbench") as name:
            directory = Path(name)
            image = directory / "image.raw"
            make_image(image, args.size * MIB)
            measure(args, transport, directory, image)
            print(flush=True)


if __name__ == "__main__":
    main()
