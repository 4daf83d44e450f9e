"""
Tables of objects: what is in each that the head refers to, and who else needs it.

One class serves data objects, whose ``live`` counts sectors, and the objects
of checkpoints ("containers"), whose ``live`` counts stored bytes of slices.

The holding rule. References to an object are made when it is born and only
become fewer. So an object that the head refers to no more is needed by exactly
those snapshots that are not older than its birth; the newest of them holds it,
and when that is deleted it passes to the next older one, or is free. The rule
keeps an object longer than needed in two cases, and never too short:

* it was born at the very version of a snapshot, but after it was taken
  (objects of the collector and of checkpoints);
* its holes and zeroes were `carried`, or what it held was accounted for, only
  after a later snapshot was taken.

Objects of ancestors are dropped when the head does not need them: they are not ours
to delete, and snapshots have tables of their own.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Protocol

from backends.volume.directory import Need, SliceRef
from backends.volume.slices import SliceKind
from backends.volume.table_page import FREE, NOBODY, TABLE_PAGE, Entry, TablePage

_SHIFT = TABLE_PAGE.bit_length() - 1
_MASK = TABLE_PAGE - 1


class Version(Protocol):
    """
    A snapshot, as far as tables are concerned.

    Attributes:
        id: more than 0.
        version: the last slot of the log that is in it.
    """

    @property
    def id(self) -> int: ...

    @property
    def version(self) -> int: ...


class ObjectTable:
    """
    Index to entry. Indexes start at 1 and are never used again.

    Args:
        next_index: the first one that was never given out.
        refs: page number to slice, of pages that must be supplied before any other use.

    Attributes:
        refs: as in the checkpoint that was committed last, but for pages that emptied since.
        superseded: slices that nothing in memory refers to any more.
        edits: grows with every change but `reserve`.
    """

    __slots__ = ("_dead", "_free", "_live", "edits", "next_index", "pages", "refs", "superseded")

    def __init__(self, next_index: int = 1, refs: Mapping[int, SliceRef] | None = None) -> None:
        self.next_index = next_index
        self.refs = dict(refs or {})
        self.pages: dict[int, TablePage] = {}
        self.superseded: dict[SliceRef, None] = {}
        self.edits = 0
        self._free: set[int] = set()
        #: The two `shares`.
        self._live = 0
        self._dead = 0

    def needs(self) -> list[Need]:
        """Pages that were not supplied yet."""
        return [
            Need(SliceKind.TABLE, number, (ref,))
            for number, ref in sorted(self.refs.items())
            if number not in self.pages
        ]

    def supply(self, need: Need, plain: bytes) -> None:
        """
        Raises:
            ValueError: this is no page of a table.
        """
        self.install(need.number, TablePage.decoded(plain))

    def install(self, number: int, page: TablePage) -> None:
        """Take a page as it was stored, once."""
        self.pages[number] = page
        live, dead = page.shares()
        self._live += live
        self._dead += dead
        base = number << _SHIFT
        self._free.update(base + slot for slot, held in enumerate(page.held_by) if held == FREE)

    def __len__(self) -> int:
        return sum(page.count for page in self.pages.values())

    def shares(self) -> tuple[int, int]:
        """
        Kept as entries change: a table of a million takes a tenth of a second to sum up.

        Returns:
            Sectors that the head refers to, those of ancestors included, and sectors of the
            volume's own objects that it does not refer to. Not for containers.
        """
        return self._live, self._dead

    def __contains__(self, index: int) -> bool:
        page = self.pages.get(index >> _SHIFT)
        return page is not None and page.kind[index & _MASK] != 0

    def __getitem__(self, index: int) -> Entry:
        """
        A copy of an entry.

        Raises:
            KeyError: there is none.
        """
        return self._page(index)[index & _MASK]

    def items(self) -> Iterator[tuple[int, Entry]]:
        """Copies of all entries, in order; the table may change meanwhile."""
        for number in sorted(self.pages):
            page = self.pages.get(number)
            if page is not None:
                for slot in range(TABLE_PAGE):
                    if page.kind[slot]:
                        yield (number << _SHIFT) + slot, page[slot]

    def reserve(self) -> int:
        """An index for an object that is still to come; the table does not change by it."""
        index = self.next_index
        self.next_index += 1
        return index

    def add(self, entry: Entry, index: int | None = None) -> int:
        """
        Add an object when the head begins to refer to it.

        Args:
            index: one that was reserved.

        Returns:
            Its index.
        """
        if index is None:
            index = self.reserve()
        if index in self:
            raise ValueError(f"object {index} is in the table already, expected it to be new")
        page = self.pages.get(index >> _SHIFT)
        if page is None:
            page = self.pages[index >> _SHIFT] = TablePage()
        page[index & _MASK] = entry
        page.count += 1
        self._live += entry.live
        if not entry.volume:
            self._dead += entry.sectors - entry.live
        if entry.held_by == FREE:
            self._free.add(index)
        self._changed(page)
        return index

    def drop(self, index: int) -> None:
        """Forget an object: it was deleted, or never came to be."""
        page, slot = self._page(index), index & _MASK
        self._set_live(page, slot, 0)
        if not page.volume[slot]:
            self._dead -= page.sectors[slot]
        page.kind[slot] = 0
        page.held_by[slot] = NOBODY
        page.count -= 1
        self._free.discard(index)
        self._changed(page)
        if not page.count:
            del self.pages[index >> _SHIFT]
            ref = self.refs.pop(index >> _SHIFT, None)
            if ref is not None:
                self.superseded[ref] = None

    def live_add(self, index: int, amount: int) -> None:
        """Count more sectors (bytes) that the head refers to."""
        page, slot = self._page(index), index & _MASK
        self._set_live(page, slot, page.live[slot] + amount)
        self._changed(page)

    def stored_add(self, index: int, amount: int) -> None:
        """Count more stored bytes."""
        page = self._page(index)
        page.stored[index & _MASK] += amount
        self._changed(page)

    def release(self, index: int, amount: int, newest: Version | None) -> None:
        """
        Count off sectors (bytes) that the head referred to.

        Args:
            newest: the newest snapshot.

        Raises:
            ValueError: there were not so many.
        """
        page, slot = self._page(index), index & _MASK
        left = page.live[slot] - amount
        if left < 0:
            raise ValueError(
                f"object {index}: got {amount} to release, expected at most {page.live[slot]}"
            )
        self._set_live(page, slot, left)
        self._changed(page)
        if not left:
            self._settle(index, page, slot, newest)

    def carried(self, index: int, newest: Version | None) -> None:
        """Note that the holes and zeroes of an object are told elsewhere, or true no more."""
        page, slot = self._page(index), index & _MASK
        page.carries[slot] = 0
        self._changed(page)
        if not page.live[slot]:
            self._settle(index, page, slot, newest)

    def free(self, index: int) -> None:
        """Give up an object that no committed checkpoint and no snapshot refers to."""
        page, slot = self._page(index), index & _MASK
        self._set_live(page, slot, 0)
        self._hold(index, page, slot, None)

    def take_back(self, index: int) -> None:
        """Note that the head refers again to an object that was held, or free."""
        page = self._page(index)
        page.held_by[index & _MASK] = NOBODY
        self._free.discard(index)
        self._changed(page)

    def hold(self, index: int, snapshot: int) -> None:
        """Keep an object that the head does not refer to for a snapshot, by its id."""
        page = self._page(index)
        page.held_by[index & _MASK] = snapshot
        self._free.discard(index)
        self._changed(page)

    def freed(self) -> list[int]:
        """What may be deleted after the next checkpoint."""
        return sorted(self._free)

    def delete_snapshot(self, snapshot: int, older: Version | None) -> None:
        """
        Pass on what a snapshot holds.

        Args:
            snapshot: its id.
            older: the next older snapshot.
        """
        for number, page in list(self.pages.items()):
            slot = -1
            for _ in range(page.held_by.count(snapshot)):
                slot = page.held_by.index(snapshot, slot + 1)
                self._hold((number << _SHIFT) + slot, page, slot, older)

    def touch(self, containers: Container[int]) -> None:
        """Have the next checkpoint store anew the pages of this table in some containers."""
        for number, ref in self.refs.items():
            if ref.container in containers:
                self.pages[number].changes += 1

    def go_back(self, then: ObjectTable, newest: Version | None) -> None:
        """
        Have the head refer to just what it referred to when ``then`` was the table.

        Args:
            then: the table of a snapshot that still exists.
            newest: the newest snapshot.
        """
        for index, entry in list(self.items()):
            if entry.live and index not in then:
                self.release(index, entry.live, newest)
        for index, entry in then.items():
            if index not in self:
                if entry.live:  # an ancestor's, dropped since
                    self.add(entry, index)
                continue
            page, slot = self._page(index), index & _MASK
            if entry.live < page.live[slot]:
                self.release(index, page.live[slot] - entry.live, newest)
            elif entry.live > page.live[slot]:
                self._set_live(page, slot, entry.live)
                page.held_by[slot] = NOBODY
                self._free.discard(index)
                self._changed(page)

    def store_anew(self, refs: Mapping[int, SliceRef]) -> None:
        """
        Have every page written with the next checkpoint.

        Args:
            refs: slices that the new ones supersede; those known so far are not counted any more.
        """
        self.refs = dict(refs)
        self.superseded = {}
        for page in self.pages.values():
            self._changed(page)
        for number in [number for number in self.refs if number not in self.pages]:
            self.superseded[self.refs.pop(number)] = None

    def inherit(self) -> None:
        """Turn the table of a volume into that of a clone of it, before anything is added."""
        for index, entry in list(self.items()):
            self.drop(index)
            if entry.live:
                entry.volume += 1
                entry.birth = 0
                entry.carries = False
                self.add(entry, index)

    def committed(self, number: int, page: TablePage, changes: int, ref: SliceRef) -> None:
        """
        Note where a page is stored.

        Args:
            changes: how many of its changes are in the slice.
        """
        if self.pages.get(number) is page:
            page.stored_changes = changes
            self.refs[number] = ref
        else:
            self.superseded[ref] = None

    def copy(self) -> ObjectTable:
        """A table with the same entries, to change alone; nothing about slices."""
        other = ObjectTable(self.next_index)
        for number, page in self.pages.items():
            other.pages[number] = page.copy()
        other._free = set(self._free)
        other._live, other._dead = self._live, self._dead
        return other

    def _page(self, index: int) -> TablePage:
        page = self.pages.get(index >> _SHIFT)
        if page is None or not page.kind[index & _MASK]:
            raise KeyError(f"object {index} is not in the table")
        return page

    def _changed(self, page: TablePage) -> None:
        page.changes += 1
        self.edits += 1

    def _set_live(self, page: TablePage, slot: int, live: int) -> None:
        more = live - page.live[slot]
        page.live[slot] = live
        self._live += more
        if not page.volume[slot]:
            self._dead -= more

    def _settle(self, index: int, page: TablePage, slot: int, newest: Version | None) -> None:
        """Decide about an object without live sectors."""
        if page.held_by[slot] == NOBODY and (page.volume[slot] or not page.carries[slot]):
            self._hold(index, page, slot, newest)

    def _hold(self, index: int, page: TablePage, slot: int, holder: Version | None) -> None:
        if page.volume[slot]:
            self.drop(index)
            return
        if holder is not None and holder.version >= page.birth[slot]:
            page.held_by[slot] = holder.id
        else:
            page.held_by[slot] = FREE
            self._free.add(index)
        self._changed(page)
