"""
Promises of `backends.volume.checkpoint` and all that it writes: map, directory, tables.

A volume without its log meets random changes, checkpoints that succeed and
fail, crashes, snapshots, eviction, compaction, and deletion of whatever is
said to be deletable.
"""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.volume.checkpoint import (
    MAX_CHAIN,
    State,
    at_once,
    load_root,
    write,
)
from backends.volume.directory import SliceRef, unpack_refs
from backends.volume.slices import SliceKind
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.units import PAGE_SECTORS
from backends.volume.values import HOLE
from tests.unit.backends.volume.unlogged_volume import LEAF_SECTORS, SECTORS, Kept, Volume, change

#: Sectors in and around a few pages of every leaf, and at the leaves' bounds.
PLACES = st.builds(
    lambda leaf, page, inside: min(
        max(leaf * LEAF_SECTORS + page * PAGE_SECTORS + inside, 0), SECTORS
    ),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([-9, -1, 0, 0, 1, 8, 50, 64]),
)
RANGES = st.tuples(PLACES, PLACES).filter(lambda pair: pair[0] != pair[1]).map(lambda p: sorted(p))
#: Data objects are small.
WRITES = st.tuples(PLACES, st.integers(1, 2 * PAGE_SECTORS)).map(
    lambda pair: (min(pair[0], SECTORS - 1), min(pair[0] + pair[1], SECTORS))
)
SMALL = st.tuples(PLACES, st.integers(1, 9)).map(
    lambda pair: (min(pair[0], SECTORS - 1), min(pair[0] + pair[1], SECTORS))
)
CHANGES = st.one_of(
    st.tuples(st.just("write"), SMALL),
    st.tuples(st.just("write"), WRITES),
    st.tuples(st.just("hole"), RANGES),
    st.tuples(st.just("zero"), RANGES),
    st.tuples(st.just("collect"), RANGES),
    st.tuples(st.just("account"), st.none()),
    st.tuples(st.just("evict"), st.none()),
)
STEPS = st.lists(
    st.one_of(
        CHANGES,
        CHANGES,
        CHANGES,
        st.tuples(st.just("checkpoint"), st.lists(CHANGES, max_size=3)),
        st.tuples(st.just("stepwise checkpoint"), st.lists(CHANGES, max_size=3)),
        st.tuples(st.just("failed checkpoint"), st.lists(CHANGES, max_size=3)),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("snapshot"), st.none()),
        st.tuples(st.just("delete snapshot"), st.integers(0, 5)),
        st.tuples(st.just("compact"), st.integers(1, 4)),
    ),
    max_size=25,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(STEPS)
def test_a_volume_keeps_what_it_was_told(steps: list[tuple[str, object]]) -> None:
    """
    After anything: the map says what was written, counts are what a recount
    finds, every snapshot opens as it was, and nothing needed was deleted.
    """
    volume = Volume()
    with mock.patch("backends.volume.checkpoint.COMMIT_PAGES", 1):
        for name, argument in steps:
            change(volume, name, argument)
    volume.check_live()
    volume.check_disk()
    volume.check_snapshots()
    volume.check_containers()
    volume.crash()
    volume.check_live()
    volume.check_disk()
    volume.check_snapshots()


def test_a_chain_becomes_an_image_before_it_is_too_long() -> None:
    """Few changes to a page with many runs are slices of their own, up to a point."""
    volume = Volume()
    for sector in range(0, 4000, 2):
        volume.write(sector, sector + 1)
    kinds = []
    for sector in range(20):
        volume.write(sector, sector + 1)
        volume.commit(*volume.encode())
        chain = unpack_refs(volume.extent_map.directory.chain(0))
        kinds.append(len(chain))
    assert kinds == [*range(1, MAX_CHAIN), *range(1, 6)]


def test_changes_that_outweigh_the_image_make_one() -> None:
    """A page of few runs is written as a whole."""
    volume = Volume()
    lengths = []
    for _ in range(4):
        volume.write(0, 8)
        volume.commit(*volume.encode())
        lengths.append(len(unpack_refs(volume.extent_map.directory.chain(0))))
    assert lengths == [1, 2, 1, 2]
    volume.crash()
    volume.check_disk()


def test_an_idle_disk_writes_a_root_alone() -> None:
    """What is stored is not stored again, and the last root's object is free."""
    volume = Volume()
    volume.write(0, 8)
    volume.commit(*volume.encode())
    before = set(volume.slices)
    volume.commit(*volume.encode())
    assert [volume.slices[new][0] for new in set(volume.slices) - before] == [SliceKind.ROOT]


def test_nothing_may_change_between_steps() -> None:
    """Counts and map must be of one moment; the pages stay dirty when they were not."""
    volume = Volume()
    volume.write(0, 8)
    place = SliceRef(volume.containers.add(Entry(ObjectKind.CHECKPOINT, 0, 1, 0, 0, 0, 0, 1)), 0, 1)
    steps = write(
        volume.extent_map,
        volume.table,
        volume.containers,
        volume.state,
        None,
        lambda _kind, _plain: place,
    )
    next(steps)
    volume.write(8, 16)
    with pytest.raises(RuntimeError, match="changed while it was written"):
        at_once(steps)
    assert [number for number, _page in volume.extent_map.dirty_pages()] == [0]
    assert volume.containers.freed() == [place.container]


def test_what_is_compacted_leaves_its_containers_free() -> None:
    """Whatever an old container holds goes into the next checkpoint."""
    volume = Volume()
    for sector in range(0, 4000, 2):
        volume.write(sector, sector + 1)
    volume.write(LEAF_SECTORS, LEAF_SECTORS + 8)
    volume.commit(*volume.encode(limit=1))
    old = {index for index, entry in volume.containers.items()}
    volume.crash()
    for _ in range(3):
        while needs := [n for step in volume.extent_map.rewrite(old, 100) for n in step]:
            for need in needs:
                volume.extent_map.supply(need, volume.fetch(need))
        volume.table.touch(old)
        volume.commit(*volume.encode())
    assert not old & {index for index, _entry in volume.containers.items()}
    volume.check_disk()


def _root() -> tuple[bytes, Kept]:
    volume = Volume()
    volume.write(0, 8)
    volume.commit(*volume.encode())
    volume.extent_map.evict(0)
    volume.zero(0, LEAF_SECTORS, HOLE)
    _written, kept = volume.encode()
    return kept.plain, kept


def test_a_root_tells_what_is_not_accounted_yet() -> None:
    """What was forgotten is still to be counted off after a restart."""
    plain, kept = _root()
    loaded = load_root(plain, *kept.name, kept.root.offset, kept.root.length)
    assert [need.kind for need in loaded.extent_map.forgotten] == [SliceKind.LEAF]
    assert loaded.extent_map.sectors == SECTORS
    assert loaded.state == State(2, 2, 0, kept.root)


@pytest.mark.parametrize("cut", range(1, 200, 13))
def test_a_root_that_ends_early_is_refused(cut: int) -> None:
    """Nothing is made up."""
    plain, kept = _root()
    with pytest.raises(ValueError, match=r"got"):
        load_root(plain[:-cut], *kept.name, 0, 100)


def test_a_root_of_another_layout_is_refused() -> None:
    """Later versions say so first."""
    plain, kept = _root()
    with pytest.raises(ValueError, match="root: got layout 2, expected 1"):
        load_root(b"\2" + plain[1:], *kept.name, 0, 100)
    with pytest.raises(ValueError, match="root: got"):
        load_root(plain + b"\0", *kept.name, 0, 100)
