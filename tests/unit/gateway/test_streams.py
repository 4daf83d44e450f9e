"""Standard input is copied as a disk is, and a disk goes to standard output byte for byte."""

from __future__ import annotations

import io
import tracemalloc

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from backends.memory import MemoryExport
from gateway.copying import PIECE, Copy
from gateway.errors import Unavailable
from gateway.info import MIB
from gateway.streams import StreamSource, pour

SIZE = 5 * MIB + 512


class Dribble(io.RawIOBase):
    """A pipe: reads come short, and writes are taken in part."""

    def __init__(self, data=b""):
        self.inside = io.BytesIO(data)
        self.taken = bytearray()

    def read(self, count=-1):
        return self.inside.read(min(count, 70_001))

    def write(self, data):
        self.taken += bytes(data[:50_001])
        return min(len(data), 50_001)


def in_thread(function, *args):
    """There are no threads here."""
    return maybeDeferred(function, *args)


def settle(work):
    """The result of a coroutine."""
    results = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def nothing(done, total, unit):
    """Nobody looks."""


def pattern(length):
    """Bytes that tell where they were."""
    return b"".join(number.to_bytes(8, "big") for number in range(length // 8))


@pytest.mark.parametrize("length", [0, 8, PIECE, 3 * MIB + 4096, SIZE])
def test_a_stream_becomes_a_disk_with_zeroes_behind_it(length):
    """Whatever the disk held there."""
    target = MemoryExport(SIZE)
    target.write(0, bytes([255]) * SIZE, False)
    source = StreamSource(Dribble(pattern(length)), SIZE, in_thread)
    settle(Copy(source, target, nothing).run())
    settle(source.expect_end())
    assert bytes(target.read(0, SIZE)) == pattern(length) + bytes(SIZE - length)


def test_more_than_the_disk_holds_is_told():
    """Nobody takes a cut image for a whole one."""
    source = StreamSource(Dribble(pattern(SIZE + 8)), SIZE, in_thread)
    settle(Copy(source, MemoryExport(SIZE), nothing).run())
    with pytest.raises(Unavailable, match=f"more than {SIZE} bytes"):
        settle(source.expect_end())


def test_it_goes_on_behind_what_was_copied_before():
    """What lies before is read, and dropped."""
    target = MemoryExport(SIZE)
    target.write(0, pattern(2 * MIB), False)
    source = StreamSource(Dribble(pattern(SIZE)), SIZE, in_thread)
    settle(Copy(source, target, nothing).run(2 * MIB))
    assert bytes(target.read(0, SIZE)) == pattern(SIZE)


def test_going_on_holds_little_of_what_lies_before():
    """However much that is: a terabyte was copied yesterday."""
    length = 512 * MIB
    block = bytes(range(256)) * (PIECE // 256)

    class Long(io.RawIOBase):
        left = length

        def read(self, count=-1):
            assert 0 < count <= PIECE
            count = min(count, self.left)
            self.left -= count
            return bytes(memoryview(block)[:count])

    target = MemoryExport(length)
    told = []
    copy = Copy(
        StreamSource(Long(), length, in_thread), target, lambda done, *_: told.append(done), True
    )
    tracemalloc.start()
    try:
        target.write(length - 5 * PIECE, block, False)
        assert settle(copy.agrees(length - 4 * PIECE))
        settle(copy.run(length - 4 * PIECE))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32 * MIB
    assert bytes(target.read(length - PIECE, PIECE)) == block
    assert told == [length - left * PIECE for left in (4, 3, 2, 1, 0)]


def test_a_disk_is_poured_out_with_its_holes():
    """As zeroes: a stream has no others."""
    disk = MemoryExport(SIZE)
    disk.write(MIB + 512, pattern(2 * MIB), False)
    stream, told = Dribble(), []
    settle(pour(disk, stream, in_thread, lambda *now: told.append(now)))
    assert bytes(stream.taken) == bytes(disk.read(0, SIZE))
    assert told[-1] == (SIZE, SIZE, "bytes")


def test_nobody_who_reads_on_ends_it():
    """As `head` does."""

    class Closed(Dribble):
        def write(self, data):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        settle(pour(MemoryExport(SIZE), Closed(), in_thread, nothing))
