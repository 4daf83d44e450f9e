"""The zero map against a naive model of one state per byte."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.zero_map import DATA, HOLE, ZERO, ZeroMap

SIZE = 64
states = st.sampled_from([DATA, ZERO, HOLE])
ranges = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: sorted(pair))
changes = st.lists(st.tuples(ranges, states), max_size=30)


def model_runs(model, start, end):
    """The runs of a model, one state per byte, between two offsets."""
    runs = []
    for state, group in groupby(range(start, end), key=lambda index: model[index]):
        indices = list(group)
        runs.append((indices[0], indices[-1] + 1, state))
    return runs


@given(states, changes, ranges)
def test_answers_equal_those_of_one_state_per_byte(first, changes, asked):
    """
    Every question has the answer that a list with one state per byte gives.
    """
    zero_map = ZeroMap(SIZE, first)
    model = bytearray([first]) * SIZE
    for (start, end), state in changes:
        zero_map.set(start, end, state)
        model[start:end] = bytes([state]) * (end - start)
        assert list(zero_map.runs(0, SIZE)) == model_runs(model, 0, SIZE)
        assert len(zero_map) == len(model_runs(model, 0, SIZE))
    start, end = asked
    if start < end:
        part = model[start:end]
        runs = model_runs(model, start, end)
        assert list(zero_map.runs(start, end)) == runs
        for limit in range(1, len(runs) + 2):
            bounds, in_bounds = zero_map.bounds(start, end, limit)
            assert list(zip(bounds, bounds[1:], in_bounds, strict=False)) == runs[:limit]
            assert len(bounds) == len(in_bounds) + 1
        assert zero_map.is_data(start, end) == (set(part) == {DATA})
        assert zero_map.is_hole(start, end) == (set(part) == {HOLE})
        assert zero_map.reads_zero(start, end) == (DATA not in part)
        assert zero_map.has_hole(start, end) == (HOLE in part)


@given(states, changes, ranges)
def test_occupying_and_releasing_change_what_they_say(first, changes, changed):
    """
    `release` gives up space alone, `occupy` makes all data and says what was there.
    """
    zero_map = ZeroMap(SIZE, first)
    for (start, end), state in changes:
        zero_map.set(start, end, state)
    start, end = changed
    before = list(zero_map.runs(0, SIZE))
    zero_map.release(start, end)
    assert ZERO not in [state for _, _, state in zero_map.runs(start, end)]
    occupied = zero_map.occupy(start, end)
    assert start == end or zero_map.is_data(start, end)
    for run in occupied or ():
        zero_map.set(*run)
    after = list(zero_map.runs(0, SIZE))
    assert zero_state(after, start, end) == zero_state(before, start, end)


def zero_state(runs, start, end):
    """One state per byte, with provisioned zeroes between two offsets as holes."""
    model = [state for run_start, run_end, state in runs for _ in range(run_start, run_end)]
    model[start:end] = [HOLE if state == ZERO else state for state in model[start:end]]
    return model


@given(states, changes, st.integers(3, 6))
def test_a_full_map_never_claims_zeroes_that_are_not_there(first, changes, max_runs):
    """
    Beyond its number of runs a map forgets zeroes; it never invents them, nor provisioned ones.
    """
    zero_map = ZeroMap(SIZE, first, max_runs)
    model = bytearray([first]) * SIZE
    for (start, end), state in changes:
        zero_map.set(start, end, state)
        model[start:end] = bytes([state]) * (end - start)
        assert len(zero_map) <= max_runs
        runs = list(zero_map.runs(0, SIZE))
        assert runs[0][0] == 0
        assert runs[-1][1] == SIZE
        for run_start, run_end, run_state in runs:
            if run_state != DATA:
                assert set(model[run_start:run_end]) == {run_state}


def test_a_whole_disk_is_one_run():
    """
    A fresh map of any size is one run, and one change makes it one run again.
    """
    zero_map = ZeroMap(2**62, HOLE)
    assert zero_map.is_hole(0, 2**62)
    for start in range(0, 2**20, 8192):
        zero_map.set(start, start + 4096, DATA)
    zero_map.set(0, 2**62, ZERO)
    assert list(zero_map.runs(0, 2**62)) == [(0, 2**62, ZERO)]


@pytest.mark.parametrize("state", [DATA, ZERO, HOLE])
def test_an_empty_disk_has_no_runs(state):
    """
    A map of size 0 exists and has nothing to say.
    """
    zero_map = ZeroMap(0, state)
    zero_map.set(0, 0, state)
    assert list(zero_map.runs(0, 0)) == []
    assert list(zero_map.bounds(0, 0, 1)[1]) == []
