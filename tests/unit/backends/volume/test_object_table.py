"""Promises of `backends.volume.object_table`: nothing goes too early, and little too late."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backends.volume.directory import SliceRef
from backends.volume.object_table import ObjectTable
from backends.volume.table_page import FREE, NOBODY, TABLE_PAGE, Entry, ObjectKind


@dataclass(frozen=True)
class Snapshot:
    """What a superblock says of one."""

    id: int
    version: int


def entry(birth: int = 1, live: int = 0, carries: bool = False, volume: int = 0) -> Entry:
    return Entry(ObjectKind.DATA, volume, 2, birth, 2048, live, 5000, birth, carries)


class Model:
    """A disk that is a list of objects, of which snapshots have copies."""

    def __init__(self) -> None:
        self.table = ObjectTable()
        self.version = 0
        self.head: list[int] = [0] * 5
        self.snapshots: list[tuple[Snapshot, list[int]]] = []
        self.ids = 0
        self.all: set[int] = set()

    @property
    def newest(self) -> Snapshot | None:
        return self.snapshots[-1][0] if self.snapshots else None

    def write(self, start: int, end: int) -> None:
        self.version += 1
        index = self.table.add(entry(self.version))
        self.all.add(index)
        for place in range(min(start, end), max(start, end) + 1):
            self.table.live_add(index, 1)
            if self.head[place]:
                self.table.release(self.head[place], 1, self.newest)
            self.head[place] = index

    def snapshot(self) -> None:
        self.ids += 1
        self.snapshots.append((Snapshot(self.ids, self.version), list(self.head)))

    def delete(self, which: int) -> None:
        if self.snapshots:
            which %= len(self.snapshots)
            snapshot, _head = self.snapshots.pop(which)
            older = self.snapshots[which - 1][0] if which else None
            self.table.delete_snapshot(snapshot.id, older)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("snapshot"), st.just(0), st.just(0)),
        st.tuples(st.just("delete"), st.integers(0, 9), st.just(0)),
    ),
    max_size=40,
)


def summed(table: ObjectTable) -> tuple[int, int]:
    """What `ObjectTable.shares` must be."""
    entries = [entry for _, entry in table.items()]
    return (
        sum(entry.live for entry in entries),
        sum(entry.sectors - entry.live for entry in entries if not entry.volume),
    )


class Accounts(RuleBasedStateMachine):
    """Everything that can be done to a table, in any order: its sums are those of its entries."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ObjectTable()
        self.then = self.table.copy()

    def some(self, data: st.DataObject) -> int | None:
        indexes = [index for index, _ in self.table.items()]
        return data.draw(st.sampled_from(indexes)) if indexes else None

    @rule(live=st.integers(0, 2048), volume=st.integers(0, 1), far=st.booleans())
    def add(self, live: int, volume: int, far: bool) -> None:
        if far:
            self.table.next_index += TABLE_PAGE
        self.table.add(entry(live=live, volume=volume))

    @rule(data=st.data(), amount=st.integers(1, 2048))
    def live_add(self, data: st.DataObject, amount: int) -> None:
        index = self.some(data)
        if index is not None:
            self.table.live_add(index, amount)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = self.some(data)
        if index is not None:
            live = self.table[index].live
            self.table.release(index, data.draw(st.integers(0, live)), None)

    @rule(data=st.data(), what=st.sampled_from(["drop", "free", "take_back"]))
    def change(self, data: st.DataObject, what: str) -> None:
        index = self.some(data)
        if index is not None:
            getattr(self.table, what)(index)

    @rule()
    def remember(self) -> None:
        self.then = self.table.copy()
        assert self.then.shares() == self.table.shares()

    @rule()
    def go_back(self) -> None:
        """As to a snapshot: it held what the head did not refer to."""
        for index, old in self.then.items():
            if not old.volume and index not in self.table:
                return  # deleted since: no snapshot needed it
        self.table.go_back(self.then, Snapshot(1, 99))

    @rule()
    def inherit(self) -> None:
        self.table.inherit()
        self.then = self.table.copy()

    @rule()
    def load(self) -> None:
        """As it is when it was stored and read again."""
        refs = {number: SliceRef(1, number, 10) for number in self.table.pages}
        loaded = ObjectTable(self.table.next_index, refs)
        for need in loaded.needs():
            loaded.supply(need, self.table.pages[need.number].encoded())
        self.table = loaded

    @invariant()
    def sums_are_those_of_the_entries(self) -> None:
        assert self.table.shares() == summed(self.table)


Accounts.TestCase.settings = settings(deadline=None, derandomize=True)
test_what_is_live_and_dead_adds_up = Accounts.TestCase


