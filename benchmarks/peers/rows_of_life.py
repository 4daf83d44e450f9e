"""Rows about a volume's life: attaching, taking over, snapshots, memory, money."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from typing import Any

import attrs

from benchmarks.peers.bench import Bench, Measured, Row
from benchmarks.peers.disks import Disk, Gateway, JournalGateway
from benchmarks.peers.figures import requests_of
from benchmarks.s3_emulator.conditions import PROFILES, Faults
from benchmarks.s3_emulator.counters import dollars

KIB, MIB = 1 << 10, 1 << 20
GIB, TIB = 1 << 30, 1 << 40
MONTH = 30 * 86400.0

OURS, JOURNAL = Gateway.name, JournalGateway.name


def attach(bench: Bench, kind: type[Disk]) -> Measured:
    """A tebibyte with 256 MiB in 64 places: after a kill with 100 flushes, and after a stop."""
    with bench.disk(kind, TIB) as disk:
        disk.do("write_places", size=TIB, places=64, length=bench.some(4, 1) * MIB)
        disk.stop()
        disk.start()
        disk.do("scattered", size=TIB, rounds=bench.some(100, 10), writes=1)
        disk.kill()
        disk.store.reset()
        unclean, asked = disk.start(), disk.store.asked()
        disk.stop()
        disk.store.reset()
        clean, again = disk.start(), disk.store.asked()
        return {
            "unclean_s": unclean,
            "requests unclean": asked.total,
            "clean_s": clean,
            "requests clean": again.total,
        }


def takeovers(bench: Bench, kind: type[Disk]) -> Measured:
    """
    A writer that flushes each block, and another gateway that opens its volume.

    One put in twenty is done, and made again because its answer was lost.
    """
    lost = foreign = acknowledged = 0
    rng = random.Random(14)
    conditions = attrs.evolve(PROFILES[bench.profile], faults=Faults(reset_after=0.05))
    rounds = bench.some(20, 1)
    for number in range(rounds):
        with bench.disk(kind, GIB, conditions) as disk:
            writer = subprocess.Popen(
                disk.client_command("contend", {"first": 0}), stdout=subprocess.PIPE, text=True
            )
            time.sleep(rng.uniform(0, 1))
            second = bench.another(disk)
            try:
                second.start()
                second.do("stamp", size=GIB, count=16, seed=1000 + number)
                said = writer.communicate(timeout=120)[0].split("\n")
                count = len([line for line in said if line.isdigit()])
                found = second.do("check_contended", first=0, count=count)
                lost += count - found["right"]
                foreign += 16 - second.do("check", size=GIB, count=16, seed=1000 + number)["right"]
                acknowledged += count
            finally:
                writer.kill()
                writer.wait()
                second.stop()
    return {"takeovers": rounds, "flushes": acknowledged, "lost": lost, "foreign": foreign}


def snapshots(bench: Bench, kind: type[Disk]) -> Measured:
    """Of 128 MiB: a snapshot, a clone; then a quarter written over, thrice, with snapshots held."""
    length = bench.some(128, 16) * MIB
    with bench.disk(kind, GIB) as disk:
        assert isinstance(disk, Gateway)
        disk.do("write_in_order", length=length)
        disk.store.reset()
        disk.command("snapshot", "create", "disk", "one")
        snapshot = disk.store.asked().count("PUT")
        disk.store.reset()
        disk.command("clone", "disk", "one", "copy")
        clone = disk.store.asked().count("PUT")
        for number, name in enumerate(("two", "three")):
            disk.do("write_in_order", length=length // 4, start=number * length // 4)
            disk.command("snapshot", "create", "disk", name)
        # written over with nothing that holds what was there: this is to be collected
        for _ in range(3):
            disk.do("write_in_order", length=length // 4, start=length // 2)
        disk.command("gc", "disk")
        disk.command("gc", "disk")
        needed = length * 1.75
        return {
            "PUT for a snapshot": snapshot,
            "PUT for a clone": clone,
            "space of what is needed_times": disk.store.asked().stored / needed,
        }


def memory(bench: Bench, kind: type[Disk]) -> Measured:
    """A million random writes on a tebibyte; few where each costs a request."""
    ours = issubclass(kind, Gateway)
    count = bench.some(1_000_000 if ours else 2_000, 500)
    with bench.disk(kind, TIB) as disk:
        done = disk.do("random_writes", size=TIB, count=count)
        with open(f"/proc/{disk.pid}/status") as status:
            most = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        took = done["accepted_s"] + done["flush_s"]
        return {"most_mb": most / 1024, "writes": count, "_per_s": count / took}


def _month(bench: Bench, kind: type[Disk], job: str, seconds: float, part: float = 1.0) -> Measured:
    """
    What a job's requests cost in a month in which it goes on for ``part`` of the time.

    Closing the disk is not counted, unless it brings what its flushes did not.
    """
    with bench.disk(kind, 20 * GIB) as disk:
        done: dict[str, Any] = disk.do(job, size=20 * GIB, seconds=seconds)
        if not kind.durable:
            disk.stop()
        asked = disk.store.asked()
        lasted = done["units"] * done["unit_s"]
        found = {"_usd": dollars(asked.requests) * MONTH * part / lasted}
        if "commits_per_s" in done:
            found["_per_s"] = done["commits_per_s"]
        return {**found, "PUT a minute": asked.count("PUT") * 60 / lasted}


def _monthly(job: str, long: int, part: float = 1.0) -> Callable[[Bench, type[Disk]], Measured]:
    return lambda bench, kind: _month(bench, kind, job, bench.some(long, 10), part)


def one_tebibyte(bench: Bench, kind: type[Disk]) -> Measured:
    """Written in order, once: what more of it costs, without what opening and closing do."""
    length = bench.some(64, 16) * MIB
    prices = []
    for times in (1, 3):
        with bench.disk(kind, GIB) as disk:
            disk.do("write_in_order", length=times * length)
            disk.stop()
            prices.append(dollars(disk.store.asked().requests))
    return {"_usd": (prices[1] - prices[0]) * TIB / (2 * length)}


def boots(bench: Bench, kind: type[Disk]) -> Measured:
    """190 MiB of which 7,163 reads want parts, as a guest does that starts; a hundred times."""
    length, reads = bench.some(190, 16) * MIB, bench.some(7163, 200)
    with bench.disk(kind, GIB) as disk:
        disk.do("write_in_order", length=length)
        disk.stop()
        disk.start()
        disk.store.reset()
        done = disk.do("boot", length=length, reads=reads)
        asked = disk.store.asked()
        return {
            "_usd": 100 * dollars(asked.requests),
            "each_s": done["seconds"],
            **requests_of(asked),
        }


def _at_most(dollars_: float) -> Callable[[dict[str, Measured]], bool]:
    return lambda ours: ours[JOURNAL]["_usd"] <= dollars_


ROWS = [
    Row(
        "13",
        "attach 1 TiB with 256 MiB in 64 places",
        "2 s, 300 requests; 10 when clean",
        attach,
        lambda ours: (
            ours[OURS]["unclean_s"] <= 2
            and ours[OURS]["requests unclean"] <= 300
            and ours[OURS]["requests clean"] <= 10
        ),
    ),
    Row(
        "14",
        "two writers, puts that are made twice",
        "nothing lost, no foreign bytes",
        takeovers,
        lambda ours: ours[OURS]["lost"] == ours[OURS]["foreign"] == 0,
        kinds=frozenset({OURS}),
        once=True,
    ),
    Row(
        "16",
        "snapshot and clone; space with three snapshots held",
        "4 PUTs each, 1.35",
        snapshots,
        lambda ours: (
            ours[OURS]["PUT for a snapshot"] <= 4
            and ours[OURS]["PUT for a clone"] <= 4
            and ours[OURS]["space of what is needed_times"] <= 1.35
        ),
        kinds=frozenset({OURS}),
        once=True,
    ),
    Row(
        "17",
        "most memory, random writes of 4 KiB on 1 TiB",
        "400 MB",
        memory,
        lambda ours: ours[OURS]["most_mb"] <= 400,
        once=True,
    ),
    Row(
        "18a",
        "a guest at rest: 6 blocks and a flush each 5 s, a month",
        "0.43 $ with a journal",
        _monthly("idle_guest", 125),
        _at_most(0.43),
        once=True,
    ),
    Row(
        "18b",
        "a database: 50 commits of 16 KiB and 100 pages a second, a month",
        "3 $ with a journal",
        _monthly("database", 60),
        _at_most(3.0),
        once=True,
    ),
    Row("18c", "1 TiB in order, once", "0.66 $", one_tebibyte, _at_most(0.67), once=True),
    Row(
        "18d",
        "500 random writes of 4 KiB a second, 8 hours a day, a month",
        "3.40 $ with a journal",
        _monthly("steady", 60, 1 / 3),
        _at_most(3.4),
        once=True,
    ),
    Row("18e", "100 cold boots, 190 MiB", "0.01 $", boots, _at_most(0.0149), once=True),
]
