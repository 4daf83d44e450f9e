"""Rows about reads."""

from __future__ import annotations

import subprocess
import time

from benchmarks.peers.bench import Bench, Measured, Row
from benchmarks.peers.disks import Disk, Gateway
from benchmarks.peers.figures import requests_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

OURS = Gateway.name


def _cold(disk: Disk) -> None:
    """Nothing is in memory any more, and nothing was asked."""
    disk.stop()
    disk.start()
    disk.store.reset()


def copy_out(bench: Bench, kind: type[Disk]) -> Measured:
    """All of a thin disk of 1 GiB with 64 places of 1 MiB, to nowhere."""
    with bench.disk(kind, GIB) as disk:
        disk.do("write_places", size=GIB, places=64, length=MIB)
        _cold(disk)
        if disk.where.startswith("nbd"):
            command = ["nbdcopy", disk.where, "null:"]
        else:
            command = ["dd", f"if={disk.where}", "of=/dev/null", "bs=256k", "status=none"]
        begun = time.perf_counter()
        subprocess.run(command, check=True)
        return {"_s": time.perf_counter() - begun, **requests_of(disk.store.asked())}


def read_in_order(bench: Bench, kind: type[Disk]) -> Measured:
    """64 MiB that nobody has in memory, 128 KiB at a time, eight at once."""
    length = bench.some(64, 16) * MIB
    with bench.disk(kind, GIB) as disk:
        disk.do("write_in_order", length=length)
        _cold(disk)
        done = disk.do("read_in_order", length=length)
        if done["wrong"] or done["errors"]:
            raise RuntimeError(f"{kind.name}: {done['wrong']} pieces were not what was written")
        return {"_mb_s": length / done["seconds"] / 1e6, **requests_of(disk.store.asked())}


def random_reads(bench: Bench, kind: type[Disk]) -> Measured:
    """Of data: one at a time, those again, and 32 at once, elsewhere and cold."""
    length, many = bench.some(256, 16) * MIB, bench.some(2000, 100)
    with bench.disk(kind, GIB) as disk:
        disk.do("write_in_order", length=length)
        _cold(disk)
        alone = disk.do(
            "random_reads", size=length, count=bench.some(100, 10), depth=1, seed=1, passes=2
        )
        asked = disk.store.asked()
        _cold(disk)
        crowd = disk.do("random_reads", size=length, count=many, depth=32, seed=2)
        return {
            "alone_ms": alone["read_s"][0] * 1000,
            "again_ms": alone["read_s"][1] * 1000,
            "32 at once_per_s": many / crowd["seconds"][0],
            "GET for each of the first": asked.count("GET") / bench.some(100, 10),
        }


def unmapped(bench: Bench, kind: type[Disk]) -> Measured:
    """Where nothing was written."""
    count = bench.some(200, 20)
    with bench.disk(kind, GIB) as disk:
        done = disk.do("random_reads", size=GIB, count=count, depth=1, seed=1)
        asked = disk.store.asked()
        return {"_ms": done["read_s"][0] * 1000, "requests for each": asked.total / count}


ROWS = [
    Row(
        "6",
        "copy a thin disk of 1 GiB with 64 MiB of data out",
        "1 s, 70 GETs",
        copy_out,
        lambda ours: ours[OURS]["_s"] <= 1 and ours[OURS]["GET"] <= 70,
    ),
    Row(
        "9",
        "64 MiB out in order, cold, 128 KiB, 8 at once",
        "200 MB/s, 64 GETs",
        read_in_order,
        lambda ours: ours[OURS]["_mb_s"] >= 200 and ours[OURS]["GET"] <= 64,
    ),
    Row(
        "10",
        "4 KiB random reads of data, cold",
        "17 ms, 1,800/s; again 0.3 ms",
        random_reads,
        lambda ours: (
            ours[OURS]["alone_ms"] <= 17
            and ours[OURS]["again_ms"] <= 0.3
            and ours[OURS]["32 at once_per_s"] >= 1800
        ),
    ),
    Row(
        "11",
        "4 KiB reads of what was never written",
        "0.2 ms, no request",
        unmapped,
        lambda ours: ours[OURS]["_ms"] <= 0.2 and ours[OURS]["requests for each"] == 0,
    ),
]
