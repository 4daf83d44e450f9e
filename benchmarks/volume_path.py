"""
What the volume itself costs a request: Python time per write and per cached read, over memory.

    python -m benchmarks.volume_path [--seconds 2] [--journal DIRECTORY]

With ``--journal``, what ``durability = journal`` adds, with its file in that
directory. No protocol, no threads, no reactor: a virtual clock, and a store that answers
at once. Compare the figures of two commits on one machine, not of two machines.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from backends.objects.memory import MemoryStore
from backends.volume.attaching import Caches, attach
from backends.volume.creating import create
from backends.volume.environment import Environment, Options
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.journal import Journal
from backends.volume.journal_opening import with_journal
from backends.volume.names import Names
from backends.volume.processes import Process
from backends.volume.superblocks import newest
from backends.volume.volume import Volume
from gateway.info import KIB, MIB

SIZE = 4096 * MIB
BLOCK = 4 * KIB
#: Bytes of the disk that are written and read.
AREA = 256 * MIB


class Bench:
    """
    A volume under virtual time.

    Args:
        journal: where its journal lies; None for ``durability = store``.
    """

    def __init__(self, journal: str | None) -> None:
        self.clock = Clock()
        rng = random.Random(1)
        environment = Environment(
            clock=self.clock,
            random=rng,
            secret_bytes=rng.randbytes,
            wall=time.time,
            call_in_thread=maybeDeferred,
            process=Process("benchmark"),
        )
        store = MemoryStore()
        self.wait(create(store, "volume", SIZE, environment))
        caches = Caches(memory=FrameCache(FrameMemory(2 * AREA)))
        options = Options(collect=False)

        def attaching(journal: Journal | None = None) -> Coroutine[Any, Any, Volume]:
            return attach(store, "volume", environment, options, caches, journal=journal)

        if journal is None:
            self.volume: Volume = self.wait(attaching())
            return
        found = self.wait(newest(store, Names("volume")))
        volume = found.superblock.volume
        self.volume = self.wait(with_journal(journal, 1024 * MIB, volume, environment, attaching))

    def wait(self, later: Any) -> Any:
        """The answer, however much virtual time it takes."""
        if hasattr(later, "send"):
            later = Deferred.fromCoroutine(later)
        if not isinstance(later, Deferred):
            return later  # it was there at once
        answers: list[Any] = []
        later.addBoth(answers.append)
        while not answers:
            self.clock.advance(0.01)
        if hasattr(answers[0], "raiseException"):
            answers[0].raiseException()
        return answers[0]

    def write(self, offset: int, data: bytes) -> None:
        """A write, and what follows from it."""
        if (later := self.volume.write(offset, data, False)) is not None:
            self.wait(later)

    def settle(self) -> None:
        """Everything stored and in the map."""
        if (later := self.volume.flush()) is not None:
            self.wait(later)
        for _ in range(500):
            self.clock.advance(0.01)


def rate(seconds: float, step: Callable[[], None], settle: Callable[[], None]) -> float:
    """Steps in a second, with what they leave to do."""
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(64):
            step()
        done += 64
        settle()
    return done / (time.perf_counter() - begin)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.volume_path", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--journal", metavar="DIRECTORY", help="durability = journal")
    options = parser.parse_args(arguments)
    seconds: float = options.seconds
    say = sys.stdout.write
    rng = random.Random(2)
    data = [rng.randbytes(BLOCK) for _ in range(64)]
    bench = Bench(options.journal)
    tick = lambda: bench.clock.advance(0)  # noqa: E731 - what applying leaves for later

    # Accepting alone: nothing is sealed while these 1,024 blocks are taken.
    offsets = [rng.randrange(AREA // BLOCK) * BLOCK for _ in range(1024)]
    taken, begin_all = 0, 0.0
    while begin_all < seconds:
        begin = time.perf_counter()
        for number, offset in enumerate(offsets):
            bench.volume.write(offset, data[number & 63], False)
        begin_all += time.perf_counter() - begin
        taken += len(offsets)
        bench.settle()
        rng.shuffle(offsets)
        offsets = [(offset + BLOCK * 1024) % AREA for offset in offsets]
    say(
        f"4 KiB random writes accepted   {taken / begin_all:10,.0f} /s"
        f"  {begin_all / taken * 1e6:6.1f} us each\n"
    )

    def small() -> None:
        bench.write(rng.randrange(AREA // BLOCK) * BLOCK, data[rng.randrange(64)])

    figure = rate(seconds, small, tick)
    say(f"4 KiB random writes, all of it {figure:10,.0f} /s  {1e6 / figure:6.1f} us each\n")
    bench.settle()

    large = [rng.randbytes(MIB) for _ in range(4)]
    position = 0

    def sequential() -> None:
        nonlocal position
        bench.write(position, large[position // MIB % 4])
        position = (position + MIB) % AREA

    figure = rate(seconds, sequential, tick)
    say(f"1 MiB sequential writes        {figure * MIB / 1e6:10,.0f} MB/s\n")
    while position:
        sequential()
    bench.settle()

    buffer = memoryview(bytearray(BLOCK))
    missed = 0

    def read() -> None:
        nonlocal missed
        if not bench.volume.read_into(rng.randrange(AREA // BLOCK) * BLOCK, buffer):
            missed += 1
            bench.wait(bench.volume.read(0, BLOCK))

    figure = rate(seconds, read, lambda: None)
    say(
        f"4 KiB random reads, cached     {figure:10,.0f} /s  {1e6 / figure:6.1f} us each"
        f"  ({missed} missed)\n"
    )
    wide = memoryview(bytearray(MIB))
    at = 0

    def long() -> None:
        nonlocal at
        bench.volume.read_into(at, wide)
        at = (at + MIB) % AREA

    figure = rate(seconds, long, lambda: None)
    say(f"1 MiB sequential reads, cached {figure * MIB / 1e6:10,.0f} MB/s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
