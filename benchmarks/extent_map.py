"""
What a volume's maps cost: time per change and memory, after random writes.

    python -m benchmarks.extent_map [--writes 1000000] [--tebibytes 1]

Paints random 4 KiB writes into an overlay and into the map, writes all of it
as one checkpoint into nowhere, and then a second one after a tenth as many
writes. Prints microseconds per call and the growth of the process in MiB.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from array import array
from collections.abc import Callable, Generator
from typing import TypeVar

from backends.volume.checkpoint import State, write
from backends.volume.directory import Directory, SliceRef
from backends.volume.extent_map import ExtentMap
from backends.volume.layered import LayeredMap
from backends.volume.object_table import ObjectTable
from backends.volume.slices import SliceKind
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.values import ABSENT, HOLE, data

T = TypeVar("T")

WRITE = 8
#: Writes that fill an object.
OBJECT = 2048


def resident() -> float:
    """The most MiB that the process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what: str, calls: int, run: Callable[[], object]) -> None:
    """Print what one call takes."""
    before, began = resident(), time.perf_counter()
    run()
    spent = time.perf_counter() - began
    print(
        f"{what}: {spent / calls * 1e6:.2f} us each, {spent:.2f} s for {calls}, "
        f"{resident() - before:+.0f} MiB"
    )


def steps(writing: Generator[None, None, T]) -> tuple[T, float]:
    """Take every step; the longest in seconds."""
    longest = 0.0
    while True:
        began = time.perf_counter()
        try:
            next(writing)
        except StopIteration as end:
            return end.value, max(longest, time.perf_counter() - began)
        longest = max(longest, time.perf_counter() - began)


class Disk:
    """A map with its tables, written to nowhere."""

    def __init__(self, sectors: int) -> None:
        self.extent_map = ExtentMap(sectors, Directory())
        self.table = ObjectTable()
        self.containers = ObjectTable()
        self.state = State()
        self.offset = 0
        self.container = 0

    def paint(self, writes: array[int]) -> None:
        """As segments do when they are applied."""
        extent_map, table = self.extent_map, self.table
        for first in range(0, len(writes), OBJECT):
            self.state.version += 1
            index = table.add(
                Entry(ObjectKind.DATA, 0, 1, first, OBJECT * WRITE, 0, 0, self.state.version)
            )
            for number, start in enumerate(writes[first : first + OBJECT]):
                for old, sectors in extent_map.set(
                    start, start + WRITE, data(index, number * WRITE)
                ):
                    table.release(old, sectors, None)
                table.live_add(index, WRITE)

    def emit(self, _kind: SliceKind, plain: bytes) -> SliceRef:
        """Take a slice and forget it."""
        ref = SliceRef(self.container, self.offset, len(plain))
        self.offset += len(plain)
        return ref

    def checkpoint(self, what: str) -> None:
        """Write and commit one, and print what it took."""
        self.offset = 0
        self.container = self.containers.add(
            Entry(ObjectKind.CHECKPOINT, 0, 1, self.state.version, 0, 0, 0, self.state.version)
        )
        pages = sum(1 for _page in self.extent_map.dirty_pages())
        began = time.perf_counter()
        written, longest = steps(
            write(self.extent_map, self.table, self.containers, self.state, None, self.emit)
        )
        spent = time.perf_counter() - began
        began = time.perf_counter()
        _deletable, pause = steps(written.commit_in_steps())
        print(
            f"{what}: {pages} pages, {self.offset / 2**20:.1f} MiB, {spent:.2f} s, "
            f"longest step {longest * 1e3:.1f} ms, commit {time.perf_counter() - began:.2f} s, "
            f"longest step {pause * 1e3:.1f} ms"
        )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What a volume's maps cost.")
    parser.add_argument("--writes", type=int, default=1_000_000)
    parser.add_argument("--tebibytes", type=float, default=1)
    options = parser.parse_args()
    sectors = int(options.tebibytes * 2**31)
    rng = random.Random(1)
    writes = array("Q", (rng.randrange(sectors // WRITE) * WRITE for _ in range(options.writes)))

    disk = Disk(sectors)
    timed("map, set and counts", len(writes), lambda: disk.paint(writes))
    print(f"map says {disk.extent_map.memory / 2**20:.0f} MiB")

    def read() -> None:
        for start in writes:
            disk.extent_map.runs(start, start + WRITE)

    timed("map, runs", len(writes), read)
    disk.checkpoint("first checkpoint")
    disk.paint(writes[: len(writes) // 10])
    disk.checkpoint("second checkpoint")
    timed("map, zero all", 1, lambda: disk.extent_map.set(0, sectors, HOLE))

    overlay = LayeredMap(sectors, ABSENT)

    def paint() -> None:
        for number, start in enumerate(writes):
            overlay.set(start, start + WRITE, data(1 + number // OBJECT, number % OBJECT * WRITE))

    timed("overlay, set", len(writes), paint)

    def clear() -> None:
        for number, start in enumerate(writes):
            overlay.clear(start, start + WRITE, 1 + number // OBJECT)

    timed("overlay, clear", len(writes), clear)


if __name__ == "__main__":
    main()
