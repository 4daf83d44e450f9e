"""Metadata contexts: which a query selects, and status words of extents."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.info import Change, Extent
from gateway.nbd.contexts import (
    ALLOCATION_DEPTH,
    BASE_ALLOCATION,
    CONTEXTS,
    Context,
    available,
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
    assert [*matching(queries, CONTEXTS, wildcards=True)] == in_list
    assert [*matching(queries, CONTEXTS, wildcards=False)] == in_set


OURS, QEMUS = "x-nbdgateway:changed:", "qemu:dirty-bitmap:"
BASE, DEPTH = BASE_ALLOCATION.name, ALLOCATION_DEPTH.name


@pytest.mark.parametrize(
    ("queries", "in_list", "in_set"),
    [
        (["x-nbdgateway:"], [OURS + "a", OURS + "a:b"], []),
        ([OURS], [OURS + "a", OURS + "a:b"], []),
        ([QEMUS], [QEMUS + "a", QEMUS + "a:b"], []),
        (["qemu:"], [DEPTH, QEMUS + "a", QEMUS + "a:b"], []),
        (["base:"], [BASE], []),
        ([QEMUS + "a:"], [], []),
        ([QEMUS + "a:b", OURS + "a"], [OURS + "a", QEMUS + "a:b"], [OURS + "a", QEMUS + "a:b"]),
        ([QEMUS + "a"] * 2 + [BASE], [BASE, QEMUS + "a"], [BASE, QEMUS + "a"]),
        ([QEMUS + "gone", "changed:a", "x-nbdgateway:a", "dirty-bitmap:a"], [], []),
    ],
)
def test_queries_select_references(
    queries: list[str], in_list: list[str], in_set: list[str]
) -> None:
    """
    M6, M7, M24, M25: two wildcards for each namespace; colons in a name are part of it.
    """
    contexts = available(["a", "a:b"])
    assert [context.name for context in matching(queries, contexts, wildcards=True)] == in_list
    assert [context.name for context in matching(queries, contexts, wildcards=False)] == in_set


@pytest.mark.parametrize("references", [[], ["a"], ["b", "a", "größe"]])
def test_ids_are_unique_and_not_zero(references: list[str]) -> None:
    """
    M7: ids are opaque; none is 0, so that a client which assumes 0 fails early.
    """
    contexts = available(references)
    assert contexts[:2] == CONTEXTS
    ids = [context.id for context in contexts]
    assert len(set(ids)) == len(ids) == 2 + 2 * len(references)
    assert 0 not in ids


@pytest.mark.parametrize(
    ("references", "named"),
    [
        (["b", "a", "b"], ["b", "a"]),
        (["", "a"], ["a"]),
        (["a\0b", "a"], ["a"]),
        (["\udcff", "a"], ["a"]),
        (["x" * 4075, "y" * 4076], ["x" * 4075]),
        (["ö" * 2037, "ö" * 2038], ["ö" * 2037]),
    ],
)
def test_references_that_the_protocol_cannot_name_are_left_out(
    references: list[str], named: list[str]
) -> None:
    """
    M24, MAX_STRING: what storage calls them must fit in a string, and be no wildcard.
    """
    names = [context.name for context in available(references)[2:]]
    assert names == [prefix + reference for reference in named for prefix in (OURS, QEMUS)]
    assert all(len(name.encode()) <= 4096 for name in names)


def test_words_of_changes() -> None:
    """
    M24: bit 0 is dirty, in both namespaces.
    """
    for context in available(["a"])[2:]:
        assert context.reference == "a"
        assert context.word(Change(1, dirty=True)) == 1
        assert context.word(Change(1, dirty=False)) == 0


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


_changes = st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1)


@given(_changes, st.integers(1, 300), st.integers(1, 80), st.integers(1, 9))
@settings(max_examples=200, derandomize=True)
def test_descriptors_say_what_changes_say(
    runs: list[tuple[int, bool]], length: int, longest: int, cap: int
) -> None:
    """
    M11, M26: byte for byte as storage told it, never clean where that was dirty.
    """
    context = available(["a"])[2]
    words = status_words((Change(*run) for run in runs), context, length, longest, cap)
    said = [word for run, word in words for _ in range(run)]
    assert said == [int(dirty) for run, dirty in runs for _ in range(run)][: len(said)]
    assert 1 <= len(words) <= cap
    assert all(0 < run <= longest for run, _ in words)
    assert sum(run for run, _ in words[:-1]) < length
