"""Zeroing by writing zeroes: every byte, in pieces, and only as much as needed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from backends.memory import MemoryExport
from gateway.errors import Unavailable
from gateway.info import MIB
from gateway.nbd.zeroing import write_zeroes
from tests.doubles.recording_export import RecordingExport

SIZE = 8 * MIB


def filled() -> RecordingExport:
    export = MemoryExport(SIZE)
    export.write(0, b"\xaa" * SIZE, False)
    return RecordingExport(export)


def run(export: Any, offset: int, length: int, **changes: Any) -> Deferred[None]:
    arguments = {
        "may_trim": True,
        "fua": False,
        "pause": lambda: succeed(None),
        "abandoned": lambda: False,
    } | changes
    return Deferred.fromCoroutine(write_zeroes(export, offset, length, **arguments))


def finished(result: Deferred[None]) -> None:
    done: list[Any] = []
    result.addBoth(done.append)
    assert done == [None]


@pytest.mark.parametrize("may_trim", [True, False])
@pytest.mark.parametrize(
    ("offset", "length"), [(0, SIZE), (1, SIZE - 2), (MIB - 1, 2), (5, 1), (3 * MIB + 7, 2 * MIB)]
)
def test_exactly_the_range_reads_zero(offset: int, length: int, may_trim: bool) -> None:
    """
    Z5, C33: the offset advances with each piece; nothing is left behind, nothing outside touched.
    """
    export = filled()
    finished(run(export, offset, length, may_trim=may_trim))
    expected = bytearray(b"\xaa" * SIZE)
    expected[offset : offset + length] = bytes(length)
    assert export.read(0, SIZE) == expected


def test_the_reactor_has_a_turn_after_each_piece() -> None:
    """
    Z5: at most 1 MiB is written without a pause.
    """
    pauses: list[Deferred[None]] = []

    def pause() -> Deferred[None]:
        pauses.append(Deferred())
        return pauses[-1]

    export = filled()
    result = run(export, 0, SIZE, pause=pause)
    for piece in range(8):
        writes = [call for call in export.calls if call[0] == "write"]
        assert [len(call[2]) for call in writes] == [MIB] * (piece + 1)
        pauses[piece].callback(None)
    finished(result)


def test_what_is_zero_already_is_left_alone() -> None:
    """
    Z10: holes are not filled when they may stay.
    """
    export = RecordingExport(MemoryExport(SIZE))
    export.write(MIB, b"x", False)
    finished(run(export, 0, SIZE))
    assert [call[:2] for call in export.calls if call[0] == "write"] == [("write", MIB)] * 2


def test_provisioning_writes_everything() -> None:
    """
    C33, Z11: with NO_HOLE, holes are written too, so that later writes find their space.
    """
    export = MemoryExport(SIZE)
    finished(run(export, 0, SIZE, may_trim=False))
    assert not any(extent.hole for extent in export.extents(0, SIZE, False))


@pytest.mark.parametrize(("fua", "flushes"), [(True, 1), (False, 0)])
def test_durability_is_asked_for_once(fua: bool, flushes: int) -> None:
    """
    D2, Z12: FUA is one flush at the end.
    """
    export = filled()
    finished(run(export, 0, SIZE, fua=fua))
    assert [call[0] for call in export.calls].count("flush") == flushes
    if fua:
        assert export.calls[-1] == ("flush",)


def test_flush_is_not_asked_of_an_export_without_it() -> None:
    """
    2.2: without the ability every write is durable when answered, and flush is never called.
    """
    export = filled()
    can = dataclasses.replace(export.info.abilities, flush=False)
    export.info = dataclasses.replace(export.info, abilities=can)
    finished(run(export, 0, SIZE, fua=True))
    assert ("flush",) not in export.calls


def test_nobody_waiting_ends_the_work() -> None:
    """
    D7, D8: the rest is left when the client has gone.
    """
    export = filled()
    finished(
        run(
            export,
            0,
            SIZE,
            abandoned=lambda: sum(call[0] == "write" for call in export.calls) >= 2,
        )
    )
    assert sum(call[0] == "write" for call in export.calls) == 2


def test_failures_are_the_exports() -> None:
    """
    C9: what storage raises is what the caller gets.
    """

    class Failing(MemoryExport):
        def write(self, offset: int, data: Any, fua: bool) -> None:
            raise Unavailable("bad")

    result = run(Failing(SIZE), 0, SIZE, may_trim=False)
    failed: list[Any] = []
    result.addErrback(failed.append)
    assert failed[0].check(Unavailable)
