"""Rows about writes: what they cost, and what is left of them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import attrs

from benchmarks.peers.bench import Bench, Measured, Row
from benchmarks.peers.disks import Disk, Gateway, JournalGateway, NbdkitS3, S3backer, S3backerSmall
from benchmarks.peers.figures import requests_of
from benchmarks.s3_emulator.conditions import PROFILES, Faults

KIB, MIB = 1 << 10, 1 << 20
GIB, TIB = 1 << 30, 1 << 40
BLOCK = 4 * KIB

OURS, JOURNAL = Gateway.name, JournalGateway.name


def survivors(bench: Bench, kind: type[Disk]) -> Measured:
    """64 blocks, a flush, ``kill -9``, and what is there after another start."""
    with bench.disk(kind, GIB) as disk:
        disk.do("stamp", size=GIB, count=64, seed=1)
        disk.kill()
        disk.start()
        return {"of 64": disk.do("check", size=GIB, count=64, seed=1)["right"]}


def scattered(bench: Bench, kind: type[Disk]) -> Measured:
    """Groups of 16 with a flush."""
    rounds = bench.some(20, 3)
    with bench.disk(kind, GIB) as disk:
        took = disk.do("scattered", size=GIB, rounds=rounds)["group_s"]
        return {"_ms": took * 1000, **requests_of(disk.store.asked(), rounds)}


def fua(bench: Bench, kind: type[Disk]) -> Measured:
    """One after the other."""
    count = bench.some(50, 5)
    with bench.disk(kind, GIB) as disk:
        took = disk.do("fua", size=GIB, count=count)["write_s"]
        return {"_ms": took * 1000, **requests_of(disk.store.asked(), count)}


def bytes_sent(bench: Bench, kind: type[Disk]) -> Measured:
    """512 at random, in the store."""
    with bench.disk(kind, GIB) as disk:
        disk.do("random_writes", size=GIB, count=512)
        if not kind.durable or kind is JournalGateway:
            disk.stop()  # which brings what is missing
        asked = disk.store.asked()
        return {"_times": asked.sent / (512 * BLOCK), "PUT": asked.count("PUT")}


def random_writes(bench: Bench, kind: type[Disk]) -> Measured:
    """Many at random, until they are in the store."""
    many = {NbdkitS3: 1_000, S3backer: 5_000}.get(kind, 40_000)
    count = bench.some(many, 200)
    with bench.disk(kind, GIB) as disk:
        begun = time.perf_counter()
        done = disk.do("random_writes", size=GIB, count=count)
        stored = done["accepted_s"] + done["flush_s"]
        if not kind.durable:
            disk.stop()
            stored = time.perf_counter() - begun
        return {
            "accepted_per_s": count / done["accepted_s"],
            "flushed_per_s": count / stored,
            **requests_of(disk.store.asked()),
        }


def make_file_system(bench: Bench, kind: type[Disk]) -> Measured:
    """mkfs.ext4 on a thin disk of 4 GiB, through nbdfuse where it is not a file."""
    patience = bench.some(120, 10)
    tool = shutil.which("mkfs.ext4") or "/usr/sbin/mkfs.ext4"
    with bench.disk(kind, 4 * GIB) as disk:
        file, fuse = Path(disk.where), None
        if disk.where.startswith("nbd"):
            file = disk.home / "disk.img"
            file.touch()
            fuse = subprocess.Popen(["nbdfuse", str(file), disk.where], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while file.stat().st_size != 4 * GIB and time.monotonic() < end:
                time.sleep(0.05)
            begun = time.perf_counter()
            try:
                subprocess.run([tool, "-q", "-F", str(file)], check=True, timeout=patience)
            except subprocess.TimeoutExpired:
                return {"more_than_s": patience, **requests_of(disk.store.asked())}
            took = time.perf_counter() - begun
            return {"_s": took, **requests_of(disk.store.asked())}
        finally:
            if fuse is not None:
                fuse.terminate()
                fuse.wait()


def write_in_order(bench: Bench, kind: type[Disk]) -> Measured:
    """64 MiB, 128 KiB at a time, eight at once; and four times as much by nbdcopy."""
    length = bench.some(64, 16) * MIB
    with bench.disk(kind, GIB) as disk:
        begun = time.perf_counter()
        done = disk.do("write_in_order", length=length)
        took = done["accepted_s"] + done["flush_s"]
        if not kind.durable:
            disk.stop()
            took = time.perf_counter() - begun
        return {"_mb_s": length / took / 1e6, **requests_of(disk.store.asked())}


def copy_in(bench: Bench, kind: type[Disk]) -> Measured:
    """A file of 256 MiB, by nbdcopy with its own defaults and a flush at the end."""
    length = bench.some(256, 16) * MIB
    with bench.disk(kind, GIB) as disk:
        image = disk.home / "image"
        with image.open("wb") as file:
            for _ in range(length // MIB):
                file.write(os.urandom(MIB))
        begun = time.perf_counter()
        subprocess.run(["nbdcopy", "--flush", str(image), disk.where], check=True)
        took = time.perf_counter() - begun
        image.unlink()
        return {"_mb_s": length / took / 1e6, **requests_of(disk.store.asked())}


def round_trips(bench: Bench, kind: type[Disk]) -> Measured:
    """A flush where every request takes 300 ms: how many of them it waits for."""
    slow = attrs.evolve(PROFILES["none"], put=0.3, get=0.3, list=0.3)
    with bench.disk(kind, GIB, slow) as disk:
        took = disk.do("flush_alone", size=GIB)["flush_s"]
        return {"round trips": round(took / 0.3)}


def clear(bench: Bench, kind: type[Disk]) -> Measured:
    """The first 64 GiB of 128, with 64 KiB of data in each; 32 requests of 2 GiB."""
    found: Measured = {}
    for way in ("trim", "zero"):
        with bench.disk(kind, 128 * GIB) as disk:
            disk.do("write_places", size=128 * GIB, places=128, length=64 * KIB)
            disk.store.reset()
            done = disk.do("clear", length=64 * GIB, way=way)
            found[f"{way}_ms"] = done["clear_s"] * 1000
            asked = disk.store.asked()
            found[f"requests of {way} and flush"] = asked.total
    return found


def faults(bench: Bench, kind: type[Disk]) -> Measured:
    """Writes, a flush, and what is there, in a store with faults."""
    count = bench.some(300, 50)
    rates = Faults(
        slow_down=0.025, error_before=0.0125, error_after=0.0125, reset_after=0.02, stall=0.01
    )
    with bench.disk(kind, GIB, attrs.evolve(PROFILES[bench.profile], faults=rates)) as disk:
        errors, right, rounds = 0, 0, bench.some(4, 1)
        for seed in range(rounds):
            errors += disk.do("stamp", size=GIB, count=count, seed=seed)["errors"]
        disk.stop()
        disk.start()
        for seed in range(rounds):
            done = disk.do("check", size=GIB, count=count, seed=seed)
            errors += done["errors"]
            right += done["right"]
        befell = disk.store.asked().faults
        return {
            "errors": errors,
            "lost": count * rounds - right - _covered(count, rounds),
            "faults": befell,
        }


def _covered(count: int, rounds: int) -> int:
    """Blocks of earlier rounds that later ones wrote over."""
    last: dict[int, int] = {}
    for seed in range(rounds):
        for place in random.Random(seed).sample(range(GIB // BLOCK), count):
            last[place] = seed
    return count * rounds - len(last)


ROWS = [
    Row(
        "1",
        "64 writes of 4 KiB, flush, kill -9: survivors",
        "all",
        survivors,
        lambda ours: ours[OURS]["of 64"] == ours[JOURNAL]["of 64"] == 64,
    ),
    Row(
        "2",
        "16 random writes of 4 KiB and a flush",
        "40 ms, 1 PUT, 80 KiB; journal 2 ms",
        scattered,
        lambda ours: (
            ours[OURS]["_ms"] <= 40
            and ours[OURS]["PUT"] <= 1
            and ours[OURS]["sent_kib"] <= 80
            and ours[JOURNAL]["_ms"] <= 2
        ),
    ),
    Row(
        "3",
        "4 KiB write with FUA, one at a time",
        "35 ms, 1 PUT, 8 KiB; journal 1 ms",
        fua,
        lambda ours: (
            ours[OURS]["_ms"] <= 35
            and ours[OURS]["PUT"] <= 1
            and ours[OURS]["sent_kib"] <= 8
            and ours[JOURNAL]["_ms"] <= 1
        ),
    ),
    Row(
        "4",
        "512 random writes of 4 KiB, 32 at once: bytes sent for each written",
        "1.02",
        bytes_sent,
        lambda ours: all(one["_times"] <= 1.02 for one in (ours[OURS], ours[JOURNAL])),
    ),
    Row(
        "5",
        "random writes of 4 KiB, 32 at once",
        "6,000/s accepted, 5,000/s flushed",
        random_writes,
        lambda ours: all(
            one["accepted_per_s"] >= 6000 and one["flushed_per_s"] >= 5000
            for one in (ours[OURS], ours[JOURNAL])
        ),
    ),
    Row(
        "7",
        "mkfs.ext4 on a thin disk of 4 GiB",
        "1 s, 10 PUTs",
        make_file_system,
        lambda ours: ours[OURS].get("_s", 99) <= 1 and ours[OURS].get("PUT", 0) <= 10,
        # nbdkit's S3 plugin takes no request of less than 64 KiB from who asks what it takes
        kinds=frozenset({OURS, JOURNAL, S3backer.name, S3backerSmall.name}),
    ),
    Row(
        "8",
        "64 MiB in order, 128 KiB, 8 at once, and a flush",
        "200 MB/s, 8 PUTs",
        write_in_order,
        lambda ours: ours[OURS]["_mb_s"] >= 200 and ours[OURS]["PUT"] <= 8,
    ),
    Row(
        "8b",
        "256 MiB in by nbdcopy, and a flush",
        "200 MB/s",
        copy_in,
        lambda ours: ours[OURS]["_mb_s"] >= 200,
        kinds=frozenset({OURS, JOURNAL, NbdkitS3.name}),
    ),
    Row(
        "12",
        "requests that a flush waits for, one behind the other",
        "1",
        round_trips,
        lambda ours: ours[OURS]["round trips"] <= 1,
        once=True,
    ),
    Row(
        "15",
        "trim and zero of 64 GiB",
        "5 ms, no request until the flush",
        clear,
        lambda ours: all(
            ours[OURS][f"{way}_ms"] <= 5 and ours[OURS][f"requests of {way} and flush"] <= 1
            for way in ("trim", "zero")
        ),
        kinds=frozenset({OURS, JOURNAL, NbdkitS3.name}),
    ),
    Row(
        "20",
        "5 % of 500 and 503, 2 % of resets behind the deed, 1 % of 10 s more",
        "no error, nothing lost",
        faults,
        lambda ours: all(one["errors"] == one["lost"] == 0 for one in (ours[OURS], ours[JOURNAL])),
        once=True,
    ),
]