@settings(deadline=None, derandomize=True)
@given(STEPS)
def test_an_object_is_free_exactly_when_nobody_refers_to_it(
    steps: list[tuple[str, int, int]],
) -> None:
    """
    Snapshots come and go in any order. With each object born at a version of
    its own the rule is exact: neither too early nor too late.
    """
    model = Model()
    for what, first, second in steps:
        if what == "write":
            model.write(first, second)
        elif what == "snapshot":
            model.snapshot()
        else:
            model.delete(first)
        needed = set(model.head).union(*(head for _snapshot, head in model.snapshots)) - {0}
        assert set(model.table.freed()) == model.all - needed
        for index in needed - set(model.head):
            held_by = model.table[index].held_by
            (holder,) = [head for snapshot, head in model.snapshots if snapshot.id == held_by]
            assert index in holder


def test_an_object_of_a_snapshots_own_version_is_kept_without_need() -> None:
    """The rule compares versions: what was born behind a snapshot, at its version, stays."""
    table = ObjectTable()
    index = table.add(entry(birth=7, live=1))
    table.release(index, 1, Snapshot(3, 7))
    assert table[index].held_by == 3
    table.delete_snapshot(3, None)
    assert table.freed() == [index]


def test_an_object_lives_until_what_it_carries_is_told_elsewhere() -> None:
    """Holes hide older data though nothing refers to them."""
    table = ObjectTable()
    index = table.add(entry(live=2, carries=True))
    table.release(index, 2, None)
    assert (table[index].held_by, table.freed()) == (NOBODY, [])
    table.carried(index, None)
    assert (table[index].held_by, table.freed()) == (FREE, [index])
    table.drop(index)
    assert table.freed() == []


def test_objects_of_ancestors_are_dropped_and_not_freed() -> None:
    """They are not ours to delete, whoever had a snapshot."""
    table = ObjectTable()
    index = table.add(entry(live=1, volume=1, carries=True))
    table.release(index, 1, Snapshot(1, 100))
    assert index not in table
    assert table.freed() == []


def test_a_clone_inherits_what_is_live() -> None:
    """All names move by one volume; holds and births of the parent mean nothing."""
    table = ObjectTable()
    live = table.add(entry(birth=9, live=3, carries=True))
    far = table.add(entry(birth=9, live=3, volume=2))
    held = table.add(entry(birth=4, live=1))
    table.release(held, 1, Snapshot(1, 5))
    table.inherit()
    assert [index for index, _entry in table.items()] == [live, far]
    assert table[live] == Entry(ObjectKind.DATA, 1, 2, 9, 2048, 3, 5000, 0)
    assert table[far].volume == 3
    assert table.add(entry()) == held + 1


def test_more_cannot_be_released_than_there_is() -> None:
    """Counts that do not add up are a bug that must not delete anything."""
    table = ObjectTable()
    index = table.add(entry(live=3))
    with pytest.raises(ValueError, match="got 4 to release, expected at most 3"):
        table.release(index, 4, None)
    with pytest.raises(KeyError, match="object 99 is not in the table"):
        table.release(99, 1, None)
    with pytest.raises(ValueError, match="in the table already"):
        table.add(entry(), index)


def test_a_reserved_index_is_not_in_the_table() -> None:
    """Objects under way have numbers; entries come when the map refers to them."""
    table = ObjectTable()
    edits = table.edits
    index = table.reserve()
    assert index not in table
    assert (table.edits, len(table)) == (edits, 0)
    assert table.add(entry()) == index + 1
    assert table.add(entry(), index) == index


def test_an_empty_page_leaves_its_slice_behind() -> None:
    """Old pages of a table go when their last entry goes."""
    table = ObjectTable(next_index=TABLE_PAGE)
    index = table.add(entry())
    ref = SliceRef(1, 2, 3)
    table.committed(1, table.pages[1], table.pages[1].changes, ref)
    table.drop(index)
    assert (table.pages, table.refs, table.superseded) == ({}, {}, {ref: None})


ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(ObjectKind),
    volume=st.integers(0, 3),
    epoch=st.integers(1, 9),
    number=st.integers(0, 99),
    sectors=st.integers(0, 2048),
    live=st.integers(0, 2048),
    stored=st.integers(0, 5000),
    birth=st.integers(0, 99),
    carries=st.booleans(),
    held_by=st.sampled_from([NOBODY, FREE, 7]),
)


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(1, TABLE_PAGE - 1), ENTRIES, min_size=1, max_size=20))
def test_a_table_is_what_was_encoded_again(entries: dict[int, Entry]) -> None:
    """All entries, and the free ones are known again."""
    table = ObjectTable(next_index=TABLE_PAGE)
    for index, value in entries.items():
        table.add(value, index)
    other = ObjectTable(TABLE_PAGE, {0: SliceRef(1, 0, 10)})
    (need,) = other.needs()
    other.supply(need, table.pages[0].encoded())
    assert other.needs() == []
    assert dict(other.items()) == entries
    assert other.freed() == table.freed()
    assert dict(table.copy().items()) == entries
