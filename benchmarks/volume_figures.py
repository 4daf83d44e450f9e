"""
What volumes in an object store cost, in requests and bytes, against the figures they are to meet.

    python -m benchmarks.volume_figures [--quick] [--only WORD]

Runs the workloads of `tests/figures` over a store in memory, in virtual time, and prints a
table: figure, target, what was found, whether that meets it, seconds of real time and resident
memory for information. Each figure has a process of its own. --quick leaves out what takes
minutes. mkfs.ext4 over NBD needs mkfs.ext4, nbdfuse and the right to mount; it is left out
without them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from twisted.internet.defer import Deferred

from backends.volume.cloning import clone
from backends.volume.environment import Options
from gateway.info import KIB, MIB
from tests.figures import workloads
from tests.figures.lab import PATTERN, Lab, Requests
from tests.figures.workloads import GIB, TIB

#: The collector moves data for reasons of its own.
ALONE = Options(collect=False)


@dataclass
class Row:
    """One line of the table."""

    figure: str
    target: str
    found: str
    met: bool
    seconds: float


Rows = Iterator[Row]


class Watch:
    """Real seconds since it was made, or read last."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def read(self) -> float:
        now = time.perf_counter()
        since, self._since = self._since, now
        return now - since


def flushes() -> Rows:
    """A flush of scattered writes, and a FUA write."""
    lab = Lab()
    volume = lab.new(GIB)
    watch = Watch()
    requests = workloads.flush_of_scattered_writes(lab, volume)
    met = len(requests) == 1 and requests.bytes("put") <= 80 * KIB
    yield Row(
        "flush of 16 scattered 4 KiB writes", "1 PUT, 80 KiB", requests.summary(), met, watch.read()
    )
    with lab.counting() as requests:
        lab.settle(volume.write(5 * MIB, PATTERN[:4096], True))
    met = len(requests) == 1 and requests.bytes("put") <= 8 * KIB
    yield Row("4 KiB write with FUA", "1 PUT, 8 KiB", requests.summary(), met, watch.read())


def _upload(name: str, upload: workloads.Upload) -> Row:
    found = f"{upload.overhead:+.2%}: {upload.requests.summary()}"
    return Row(name, "2 %", found, upload.overhead <= 0.02, upload.seconds)


def random_writes() -> Rows:
    """512 of them, on fresh disks and on one that is fragmented all over."""
    for size, text in ((GIB, "1 GiB"), (TIB, "1 TiB")):
        lab = Lab(options=ALONE)
        upload = workloads.random_writes(lab, lab.new(size), 512)
        yield _upload(f"overhead of 512 random writes, fresh {text}", upload)
    lab = Lab(options=ALONE)
    volume = workloads.fragmented(lab, 256 * MIB)
    upload = workloads.random_writes(lab, volume, 512)
    yield _upload("the same, fragmented 256 MiB", upload)


def many_random_writes() -> Rows:
    """A million on a fresh tebibyte: bytes and memory."""
    lab = Lab(options=ALONE)
    volume = lab.new(TIB)
    upload = workloads.random_writes(lab, volume, 1_000_000)
    yield _upload("overhead of 1,000,000 random writes, fresh 1 TiB", upload)
    kept = lab.objects.kept >> 20
    rss = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) - kept
    found = f"{rss} MB, beside {kept} MB of the store's"
    yield Row("most memory in it", "400 MB", found, rss <= 400, upload.seconds)


def many_random_writes_fragmented() -> Rows:
    """512, and then a million, on a disk that is fragmented all over and larger than that."""
    lab = Lab(options=ALONE)
    volume = workloads.fragmented(lab, 4 * GIB)
    upload = workloads.random_writes(lab, volume, 512)
    yield _upload("overhead of 512 random writes, fragmented 4 GiB", upload)
    upload = workloads.random_writes(lab, lab.again(), 1_000_000)
    yield _upload("the same, 1,000,000", upload)


def map_beyond_memory() -> Rows:
    """Random writes where the map is ten times what may be in memory, as 250 GiB all in blocks."""
    lab = Lab(options=Options(collect=False, map_memory=MIB))
    volume = workloads.fragmented(lab, GIB)
    upload = workloads.random_writes(lab, volume, 200_000)
    yield _upload("overhead of 200,000, fragmented 1 GiB, a tenth of its map in memory", upload)


