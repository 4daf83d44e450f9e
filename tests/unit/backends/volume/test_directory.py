"""Promises of `backends.volume.directory`: where pages are stored, leaf by leaf."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.directory import Directory, Leaf, Need, SliceRef, pack_refs, unpack_refs
from backends.volume.slices import SliceKind
from backends.volume.units import LEAF_PAGES
from backends.volume.values import HOLE, ZERO, data

U32 = st.integers(0, (1 << 32) - 1)
REFS = st.builds(SliceRef, U32, U32, U32)
CHAINS = st.dictionaries(
    st.integers(0, LEAF_PAGES - 1), st.lists(REFS, min_size=1, max_size=16), max_size=20
)

A, B, C = SliceRef(1, 128, 50), SliceRef(2, 128, 60), SliceRef(2, 188, 70)


def stored_leaf(chains: dict[int, tuple[SliceRef, ...]], value: int = HOLE) -> bytes:
    return Leaf(value).encoded({page: pack_refs(chain) for page, chain in chains.items()})


@settings(deadline=None, derandomize=True)
@given(CHAINS, CHAINS, st.lists(st.tuples(st.integers(0, LEAF_PAGES - 1), st.booleans())))
def test_a_leaf_decodes_to_what_was_encoded(
    chains: dict[int, list[SliceRef]],
    pending: dict[int, list[SliceRef]],
    uniform: list[tuple[int, bool]],
) -> None:
    """Uniform pages as runs; chains, of which those that are pending take precedence."""
    leaf = Leaf(ZERO)
    for page, is_hole in uniform:
        leaf.values.set(page, LEAF_PAGES, HOLE if is_hole else ZERO)
    leaf.chains = {page: pack_refs(chain) for page, chain in chains.items()}
    other = Leaf.decoded(leaf.encoded({page: pack_refs(chain) for page, chain in pending.items()}))
    assert other.values.runs(0, LEAF_PAGES) == leaf.values.runs(0, LEAF_PAGES)
    found = {page: list(unpack_refs(chain)) for page, chain in other.chains.items()}
    assert found == {**chains, **pending}
    assert not other.dirty


def _broken(page: int, value: int) -> bytes:
    leaf = Leaf(value)
    leaf.chains = {page: pack_refs([A]), 0: pack_refs([B])}
    return leaf.encoded({})


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        bytes(4),
        stored_leaf({3: (A, B)})[:-1],
        stored_leaf({3: (A, B)}) + b"\0",
        _broken(LEAF_PAGES, HOLE),
        _broken(1, data(1, 0)),
    ],
)
def test_bytes_that_are_no_leaf_are_refused(plain: bytes) -> None:
    """Too short, too long, pages that do not exist, pages of data without a slice."""
    with pytest.raises(ValueError, match=r"(leaf|runs): got"):
        Leaf.decoded(plain)


def test_a_leaf_that_is_not_in_the_root_is_a_hole() -> None:
    """A fresh disk has no leaves, and trimming it makes none."""
    directory = Directory()
    assert directory.needed(7) is None
    assert directory.runs(10, 3 * LEAF_PAGES) == [(10, 3 * LEAF_PAGES, HOLE)]
    assert directory.set(10, 3 * LEAF_PAGES, HOLE) == []
    assert directory.loaded() == []


def test_a_leaf_is_asked_only_when_it_was_loaded() -> None:
    """The directory names what it needs; what is out of date is not installed."""
    directory = Directory({1: A})
    assert directory.needed(1) == Need(SliceKind.LEAF, 1, (A,))
    with pytest.raises(LookupError, match="leaf 1 of the directory"):
        directory.chain(LEAF_PAGES)
    directory.supply(1, B, stored_leaf({0: (B,)}))
    assert directory.needed(1) is not None
    directory.supply(1, A, stored_leaf({0: (B, C)}, ZERO))
    assert directory.needed(1) is None
    assert unpack_refs(directory.chain(LEAF_PAGES)) == (B, C)
    assert directory.value(LEAF_PAGES + 1) == ZERO


def test_covered_pages_leave_their_chains_behind() -> None:
    """Whoever makes pages uniform is told what they were stored as."""
    directory = Directory({0: A})
    directory.supply(0, A, stored_leaf({5: (B, C), 9: (C,)}))
    assert directory.set(0, 6, ZERO) == [Need(SliceKind.PAGE_IMAGE, 5, (B, C))]
    assert directory.runs(0, 10) == [(0, 6, ZERO), (6, 10, HOLE)]
    directory.drop(9)
    assert directory.superseded == {C: None}
    assert [leaf.dirty for _number, leaf in directory.loaded()] == [True]


def test_a_covered_leaf_is_forgotten_as_one_unless_it_was_loaded() -> None:
    """Its slice tells what its pages were."""
    directory = Directory({0: A, 1: B})
    directory.supply(1, B, stored_leaf({2: (C,)}))
    assert directory.set(0, 2 * LEAF_PAGES, HOLE) == [
        Need(SliceKind.LEAF, 0, (A,)),
        Need(SliceKind.PAGE_IMAGE, LEAF_PAGES + 2, (C,)),
    ]
    assert (directory.refs, directory.superseded) == ({}, {B: None})


def test_what_changes_nothing_makes_nothing_dirty() -> None:
    """A trim of what is a hole already costs no slice."""
    directory = Directory({0: A})
    directory.supply(0, A, stored_leaf({5: (B,)}))
    directory.set(6, 100, HOLE)
    assert not any(leaf.dirty for _number, leaf in directory.loaded())


def test_leaves_in_use_are_not_evicted() -> None:
    """Dirty ones stay, and those with pages in memory."""
    directory = Directory({0: A, 1: B, 2: C})
    for number, ref in list(directory.refs.items()):
        directory.supply(number, ref, stored_leaf({5: (ref,)}))
    directory.touch(0)
    directory.reside(LEAF_PAGES, 1)
    assert directory.memory > 0
    directory.evict(1 << 30)
    assert [number for number, _leaf in directory.loaded()] == [0, 1]
    directory.reside(LEAF_PAGES, -1)
    directory.evict(0)
    directory.evict(1)
    assert [number for number, _leaf in directory.loaded()] == [0]


def test_a_leaf_that_was_replaced_meanwhile_keeps_no_slice() -> None:
    """What a checkpoint wrote of it is superseded when it is committed."""
    directory = Directory()
    directory.set(0, 5, ZERO)
    ((number, leaf),) = directory.loaded()
    directory.set(0, LEAF_PAGES, HOLE)
    directory.committed(number, leaf, leaf.changes, A)
    assert (directory.refs, directory.superseded) == ({}, {A: None})
