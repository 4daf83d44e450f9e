"""
What clients do to a disk, as a program of its own: the distribution's Python has libnbd.

    python3 disk_jobs.py DISK JOB '{"argument": value, ...}'

DISK is an NBD URI, or a path: of a file that a FUSE file system serves. Prints JSON. Imports
nothing of this project.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

KIB, MIB = 1024, 1024 * 1024
BLOCK = 4 * KIB

#: Bytes that no compression makes fewer.
_NOISE = random.Random(7).randbytes(4 * MIB)


def noise(number: int, length: int) -> bytes:
    """``length`` bytes, others for another number."""
    at = number * 7919 * 64 % (len(_NOISE) - length)
    return number.to_bytes(8, "little") + _NOISE[at + 8 : at + length]


#: ``("write" or "fua", offset, bytes)`` or ``("read", offset, length)``.
Request = tuple[str, int, Any]


class NbdDisk:
    """A disk behind an NBD URI, one connection."""

    def __init__(self, uri: str) -> None:
        import nbd

        self._nbd = nbd
        self._handle = nbd.NBD()
        self._handle.set_strict_mode(0)  # nbdkit's S3 plugin wants 64 KiB, and takes less
        self._handle.connect_uri(uri)
        self.errors = 0

    def run(
        self,
        requests: Iterable[Request],
        depth: int,
        got: Callable[[int, bytes], None] | None = None,
    ) -> list[float]:
        """All requests, ``depth`` at a time; the seconds that each took, in order of the ends."""
        handle, nbd = self._handle, self._nbd
        took: list[float] = []
        for kind, offset, what in requests:
            while handle.aio_in_flight() >= depth:
                handle.poll(-1)
            begun = time.perf_counter()
            if kind == "read":
                buffer = nbd.Buffer(what)
                done = self._completion(begun, took, offset, buffer, got)
                handle.aio_pread(buffer, offset, completion=done)
            else:
                flags = nbd.CMD_FLAG_FUA if kind == "fua" else 0
                buffer = nbd.Buffer.from_bytearray(bytearray(what))
                done = self._completion(begun, took, offset, buffer, None)
                handle.aio_pwrite(buffer, offset, completion=done, flags=flags)
        while handle.aio_in_flight():
            handle.poll(-1)
        return took

    def _completion(
        self,
        begun: float,
        took: list[float],
        offset: int,
        buffer: Any,
        got: Callable[[int, bytes], None] | None,
    ) -> Callable[[Any], int]:
        def done(error: Any) -> int:
            took.append(time.perf_counter() - begun)
            if error.value:
                self.errors += 1
            elif got is not None:
                got(offset, bytes(buffer.to_bytearray()))
            return 1

        return done

    def flush(self) -> None:
        """Until what was written is durable."""
        if not self._handle.can_flush():
            return
        try:
            self._handle.flush()
        except self._nbd.Error:
            self.errors += 1

    def clear(self, offset: int, length: int, way: str) -> None:
        """Trim or zero, in pieces as long as a request may be."""
        most = 2 * 1024 * MIB
        for start in range(offset, offset + length, most):
            piece = min(most, offset + length - start)
            if way == "trim":
                self._handle.trim(piece, start)
            else:
                self._handle.zero(piece, start)


class FileDisk:
    """A disk that is a file."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR)
        self.errors = 0

    def run(
        self,
        requests: Iterable[Request],
        depth: int,
        got: Callable[[int, bytes], None] | None = None,
    ) -> list[float]:
        """As `NbdDisk.run`."""
        took: list[float] = []

        def one(kind: str, offset: int, what: Any) -> None:
            begun = time.perf_counter()
            try:
                if kind == "read":
                    data = os.pread(self._file, what, offset)
                    if got is not None:
                        got(offset, data)
                else:
                    os.pwrite(self._file, what, offset)
                    if kind == "fua":
                        os.fsync(self._file)
            except OSError:
                self.errors += 1
            took.append(time.perf_counter() - begun)

        with ThreadPoolExecutor(depth) as threads:
            under_way: set[Any] = set()
            for request in requests:
                if len(under_way) >= depth:
                    done, under_way = wait(under_way, return_when="FIRST_COMPLETED")
                    for each in done:
                        each.result()
                under_way.add(threads.submit(one, *request))
        return took

    def flush(self) -> None:
        """As `NbdDisk.flush`."""
        try:
            os.fsync(self._file)
        except OSError:
            self.errors += 1

    def clear(self, offset: int, length: int, way: str) -> None:
        """Not to be had here: s3backer 1.5.4 knows no holes in its file."""
        raise SystemExit(f"{way}: a file of s3backer knows neither holes nor zeroes")


