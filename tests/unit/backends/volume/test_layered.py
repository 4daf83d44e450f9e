"""Promises of `backends.volume.layered`: as `Runs`, whatever the size."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume import values
from backends.volume.layered import LayeredMap, PageSet
from backends.volume.runs import Run, Runs
from backends.volume.units import PAGE_SECTORS
from backends.volume.values import ABSENT, HOLE, ZERO, data, marked

PAGES = 6
SECTORS = PAGES * PAGE_SECTORS - 100

#: Sectors at and around the bounds of pages.
PLACES = st.builds(
    lambda page, inside: min(max(page * PAGE_SECTORS + inside, 0), SECTORS),
    st.integers(0, PAGES),
    st.integers(-3, 3),
)
VALUES = st.sampled_from(
    [ABSENT, HOLE, ZERO, marked(HOLE, 1), marked(ZERO, 2), data(1, 0), data(2, 5)]
)
CHANGES = st.lists(
    st.tuples(PLACES, PLACES, VALUES)
    .filter(lambda run: run[0] != run[1])
    .map(lambda run: (min(run[:2]), max(run[:2]), run[2])),
    max_size=30,
)


def filled(changes: list[Run]) -> tuple[LayeredMap, Runs]:
    layered, flat = LayeredMap(SECTORS, ABSENT), Runs(SECTORS, ABSENT)
    for run in changes:
        layered.set(*run)
        flat.set(*run)
    return layered, flat


@settings(deadline=None, derandomize=True)
@given(CHANGES, PLACES, PLACES, st.integers(1, 5))
def test_two_levels_tell_what_one_would(changes: list[Run], one: int, two: int, limit: int) -> None:
    """Pages show neither in whole answers, nor in ranges, nor where an answer is cut short."""
    layered, flat = filled(changes)
    assert layered.runs(0, SECTORS) == flat.runs(0, SECTORS)
    if one != two:
        start, end = sorted((one, two))
        assert layered.runs(start, end) == flat.runs(start, end)
        assert layered.runs(start, end, limit) == flat.runs(start, end)[:limit]


@settings(deadline=None, derandomize=True)
@given(CHANGES, PLACES, PLACES, st.integers(1, 2))
def test_clearing_takes_just_what_came_with_the_object(
    changes: list[Run], one: int, two: int, index: int
) -> None:
    """What newer objects painted over it stays."""
    layered, flat = filled(changes)
    if one == two:
        return
    start, end = sorted((one, two))
    layered.clear(start, end, index)
    for first, last, value in flat.runs(start, end):
        if values.index(value) == index:
            flat.set(first, last, ABSENT)
    assert layered.runs(0, SECTORS) == flat.runs(0, SECTORS)


@settings(deadline=None, derandomize=True)
@given(CHANGES)
def test_memory_is_that_of_pages_which_are_not_uniform(changes: list[Run]) -> None:
    """A page that becomes uniform again costs nothing."""
    layered, _flat = filled(changes)
    layered.set(0, SECTORS, ABSENT)
    # The disk ends inside its last page.
    assert layered.memory <= LayeredMap(SECTORS, ABSENT).memory + 1000
    for page in range(PAGES):
        assert layered.uniform_run(page) == (page, PAGES, ABSENT)


def test_ten_tebibytes_are_set_at_once() -> None:
    """A range without pages takes one run, and one with pages forgets them."""
    sectors = 10 << 31
    layered = LayeredMap(sectors, ABSENT)
    for sector in range(0, sectors, sectors // 100):
        layered.set(sector, sector + 8, data(1, 0))
    layered.set(1, sectors, marked(HOLE, 9))
    assert layered.runs(0, sectors) == [(0, 1, data(1, 0)), (1, sectors, marked(HOLE, 9))]
    assert layered.uniform_run(0) is None
    assert layered.uniform_run(1) == (1, sectors // PAGE_SECTORS, marked(HOLE, 9))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5000))), st.integers(0, 5000))
def test_pages_are_found_in_order(steps: list[tuple[bool, int]], start: int) -> None:
    """A set of pages is a set of numbers."""
    pages, model = PageSet(), set[int]()
    for add, page in steps:
        if add:
            pages.add(page)
            model.add(page)
        else:
            pages.discard(page)
            model.discard(page)
    assert list(pages.within(start, 4000)) == sorted(p for p in model if start <= p < 4000)
    for page in pages.within(0, 5001):
        pages.discard(page)
    assert pages.first(0, 5001) == 5001
