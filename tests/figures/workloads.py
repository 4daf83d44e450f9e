"""What is measured: each workload takes a `Lab` and answers what it asked of the store."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import attrs
from twisted.internet.defer import Deferred

from gateway.info import KIB, MIB
from tests.figures.lab import BLOCK, PATTERN, Lab, Requests

GIB = 1024 * MIB
TIB = 1024 * GIB

#: Seconds that a store nearby takes to answer.
NEAR = 0.015

MKFS = Path(__file__).with_name("mkfs_ext4.txt")


@attrs.frozen
class Upload:
    """
    What random writes cost.

    Attributes:
        requests: made, with the checkpoint that closing writes.
        data: bytes written.
        seconds: of real time until the flush was answered.
    """

    requests: Requests
    data: int
    seconds: float

    @property
    def overhead(self) -> float:
        """Bytes sent over those written, as a part of the latter."""
        return self.requests.bytes("put") / self.data - 1


def flush_of_scattered_writes(lab: Lab, volume, writes: int = 16) -> Requests:
    """4 KiB each."""
    with lab.counting() as requests:
        lab.scatter(volume, writes, 0, volume.info.size)
        lab.settle(volume.flush())
    return requests


def fragmented(lab: Lab, size: int):
    """A volume on which no two neighbouring blocks of 4 KiB are neighbours in an object."""
    volume = lab.new(size)
    order = list(range(size // BLOCK))
    Random(5).shuffle(order)
    for number, block in enumerate(order):
        answer = volume.write(block * BLOCK, PATTERN[:BLOCK], False)
        if isinstance(answer, Deferred):
            lab.settle(answer)
        if not number % 64:
            lab.clock.advance(0.01)
    lab.settle(volume.close())
    return lab.again()


def random_writes(lab: Lab, volume, writes: int, seed: int = 1) -> Upload:
    """All over the disk, then a flush, then the checkpoint of closing."""
    with lab.counting() as requests:
        started = time.perf_counter()
        lab.scatter(volume, writes, 0, volume.info.size, seed)
        lab.settle(volume.flush())
        seconds = time.perf_counter() - started
        lab.settle(volume.close())
    return Upload(requests, writes * BLOCK, seconds)


#: Ways to clear a range, by name.
CLEARINGS = {
    "trim": lambda volume, length: volume.trim(0, length, False),
    "zero": lambda volume, length: volume.write_zeroes(0, length, False, False, True),
    "zero, may trim": lambda volume, length: volume.write_zeroes(0, length, True, False, True),
}

#: States of the disk before that, by name.
CLEARED = ("empty", "with data", "map not loaded")


def cleared(lab: Lab, way: str, state: str, length: int = 64 * GIB) -> tuple[Requests, float, int]:
    """
    Clear a range of a disk twice as large, which holds 64 KiB in each 64 MiB, or nothing.

    Returns:
        Requests until the call had returned; its seconds; puts of the flush that followed.
    """
    volume = lab.new(2 * length)
    if state != "empty":
        for start in range(0, 2 * length, 64 * MIB):
            lab.fill(volume, start, start + 64 * KIB)
        lab.settle(volume.flush())
    if state == "map not loaded":
        lab.settle(volume.close())
        volume = lab.again()
    with lab.counting() as requests:
        started = time.perf_counter()
        answer = CLEARINGS[way](volume, length)
        seconds = time.perf_counter() - started
        assert not isinstance(answer, Deferred), "it waits"
    with lab.counting() as flushing:
        lab.settle(volume.flush())
    data = lab.settle(volume.read(length // 2, 64 * KIB))
    assert bytes(data) == bytes(64 * KIB), "it was not cleared"
    return requests, seconds, flushing.count("put", "log")


def mkfs_ext4(lab: Lab) -> Requests:
    """A recorded mkfs.ext4 on an empty disk of 4 GiB; its last flush included."""
    volume = lab.new(4 * GIB)
    with lab.counting() as requests:
        for line in MKFS.read_text().splitlines():
            verb, *words = line.split()
            if verb == "flush":
                lab.settle(volume.flush())
            elif verb == "trim":
                lab.settle(volume.trim(int(words[0]), int(words[1]), False))
            elif verb == "zero":
                answer = volume.write_zeroes(int(words[0]), int(words[1]), False, False, False)
                lab.settle(answer)
            elif verb == "write":
                data = bytearray(int(words[1]))
                for piece in words[2:]:
                    start, length = (512 * int(number) for number in piece.split("+"))
                    data[start : start + length] = PATTERN[:length]
                lab.settle(volume.write(int(words[0]), bytes(data), False))
                lab.clock.advance(0.0001)
    return requests


def copied_out(
    lab: Lab, places: int, depth: int, size: int = GIB, data: int = 64 * MIB, piece: int = 256 * KIB
) -> tuple[Requests, int]:
    """
    Copy a disk out as nbdcopy does: block status, then what is data, several reads under way.

    The cache is cold, as the volume was closed and attached again; attaching is not counted.

    Args:
        places: at which the data lies, evenly spread, in order.
        depth: reads under way.

    Returns:
        Requests, and bytes that were read.
    """
    volume = lab.new(size)
    for start in range(0, size, size // places):
        lab.fill(volume, start, start + data // places)
    lab.settle(volume.close())
    volume = lab.again()
    lab.store.delay = NEAR
    with lab.counting() as requests:
        reads: list[Deferred] = []
        read = offset = 0
        while offset < size:
            for extent in lab.settle(volume.extents(offset, size - offset, False)):
                end = min(offset + extent.length, size)
                for start in range(offset, end, piece) if not extent.zero else ():
                    length = min(piece, end - start)
                    read += length
                    if not volume.read_into(start, memoryview(bytearray(length))):
                        reads.append(volume.read(start, length))
                    if len(reads) >= depth:
                        lab.settle(reads.pop(0))
                offset = end
        for answer in reads:
            lab.settle(answer)
        lab.pass_time(1)
    return requests, read


def read_in_order(lab: Lab, volume, end: int, piece: int, depth: int) -> Requests:
    """From the disk's start, several reads under way."""
    with lab.counting() as requests:
        reads: list[Deferred] = []
        for start in range(0, end, piece):
            if not volume.read_into(start, memoryview(bytearray(piece))):
                reads.append(volume.read(start, piece))
            if len(reads) >= depth:
                lab.settle(reads.pop(0))
        for answer in reads:
            lab.settle(answer)
        lab.pass_time(1)
    return requests