def clearing() -> Rows:
    """64 GiB at once."""
    for state in workloads.CLEARED:
        for way in workloads.CLEARINGS:
            requests, seconds, puts = workloads.cleared(Lab(), way, state)
            found = f"{len(requests)} requests, {seconds * 1000:.2f} ms; {puts} PUT with the flush"
            yield Row(
                f"{way} of 64 GiB, {state}",
                "0 requests, 5 ms",
                found,
                not requests and seconds <= 0.005,
                seconds,
            )


def mkfs() -> Rows:
    """A recorded one, and a real one."""
    watch = Watch()
    requests = workloads.mkfs_ext4(Lab())
    met = requests.count("put") <= 10
    yield Row("mkfs.ext4 on 4 GiB, replayed", "10 PUTs", requests.summary(), met, watch.read())
    if shutil.which("mkfs.ext4") and shutil.which("nbdfuse") and os.path.exists("/dev/fuse"):
        yield _mkfs_over_nbd()


def _mkfs_over_nbd() -> Row:
    """A gateway, nbdfuse, mkfs.ext4; slots of the log tell puts of data."""
    with tempfile.TemporaryDirectory(prefix="mkfs") as made:
        home = Path(made)
        (home / "gw.ini").write_text(
            f"[listen:bench]\nprotocol = nbd\nendpoint = unix:{home}/socket\n"
            f"[export:disk]\nprovider = directory\npath = {home}/store\nsize = 4G\n"
        )
        twistd = str(Path(sys.executable).with_name("twistd"))
        files = [f"--pidfile={home}/pid", f"--logfile={home}/log"]
        disk = home / "disk"
        disk.touch()
        processes = []
        try:
            command = [twistd, "-n", *files, "nbdgateway", f"--config={home}/gw.ini"]
            processes.append(subprocess.Popen(command))
            _wait_for((home / "socket").exists)
            uri = f"nbd+unix:///disk?socket={home}/socket"
            processes.append(subprocess.Popen(["nbdfuse", str(disk), uri]))
            _wait_for(lambda: disk.stat().st_size == 4 * GIB)
            log = home / "store" / "disk" / "log"
            before = len(list(log.glob("*")))
            watch = Watch()
            subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True)
            seconds = watch.read()
            puts = len(list(log.glob("*"))) - before
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()
    name = "mkfs.ext4 on 4 GiB, nbdfuse and a gateway"
    return Row(name, "10 PUTs", f"{puts} PUTs of data", puts <= 10, seconds)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("the gateway or nbdfuse does not start")
        time.sleep(0.05)


def copying_out() -> Rows:
    """As nbdcopy does."""
    for places, text in ((64, "64 places"), (1, "one run")):
        for depth in (4, 64):
            watch = Watch()
            requests, _ = workloads.copied_out(Lab(), places, depth)
            yield Row(
                f"copy out 1 GiB with 64 MiB in {text}, {depth} reads at once",
                "70 GETs",
                requests.summary(),
                requests.count("get") <= 70,
                watch.read(),
            )


def _attached(name: str, found: workloads.Attached, seconds: float) -> Rows:
    unclean = len(found.unclean) + len(found.behind)
    text = f"{len(found.unclean)} until it serves, {unclean} in all: {found.unclean.summary()}"
    yield Row(f"attach {name}, unclean", "300 requests", text, unclean <= 300, seconds)
    text = f"{len(found.clean)}: {found.clean.summary()}"
    yield Row(f"attach {name}, clean", "10 requests", text, len(found.clean) <= 10, seconds)


def attaching() -> Rows:
    """Disks of all sizes with the same 64 MiB in them."""
    for size, text in ((GIB, "1 GiB"), (64 * GIB, "64 GiB"), (TIB, "1 TiB"), (10 * TIB, "10 TiB")):
        watch = Watch()
        found = workloads.attached(Lab(), size, 64 * MIB)
        yield from _attached(f"{text} with 64 MiB", found, watch.read())


def attaching_much() -> Rows:
    """A tebibyte with 100 GiB in it; built through the volume."""
    found = workloads.attached(Lab(cache=0), TIB, 100 * GIB, piece=4 * MIB)
    yield from _attached("1 TiB with 100 GiB", found, found.built)