Disk = NbdDisk | FileDisk


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _random_writes(count: int, size: int, seed: int, kind: str = "write") -> Iterable[Request]:
    rng = random.Random(seed)
    for number in range(count):
        yield kind, rng.randrange(size // BLOCK) * BLOCK, noise(number, BLOCK)


def scattered(disk: Disk, size: int, rounds: int, writes: int = 16, seed: int = 1) -> object:
    """Groups of random writes at once with a flush behind them: the median of their seconds."""
    took = []
    for number in range(rounds):
        group = list(_random_writes(writes, size, seed * 1000 + number))

        def both(group: list[Request] = group) -> None:
            disk.run(group, writes)
            disk.flush()

        took.append(_timed(both))
    return {"group_s": _median(took)}


def fua(disk: Disk, size: int, count: int) -> object:
    """Writes with FUA, one after the other: the median of their seconds."""
    return {"write_s": _median(disk.run(_random_writes(count, size, 3, "fua"), 1))}


def random_writes(disk: Disk, size: int, count: int, depth: int = 32, seed: int = 1) -> object:
    """Random writes at once, then a flush."""
    accepted = _timed(lambda: disk.run(_random_writes(count, size, seed), depth))
    flushed = _timed(disk.flush)
    return {"accepted_s": accepted, "flush_s": flushed}


def write_in_order(
    disk: Disk, length: int, piece: int = 128 * KIB, depth: int = 8, start: int = 0
) -> object:
    """From the disk's start, then a flush."""
    requests = (("write", start + at, noise(at // piece, piece)) for at in range(0, length, piece))
    accepted = _timed(lambda: disk.run(requests, depth))
    flushed = _timed(disk.flush)
    return {"accepted_s": accepted, "flush_s": flushed}


def write_places(disk: Disk, size: int, places: int, length: int) -> object:
    """``length`` bytes at each of ``places`` places, evenly spread, then a flush."""
    requests = (
        ("write", place * (size // places) + at, noise(place + at // MIB, min(MIB, length)))
        for place in range(places)
        for at in range(0, length, MIB)
    )
    disk.run(requests, 8)
    disk.flush()
    return {}


def flush_alone(disk: Disk, size: int, writes: int = 4) -> object:
    """The seconds of a flush behind writes that were answered."""
    disk.run(_random_writes(writes, size, 12), writes)
    return {"flush_s": _timed(disk.flush)}


def read_in_order(disk: Disk, length: int, piece: int = 128 * KIB, depth: int = 8) -> object:
    """What `write_in_order` wrote; every piece is compared."""
    wrong = 0

    def got(offset: int, data: bytes) -> None:
        nonlocal wrong
        wrong += data != noise(offset // piece, piece)

    requests = (("read", at, piece) for at in range(0, length, piece))
    seconds = _timed(lambda: disk.run(requests, depth, got))
    return {"seconds": seconds, "wrong": wrong}


def random_reads(
    disk: Disk, size: int, count: int, depth: int, seed: int, passes: int = 1
) -> object:
    """The same blocks in every pass: seconds of each, and the medians of a read's."""
    seconds, medians = [], []
    for _ in range(passes):
        rng = random.Random(seed)
        requests = [("read", rng.randrange(size // BLOCK) * BLOCK, BLOCK) for _ in range(count)]
        took: list[float] = []
        seconds.append(_timed(lambda: took.extend(disk.run(requests, depth))))  # noqa: B023
        medians.append(_median(took))
    return {"seconds": seconds, "read_s": medians}


def clear(disk: Disk, length: int, way: str) -> object:
    """Trim or zero from the start; the flush apart."""
    return {
        "clear_s": _timed(lambda: disk.clear(0, length, way)),
        "flush_s": _timed(disk.flush),
    }


def zero_places(disk: Disk, size: int, count: int, length: int) -> object:
    """The median of the seconds that zeroing ``length`` bytes takes, at places of the disk."""
    places = [number * (size // count) for number in range(count)]
    return {
        "zero_s": _median([_timed(lambda at=at: disk.clear(at, length, "zero")) for at in places])
    }


def stamp(disk: Disk, size: int, count: int, seed: int) -> object:
    """Write blocks that `check` knows, and flush."""
    places = random.Random(seed).sample(range(size // BLOCK), count)
    disk.run([("write", place * BLOCK, noise(place + seed, BLOCK)) for place in places], 16)
    disk.flush()
    return {"errors": disk.errors}


def check(disk: Disk, size: int, count: int, seed: int) -> object:
    """How many of the blocks that `stamp` wrote are there."""
    places = random.Random(seed).sample(range(size // BLOCK), count)
    right = 0

    def got(offset: int, data: bytes) -> None:
        nonlocal right
        right += data == noise(offset // BLOCK + seed, BLOCK)

    disk.run([("read", place * BLOCK, BLOCK) for place in places], 16, got)
    return {"right": right, "errors": disk.errors}


def contend(disk: Disk, first: int) -> object:
    """
    Write and flush one block after another until that fails; say so after each.

    Every block of it has a number: `check_contended` finds what was acknowledged.
    """
    number = 0
    while not disk.errors:
        disk.run([("write", (first + number) * BLOCK, noise(first + number, BLOCK))], 1)
        disk.flush()
        if not disk.errors:
            number += 1
            print(number, flush=True)
    return {"acknowledged": number}


def check_contended(disk: Disk, first: int, count: int) -> object:
    """How many of the first ``count`` blocks that `contend` wrote are there."""
    right = 0

    def got(offset: int, data: bytes) -> None:
        nonlocal right
        right += data == noise(offset // BLOCK, BLOCK)

    disk.run([("read", (first + number) * BLOCK, BLOCK) for number in range(count)], 16, got)
    return {"right": right}


def _paced(seconds: float, period: float, step: Callable[[int], None]) -> None:
    """Call ``step`` each ``period``; a step that is late is followed by the next at once."""
    begun = time.perf_counter()
    for number in range(round(seconds / period)):
        ahead = begun + number * period - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        step(number)
        if time.perf_counter() - begun > seconds:
            return


def idle_guest(disk: Disk, size: int, seconds: float) -> object:
    """A guest at rest: six blocks in six places and a flush, each five seconds."""
    rng = random.Random(5)
    places = [rng.randrange(size // BLOCK) * BLOCK for _ in range(64)]

    def burst(number: int) -> None:
        chosen = rng.sample(places, 6)
        disk.run([("write", at, noise(number + at, BLOCK)) for at in chosen], 6)
        disk.flush()

    bursts = 0

    def counted(number: int) -> None:
        nonlocal bursts
        burst(number)
        bursts += 1

    _paced(seconds, 5.0, counted)
    return {"units": bursts, "unit_s": 5.0}


def database(disk: Disk, size: int, seconds: float) -> object:
    """50 commits a second of 16 KiB to a log, each flushed, and 100 random pages of 4 KiB."""
    rng = random.Random(6)
    log, commits = size // 2, 0

    def commit(number: int) -> None:
        nonlocal commits
        place = log + number * 16 * KIB % (64 * MIB)
        pages = [rng.randrange(log // BLOCK) * BLOCK for _ in range(2)]
        requests = [("write", place, noise(number, 16 * KIB))]
        requests += [("write", at, noise(number + at, BLOCK)) for at in pages]
        disk.run(requests, 3)
        disk.flush()
        commits += 1

    begun = time.perf_counter()
    _paced(seconds, 0.02, commit)
    return {
        "units": commits,
        "unit_s": 0.02,
        "commits_per_s": commits / (time.perf_counter() - begun),
    }


def steady(disk: Disk, size: int, seconds: float, rate: int = 500) -> object:
    """Random writes of 4 KiB at a rate, with a flush each five seconds."""
    rng = random.Random(8)
    done = 0

    def group(number: int) -> None:
        nonlocal done
        places = [rng.randrange(size // BLOCK) * BLOCK for _ in range(rate // 10)]
        disk.run([("write", at, noise(number + at, BLOCK)) for at in places], 16)
        done += len(places)
        if number % 50 == 49:
            disk.flush()

    _paced(seconds, 0.1, group)
    disk.flush()
    return {"units": done, "unit_s": 1 / rate}


def boot(disk: Disk, length: int, reads: int) -> object:
    """
    Reads as of a system that starts: short runs in order at random places.

    Nine in ten places are visited once; their lengths are 4 to 128 KiB.
    """
    rng = random.Random(9)
    requests: list[Request] = []
    while len(requests) < reads:
        at = rng.randrange(length // BLOCK) * BLOCK
        for _ in range(rng.randrange(1, 9)):
            piece = rng.choice((4, 4, 8, 16, 32, 64, 128)) * KIB
            if at + piece > length:
                break
            requests.append(("read", at, piece))
            at += piece
    return {"seconds": _timed(lambda: disk.run(requests[:reads], 4))}


JOBS: dict[str, Callable[..., object]] = {
    job.__name__: job
    for job in (
        boot, check, check_contended, clear, contend, database, flush_alone, fua, idle_guest,
        random_reads,
        random_writes, read_in_order, scattered, stamp, steady, write_in_order, write_places,
        zero_places,
    )
}  # fmt: skip


def main() -> None:
    """Do one job."""
    where, job, arguments = sys.argv[1:4]
    disk: Disk = NbdDisk(where) if where.startswith("nbd") else FileDisk(where)
    result = JOBS[job](disk, **json.loads(arguments))
    assert isinstance(result, dict)
    print(json.dumps({**result, "errors": disk.errors}), flush=True)


if __name__ == "__main__":
    main()
