"""A copy is what its source was, takes no space for holes, and notices when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from backends.memory import MemoryExport
from gateway import copying
from gateway.copying import PIECE, Copy, is_blank
from gateway.errors import Corrupt, Unavailable
from gateway.info import MIB
from tests.doubles.always_later import AlwaysLater
from tests.doubles.faulty_export import FaultyExport
from tests.doubles.recording_export import RecordingExport

SIZE = 8 * MIB + 512


def settle(work, clock=None):
    """The result of a coroutine."""
    results = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    while clock is not None and not results:
        clock.advance(0.1)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def nothing(done, total, unit):
    """Nobody looks."""


def contents(disk):
    """All bytes of a disk in memory."""
    return bytes(disk.read(0, disk.info.size))


def filled(*places):
    """A disk of `SIZE` bytes with something at some places."""
    disk = MemoryExport(SIZE)
    for offset, data in places:
        disk.write(offset, data, False)
    return disk


class Enough(Exception):
    """Somebody stops the copy."""


ranges = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * MIB)), max_size=8)


@settings(max_examples=40, deadline=None)
@given(ranges, ranges, st.booleans())
def test_a_copy_is_equal_whatever_was_there(written, there, late):
    """Extents, pieces and what the target held are cut in any way; answers come in any order."""
    source, target = MemoryExport(SIZE), MemoryExport(SIZE + 4096)
    for disk, places in ((source, written), (target, there)):
        for number, (offset, length) in enumerate(places, 1):
            disk.write(offset, bytes([number]) * min(length, SIZE - offset), False)
    clock = Clock()
    ends = (
        (AlwaysLater(source, clock, 1), AlwaysLater(target, clock, 2)) if late else (source, target)
    )
    settle(Copy(*ends, nothing).run(), clock)
    assert contents(target)[:SIZE] == contents(source)


def test_holes_are_not_written_and_zeroes_are_found_in_data():
    """A clean target is not even told of them."""
    source = filled((0, b"a" * MIB), (MIB, bytes(2 * MIB)), (5 * MIB, b"b" * 512))
    target = RecordingExport(MemoryExport(SIZE))
    copy = Copy(source, target, nothing, clean=True)
    settle(copy.run())
    assert copy.copied + copy.skipped == SIZE
    assert copy.copied <= 2 * PIECE
    assert is_blank_from(target, MIB, 5 * MIB)
    assert not [call for call in target.calls if call[0] == "write_zeroes"]


def is_blank_from(disk, begin, end):
    """No data between two places."""
    at = begin
    while at < end:
        for extent in disk.extents(at, end - at, False):
            if not extent.zero:
                return False
            at += extent.length
    return True


def test_what_was_copied_is_read_again():
    """A target that keeps something else is found out, with the place."""

    class Forgetful(MemoryExport):
        def write(self, offset, data, fua):
            return super().write(offset, bytes(len(data)) if offset == 2 * MIB else data, fua)

    source = filled((0, bytes([7]) * 4 * MIB))
    with pytest.raises(Corrupt, match=f"bytes {2 * MIB} to {3 * MIB - 1} of the copy"):
        settle(Copy(source, Forgetful(SIZE), nothing).run())


def test_a_target_that_is_not_clean_after_all_is_found_out():
    """Its old bytes would shine through the holes."""
    source, target = filled((0, b"a" * 512)), filled((6 * MIB, b"old"))
    with pytest.raises(Corrupt, match="of the copy are not those"):
        settle(Copy(source, target, nothing, clean=True).run())


def test_a_failure_ends_it_and_leaves_nothing_under_way():
    """The first one is told."""
    clock = Clock()
    source = filled((0, bytes([1]) * 8 * MIB))
    target = FaultyExport(MemoryExport(SIZE))
    target.fail("write", Unavailable("the store is gone"))
    with pytest.raises(Unavailable, match="the store is gone"):
        settle(
            Copy(AlwaysLater(source, clock, 3), AlwaysLater(target, clock, 4), nothing).run(), clock
        )
    assert not clock.getDelayedCalls()


def test_it_goes_on_from_what_was_reached(monkeypatch):
    """What lies below is not read again."""
    monkeypatch.setattr(copying, "STEP", 2 * MIB)
    source, target = filled((0, bytes([1]) * SIZE)), MemoryExport(SIZE)
    reached = []

    async def note(offset):
        reached.append(offset)
        if offset == 4 * MIB:
            raise Enough

    with pytest.raises(Enough):
        settle(Copy(source, target, nothing, reached=note).run())
    assert reached == [2 * MIB, 4 * MIB]
    recorded = RecordingExport(source)
    settle(Copy(recorded, target, nothing).run(reached[-1]))
    assert contents(target) == contents(source)
    assert min(call[1] for call in recorded.calls if call[0] == "read") == 4 * MIB


def test_progress_rises_to_the_end():
    """In bytes of the source, holes included."""
    told = []
    source = filled((MIB, b"x" * 3 * MIB))
    copy = Copy(source, MemoryExport(SIZE), lambda *now: told.append(now))
    settle(copy.run())
    done = [now[0] for now in told]
    assert done == sorted(done)
    assert told[-1] == (SIZE, SIZE, "bytes")


@pytest.mark.parametrize(("there", "agrees"), [(b"x", True), (b"y", False)])
def test_a_target_that_lacks_what_was_copied_is_found_out(there, agrees):
    """By the last piece, so that the first one may be as it likes."""
    source = filled((0, b"x" * 3 * MIB))
    copy = Copy(source, filled((0, b"z" * MIB), (2 * MIB, there * MIB)), nothing)
    assert settle(copy.agrees(3 * MIB)) is agrees


def test_progress_counts_every_part_once_when_a_copy_is_gone_on_with(monkeypatch):
    """What was copied before is done from the start, and a bar ends at its end."""
    monkeypatch.setattr(copying, "STEP", 2 * MIB)
    told = []
    source = filled((3 * MIB, b"x" * MIB), (6 * MIB + 7, b"y"))
    target = filled((7 * MIB, b"z"))
    copy = Copy(source, target, lambda *now: told.append(now))
    settle(copy.run(2 * MIB))
    done = [now[0] for now in told]
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (2 * MIB, SIZE)
    assert copy.copied + copy.skipped == SIZE - 2 * MIB


@pytest.mark.parametrize(("places", "blank"), [([], True), ([(SIZE - 512, b"x" * 512)], False)])
def test_a_blank_disk_is_known_without_reading(places, blank):
    """By its extents alone."""
    disk = RecordingExport(filled(*places))
    assert settle(is_blank(disk)) is blank
    assert {call[0] for call in disk.calls} == {"extents"}
