"""Metadata contexts: which a query selects, and status words of extents."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.info import Extent
from gateway.nbd.contexts import (
    ALLOCATION_DEPTH,
    BASE_ALLOCATION,
    CONTEXTS,
    Context,
    matching,
    status_words,
)

DATA, ZERO, HOLE = (False, False), (False, True), (True, True)


def extents(*runs: tuple[int, tuple[bool, bool]]) -> list[Extent]:
    return [Extent(length, *state) for length, state in runs]


@pytest.mark.parametrize(
    ("queries", "in_list", "in_set"),
    [
        (["base:allocation"], [BASE_ALLOCATION], [BASE_ALLOCATION]),
        (["base:allocation"] * 3, [BASE_ALLOCATION], [BASE_ALLOCATION]),
        (["qemu:allocation-depth"], [ALLOCATION_DEPTH], [ALLOCATION_DEPTH]),
        (["qemu:allocation-depth", "base:allocation"], [*CONTEXTS], [*CONTEXTS]),
        (["base:"], [BASE_ALLOCATION], []),
        (["qemu:"], [ALLOCATION_DEPTH], []),
        (["qemu:dirty-bitmap:"], [], []),
        (["qemu:dirty-bitmap:a:b"], [], []),
        (["base"], [], []),
        ([""], [], []),
        ([":"], [], []),
        (["base:unknown", "x-ours:thing", "no colon"], [], []),
        (["base:allocation:more"], [], []),
        (["BASE:ALLOCATION"], [], []),
    ],
)
def test_queries_select(queries: list[str], in_list: list[Context], in_set: list[Context]) -> None:
    """
    M5, M6, M7, M25: exact names in both, ``namespace:`` in LIST only, the rest ignored.
    """
    assert matching(queries, CONTEXTS, wildcards=True) == in_list
    assert matching(queries, CONTEXTS, wildcards=False) == in_set


def test_ids_are_unique_and_not_zero() -> None:
    """
    M7: ids are opaque; none is 0, so that a client which assumes 0 fails early.
    """
    ids = [context.id for context in CONTEXTS]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids


@pytest.mark.parametrize(
    ("state", "allocation", "depth"),
    [(DATA, 0, 1), (ZERO, 2, 1), (HOLE, 3, 0), ((True, False), 0, 0)],
)
def test_words_of_states(state: tuple[bool, bool], allocation: int, depth: int) -> None:
    """
    M17, M18, M23: never HOLE without ZERO, whatever storage says; depth 0 is unallocated.
    """
    extent = Extent(1, *state)
    assert BASE_ALLOCATION.word(extent) == allocation
    assert ALLOCATION_DEPTH.word(extent) == depth


@pytest.mark.parametrize(
    ("runs", "length", "longest", "cap", "expected"),
    [
        ([(10, DATA)], 10, 99, 9, [(10, 0)]),
        ([(10, DATA)], 5, 99, 9, [(10, 0)]),
        ([(4, DATA), (4, DATA), (4, HOLE)], 12, 99, 9, [(8, 0), (4, 3)]),
        ([(4, DATA), (4, HOLE), (4, DATA)], 8, 99, 9, [(4, 0), (4, 3)]),
        ([(4, DATA), (4, HOLE), (4, HOLE)], 8, 99, 9, [(4, 0), (8, 3)]),
        ([(4, DATA), (4, HOLE), (4, DATA)], 12, 99, 2, [(4, 0), (4, 3)]),
        ([(4, DATA), (4, HOLE), (4, HOLE), (4, DATA)], 16, 99, 2, [(4, 0), (8, 3)]),
        ([(10, DATA)], 10, 8, 9, [(8, 0)]),
        ([(6, DATA), (6, DATA), (4, HOLE)], 16, 8, 9, [(8, 0)]),
        ([(4, HOLE), (10, DATA), (4, HOLE)], 18, 8, 9, [(4, 3), (8, 0)]),
    ],
)
def test_descriptors(
    runs: list[tuple[int, tuple[bool, bool]]],
    length: int,
    longest: int,
    cap: int,
    expected: list[tuple[int, int]],
) -> None:
    """
    M11, M13, M14, M15: merged, capped, cut at the longest run, and only the last overshoots.
    """
    assert status_words(extents(*runs), BASE_ALLOCATION, length, longest, cap) == expected


def test_32_bit_descriptors_are_cut_aligned() -> None:
    """
    M15, B13: a run of 2^40 is cut to the longest that 32 bits hold, a multiple of any block.
    """
    words = status_words(extents((1 << 40, HOLE)), BASE_ALLOCATION, 2**32 - 1, 2**32 - 65536, 9)
    assert words == [(2**32 - 65536, 3)]


_runs = st.lists(st.tuples(st.integers(1, 50), st.sampled_from([DATA, ZERO, HOLE])), min_size=1)


@given(_runs, st.integers(1, 300), st.integers(1, 80), st.integers(1, 9), st.sampled_from(CONTEXTS))
@settings(max_examples=400, derandomize=True)
def test_descriptors_say_what_extents_say(
    runs: list[tuple[int, tuple[bool, bool]]], length: int, longest: int, cap: int, context: Context
) -> None:
    """
    M11, M12, M14: a true prefix of the extents, in at most ``cap`` merged descriptors.
    """
    words = status_words(extents(*runs), context, length, longest, cap)
    byte_words = [context.word(Extent(1, *state)) for run, state in runs for _ in range(run)]
    said = [word for run, word in words for _ in range(run)]
    assert said == byte_words[: len(said)]
    assert 1 <= len(words) <= cap
    assert all(0 < run <= longest for run, _ in words)
    assert sum(run for run, _ in words[:-1]) < length
    assert all(a[1] != b[1] for a, b in zip(words, words[1:], strict=False))