@attrs.frozen
class Attached:
    """
    What attaching asked for.

    Attributes:
        unclean: after its writer was killed just before a checkpoint was due.
        behind: what was asked for after that, until the map had all of the log.
        clean: after it was closed.
        built: seconds of real time that building the volume took.
    """

    unclean: Requests
    behind: Requests
    clean: Requests
    built: float


def attached(
    lab: Lab, size: int, live: int, places: int = 64, tail: int = 127, piece: int = MIB
) -> Attached:
    """
    Attach a volume after it was closed, and after its writer was killed.

    Args:
        live: bytes of it that hold data.
        places: at which they lie, evenly spread.
        tail: log objects behind the last checkpoint of the writer that was killed.
        piece: bytes of a write.
    """
    started = time.perf_counter()
    volume = lab.new(size)
    for start in range(0, size, size // places):
        lab.fill(volume, start, start + live // places, piece)
    lab.settle(volume.close())
    built = time.perf_counter() - started
    with lab.counting() as clean:
        volume = lab.again()
    for number in range(tail):
        lab.settle(volume.write(number * size // 128 // BLOCK * BLOCK, PATTERN[:BLOCK], True))
    lab.store.delay = NEAR
    with lab.counting() as unclean:
        volume = lab.again()
    with lab.counting() as behind:
        lab.pass_time(10, 0.01)
    lab.settle(volume.close())
    return Attached(unclean, behind, clean, built)