def in_order() -> Rows:
    """64 MiB in, and out of a cold volume."""
    lab = Lab()
    volume = lab.new(GIB)
    watch = Watch()
    with lab.counting() as requests:
        lab.fill(volume, 0, 64 * MIB)
        lab.settle(volume.flush())
    met = len(requests) == 8
    yield Row("64 MiB in, in order", "8 PUTs", requests.summary(), met, watch.read())
    lab.settle(volume.close())
    for piece, depth in ((128 * KIB, 8), (MIB, 1)):
        lab.store.delay = 0.0
        volume = lab.again()
        lab.store.delay = workloads.NEAR
        watch.read()
        requests = workloads.read_in_order(lab, volume, 64 * MIB, piece, depth)
        yield Row(
            f"64 MiB out, {piece // KIB} KiB, {depth} at once",
            "64 GETs",
            requests.summary(),
            requests.count("get") <= 64,
            watch.read(),
        )


def nothing() -> Rows:
    """What should cost no request."""
    lab = Lab()
    volume = lab.new(GIB)
    lab.scatter(volume, 5000, 0, GIB // 2)
    lab.settle(volume.flush())
    lab.pass_time(600)
    watch = Watch()
    with lab.counting() as requests:
        lab.pass_time(3600)
    yield _none("an hour of rest", requests, watch)
    with lab.counting() as requests:
        lab.settle(volume.read(600 * MIB, 4 * KIB))
    yield _none("reading unmapped space", requests, watch)
    lab.fill(volume, 700 * MIB, 701 * MIB)
    lab.settle(volume.close())
    volume = lab.again()
    lab.settle(volume.read(700 * MIB, 4 * KIB))
    with lab.counting() as requests:
        lab.settle(volume.read(700 * MIB, 4 * KIB))
    yield _none("reading 4 KiB a second time", requests, watch)


def _none(name: str, requests: Requests, watch: Watch) -> Row:
    found = requests.summary() or "0 requests"
    return Row(name, "0 requests", found, not requests, watch.read())


def snapshots() -> Rows:
    """Of a volume with 64 MiB in 64 places."""
    lab = Lab()
    volume = lab.new(GIB)
    for start in range(0, GIB, GIB // 64):
        lab.fill(volume, start, start + MIB)
    watch = Watch()
    with lab.counting() as requests:
        lab.settle(volume.snapshots.take("now"))
    met = requests.count("put") <= 4
    yield Row("snapshot", "4 PUTs", requests.summary(), met, watch.read())
    with lab.counting() as requests:
        copy = clone(lab.store, "volume-1", "now", "volume-2", lab.environment)
        lab.settle(Deferred.fromCoroutine(copy))
    met = requests.count("put") <= 4
    yield Row("clone", "4 PUTs", requests.summary(), met, watch.read())


FIGURES: dict[str, Callable[[], Rows]] = {
    "flush": flushes,
    "random": random_writes,
    "million": many_random_writes,
    "fragmented": many_random_writes_fragmented,
    "large-map": map_beyond_memory,
    "clear": clearing,
    "mkfs": mkfs,
    "copy": copying_out,
    "attach": attaching,
    "attach-100": attaching_much,
    "order": in_order,
    "nothing": nothing,
    "snapshots": snapshots,
}

#: Those that take minutes.
LONG = {"million", "fragmented", "attach-100"}


def main() -> None:
    """Print the table; each figure runs in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--only", default="", help="figures whose name has this in it")
    parser.add_argument("--one", choices=FIGURES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        for row in FIGURES[arguments.one]():
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(json.dumps({**asdict(row), "rss": rss}), flush=True)
        return
    print("| figure | target | found | met | seconds | RSS MB |\n|---|---|---|---|---|---|")
    for name in FIGURES:
        if arguments.only not in name or (arguments.quick and name in LONG):
            continue
        command = [sys.executable, "-m", "benchmarks.volume_figures", "--one", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            row = json.loads(line)
            print(
                f"| {row['figure']} | {row['target']} | {row['found']} |"
                f" {'yes' if row['met'] else '**no**'} | {row['seconds']:.2f} | {row['rss']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
