"""Promises of `backends.volume.extent_map`; the model of everything is in `unlogged_volume`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.directory import Directory, Leaf, Need, SliceRef, pack_refs
from backends.volume.extent_map import ExtentMap, Page, decoded_page, encoded_changes
from backends.volume.runs import Run
from backends.volume.slices import SliceKind
from backends.volume.units import LEAF_PAGES, PAGE_SECTORS
from backends.volume.values import HOLE, ZERO, data, marked

SECTORS = 2 * LEAF_PAGES * PAGE_SECTORS
LEAF_REF, IMAGE, CHANGES = SliceRef(1, 128, 90), SliceRef(1, 218, 20), SliceRef(2, 128, 12)
PAGE = Need(SliceKind.PAGE_IMAGE, 3, (IMAGE, CHANGES))
START = 3 * PAGE_SECTORS


def plains() -> list[bytes]:
    page = Page(HOLE)
    page.set(0, 100, data(5, 0))
    return [page.encoded(), encoded_changes([(10, 20, data(6, 0))])]


def stored() -> ExtentMap:
    """A map with one page that is stored as an image and a slice of changes."""
    extent_map = ExtentMap(SECTORS, Directory({0: LEAF_REF}))
    (need,) = extent_map.needs(START, START + 8)
    assert need == Need(SliceKind.LEAF, 0, (LEAF_REF,))
    extent_map.supply(need, [Leaf(HOLE).encoded({3: pack_refs(PAGE.slices)})])
    return extent_map


def test_needs_are_named_until_all_is_there() -> None:
    """First the leaf, then its page, with every slice and what kind that is."""
    extent_map = stored()
    assert extent_map.needs(START, START + 8) == [PAGE]
    assert PAGE.kinds == [SliceKind.PAGE_IMAGE, SliceKind.PAGE_CHANGES]
    extent_map.supply(PAGE, plains())
    assert extent_map.needs(START, START + 8) == []
    assert extent_map.needs(0, SECTORS) == []
    assert extent_map.runs(START, START + 200) == [
        (START, START + 10, data(5, 0)),
        (START + 10, START + 20, data(6, 0)),
        (START + 20, START + 100, data(5, 20)),
        (START + 100, START + 200, HOLE),
    ]


def test_what_is_covered_entirely_is_not_needed() -> None:
    """A write of whole pages or leaves waits for no get."""
    extent_map = stored()
    assert extent_map.needs(START, START + PAGE_SECTORS, whole=True) == []
    assert extent_map.needs(START - 1, START + PAGE_SECTORS + 1, whole=True) == []
    assert extent_map.needs(START + 1, START + PAGE_SECTORS, whole=True) == [PAGE]
    assert extent_map.needs(0, START + 1, whole=True) == [PAGE]
    fresh = ExtentMap(SECTORS, Directory({0: LEAF_REF, 1: IMAGE}))
    assert fresh.needs(0, SECTORS // 2 + 1, whole=True) == [Need(SliceKind.LEAF, 1, (IMAGE,))]


def test_changes_of_what_is_not_loaded_are_refused() -> None:
    """A bug of the caller must not lose what the page held."""
    with pytest.raises(LookupError, match="page 3 of the map"):
        stored().set(START, START + 8, ZERO)


@pytest.mark.parametrize("value", [HOLE, ZERO, data(9, 0)])
def test_a_page_covered_unseen_is_accounted_later(value: int) -> None:
    """Its slices stay in use until then, and a late answer for it is ignored."""
    extent_map = stored()
    assert extent_map.set(START, START + PAGE_SECTORS, value) == []
    assert list(extent_map.forgotten) == [PAGE]
    extent_map.supply(PAGE, plains())
    assert extent_map.runs(START, START + PAGE_SECTORS) == [(START, START + PAGE_SECTORS, value)]
    assert extent_map.directory.superseded == {}
    assert sorted(extent_map.account(PAGE, plains())) == [(5, 90), (6, 10)]
    assert list(extent_map.directory.superseded) == [IMAGE, CHANGES]
    assert extent_map.account(PAGE, plains()) == []


def test_a_leaf_covered_unseen_is_accounted_page_by_page() -> None:
    """The leaf tells which pages were forgotten with it."""
    extent_map = ExtentMap(SECTORS, Directory({0: LEAF_REF}))
    extent_map.set(0, SECTORS, HOLE)
    (leaf,) = extent_map.forgotten
    plain = Leaf(HOLE).encoded({3: pack_refs(PAGE.slices)})
    assert extent_map.account(leaf, [plain]) == []
    assert list(extent_map.forgotten) == [PAGE]


def test_a_change_tells_what_it_replaced() -> None:
    """By object, in sectors; marks on holes are left out of the map."""
    extent_map = stored()
    extent_map.supply(PAGE, plains())
    assert extent_map.set(START + 5, START + 12, marked(HOLE, 8)) == [(5, 5), (6, 2)]
    assert extent_map.runs(START + 5, START + 12) == [(START + 5, START + 12, HOLE)]
    assert sorted(extent_map.set(0, SECTORS, ZERO)) == [(5, 85), (6, 8)]


def test_data_moves_only_where_it_still_is() -> None:
    """What was written meanwhile stays."""
    extent_map = stored()
    extent_map.supply(PAGE, plains())
    assert extent_map.replace_if(START, START + 100, data(5, 0), data(7, 50)) == 90
    assert extent_map.runs(START, START + 30) == [
        (START, START + 10, data(7, 50)),
        (START + 10, START + 20, data(6, 0)),
        (START + 20, START + 30, data(7, 70)),
    ]


def test_clean_pages_are_evicted_in_the_order_of_their_use() -> None:
    """And dirty ones never."""
    extent_map = ExtentMap(SECTORS, Directory({0: LEAF_REF}))
    needs = [Need(SliceKind.PAGE_IMAGE, page, (SliceRef(1, page, 1),)) for page in range(4)]
    chains = {need.number: pack_refs(need.slices) for need in needs}
    extent_map.supply(Need(SliceKind.LEAF, 0, (LEAF_REF,)), [Leaf(HOLE).encoded(chains)])
    for need in needs:
        extent_map.supply(need, plains()[:1])
    extent_map.runs(0, 1)
    extent_map.set(PAGE_SECTORS, PAGE_SECTORS + 1, ZERO)
    dirty = extent_map.dirty_memory
    extent_map.evict(extent_map.memory - 1)
    assert extent_map.needs(0, SECTORS) == [needs[2]]
    extent_map.evict(0)
    assert extent_map.needs(0, SECTORS) == [needs[0], needs[2], needs[3]]
    assert extent_map.dirty_memory == dirty
    extent_map.set(0, PAGE_SECTORS * 2, HOLE)
    assert extent_map.dirty_memory == 0


def test_a_page_that_grows_is_a_hole_at_its_end() -> None:
    """The end of a disk may lie inside a page."""
    extent_map = ExtentMap(100, Directory())
    extent_map.set(0, 100, ZERO)
    extent_map.sectors = 200
    assert extent_map.runs(0, 200) == [(0, 100, ZERO), (100, 200, HOLE)]


RANGES = st.tuples(st.integers(0, 300), st.integers(1, 40)).map(lambda p: (p[0], sum(p)))
SETS = st.lists(
    st.tuples(RANGES, st.sampled_from([HOLE, ZERO, data(1, 0), data(2, 0)])).map(
        lambda pair: (*pair[0], pair[1])
    ),
    max_size=200,
)


@settings(deadline=None, derandomize=True)
@given(SETS, SETS)
def test_changes_painted_over_the_image_are_the_page(before: list[Run], after: list[Run]) -> None:
    """A page knows what changed in it, or asks for an image when that is too much to know."""
    extent_map = ExtentMap(PAGE_SECTORS * 2, Directory())
    extent_map.set(1000, 1001, data(3, 0))
    for run in before:
        extent_map.set(*run)
    ((_number, page),) = extent_map.dirty_pages()
    image = page.encoded()
    extent_map.encoded(page)
    extent_map.committed(0, page)
    for run in after:
        extent_map.set(*run)
    if not page.wants_image:
        changes = encoded_changes(page.changed())
        assert decoded_page([image, changes]).encoded() == page.encoded()
    assert len(page.changes or ()) <= 2 * len(page) + 64


@pytest.mark.parametrize("changes", [bytes(11), bytes(12), b"\1\0\1\x80" + bytes(8)])
def test_bytes_that_are_no_changes_are_refused(changes: bytes) -> None:
    """Half a run, an empty one, and one beyond the page."""
    with pytest.raises(ValueError, match="changes: got"):
        Page(HOLE).paint(changes)
