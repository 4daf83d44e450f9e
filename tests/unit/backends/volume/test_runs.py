"""Promises of `backends.volume.runs`: a plain list of sectors, told in few runs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.runs import Run, Runs, append_merged
from backends.volume.values import ABSENT, DATA, HOLE, ZERO, data, marked

LENGTH = 40

VALUES = st.sampled_from([ABSENT, HOLE, ZERO, marked(HOLE, 7), data(1, 0), data(1, 3), data(2, 20)])


@st.composite
def changes(draw: st.DrawFn) -> list[Run]:
    runs = []
    for _ in range(draw(st.integers(0, 25))):
        start = draw(st.integers(0, LENGTH - 1))
        runs.append((start, draw(st.integers(start + 1, LENGTH)), draw(VALUES)))
    return runs


def told(runs: list[Run]) -> list[int]:
    """The value of every sector."""
    return [
        value + number * (value >= DATA)
        for start, end, value in runs
        for number in range(end - start)
    ]


def shortest(sectors: list[int], first: int) -> list[Run]:
    """The fewest runs that tell these values."""
    runs: list[Run] = []
    for number, value in enumerate(sectors, first):
        if runs:
            start, end, head = runs[-1]
            if value == head + (end - start) * (head >= DATA):
                runs[-1] = (start, end + 1, head)
                continue
        runs.append((number, number + 1, value))
    return runs


@settings(deadline=None, derandomize=True)
@given(changes(), st.integers(0, LENGTH - 1), st.data())
def test_runs_are_a_list_of_sectors(sets: list[Run], start: int, more: st.DataObject) -> None:
    """After any changes, any range is told by the fewest runs that are true."""
    runs = Runs(LENGTH, HOLE)
    sectors = [HOLE] * LENGTH
    for first, last, value in sets:
        runs.set(first, last, value)
        sectors[first:last] = told([(first, last, value)])
    end = more.draw(st.integers(start + 1, LENGTH))
    assert runs.runs(0, LENGTH) == shortest(sectors, 0)
    assert runs.runs(start, end) == shortest(sectors[start:end], start)
    assert runs.runs(start, end, 1000) == shortest(sectors[start:end], start + 1000)
    assert len(runs) == len(shortest(sectors, 0))
    assert runs.value(start) == sectors[start]
    assert runs.uniform() == (sectors[0] if len(set(sectors)) == 1 else None)


@settings(deadline=None, derandomize=True)
@given(changes())
def test_what_was_encoded_decodes_to_the_same(sets: list[Run]) -> None:
    """The two columns hold all there is to know."""
    runs = Runs(LENGTH, ABSENT)
    for run in sets:
        runs.set(*run)
    other = Runs(LENGTH, ZERO)
    other.decode(runs.encoded())
    assert other.runs(0, LENGTH) == runs.runs(0, LENGTH)


@pytest.mark.parametrize("length", [1 << 16, 1 << 20, 1 << 40])
def test_the_last_sector_of_any_length_has_a_place(length: int) -> None:
    """Columns are as wide as the length needs."""
    runs = Runs(length, HOLE)
    runs.set(length - 1, length, data(1, 0))
    assert runs.runs(length - 2, length) == [
        (length - 2, length - 1, HOLE),
        (length - 1, length, data(1, 0)),
    ]


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        bytes(9),
        b"\1\0" + bytes(8),
        b"\0\0\2\0\2\0" + bytes(24),
        b"\0\0\x28\0" + bytes(16),
    ],
)
def test_bytes_that_are_no_runs_are_refused(encoded: bytes) -> None:
    """Runs start at 0, ascend, and stay inside the length."""
    with pytest.raises(ValueError, match="runs: got"):
        Runs(LENGTH, HOLE).decode(encoded)


def test_runs_that_meet_become_one() -> None:
    """Lists are joined as one map would tell them."""
    runs = [(0, 4, data(1, 0))]
    append_merged(runs, [(4, 8, data(1, 4)), (8, 9, HOLE)])
    append_merged(runs, [(9, 12, HOLE)])
    append_merged(runs, [])
    assert runs == [(0, 8, data(1, 0)), (8, 12, HOLE)]
