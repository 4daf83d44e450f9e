"""
The map of a volume: where each sector of the disk lives, with pages that are loaded on demand.

Uniform pages are in the directory, all others in memory or stored as a chain
of slices. The map does no I/O: it says what it `needs`, and is supplied.

Every change tells how many sectors of which objects it replaced; for pages
that were covered without having been loaded this comes later, by `account`.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator, Sequence

from backends.volume import values
from backends.volume.directory import (
    LEAF_SHIFT,
    Directory,
    Leaf,
    Need,
    pack_refs,
    unpack_refs,
)
from backends.volume.layered import PAGE_OVERHEAD, PAGE_SHIFT, RUN_BYTES, Paged, PageSet
from backends.volume.runs import Run, Runs, from_little_endian, little_endian
from backends.volume.slices import SliceKind
from backends.volume.units import LEAF_PAGES, PAGE_SECTORS
from backends.volume.values import DATA, HOLE

_MASK = PAGE_SECTORS - 1

#: Bytes that one changed run takes in a slice of changes: start, end, value.
_CHANGE = 12
#: Changed ranges beside twice its runs that a page keeps apart before it wants a new image.
_SPARE_CHANGES = 64


class Page(Runs):
    """
    A page of the map in memory.

    Attributes:
        changes: ranges changed since it was last encoded, start and end in 16 bits
            each; None if there are none.
        encoded_changes: those that are in a checkpoint which is not committed yet.
        wants_image: its next slice is an image, whatever changed.
    """

    __slots__ = ("changes", "encoded_changes", "wants_image")

    def __init__(self, value: int) -> None:
        super().__init__(PAGE_SECTORS, value)
        self.changes: array[int] | None = None
        self.encoded_changes: array[int] | None = None
        self.wants_image = False

    def note(self, changes: array[int], start: int, end: int) -> None:
        """Remember that a range changed; ``changes`` are this page's own."""
        changes.append(start << 16 | end)
        if len(changes) > 2 * len(self) + _SPARE_CHANGES:
            changes = self.changes = _union(changes)
            if len(changes) > 2 * len(self):
                self.wants_image = True
                del changes[:]

    def changed(self) -> list[Run]:
        """What changed since it was last encoded, as it is now."""
        runs: list[Run] = []
        for change in _union(self.changes or array("I")):
            runs += self.runs(change >> 16, change & 0xFFFF)
        return runs

    def paint(self, encoded: bytes) -> None:
        """
        Apply a slice of changes.

        Raises:
            ValueError: this is none.
        """
        count, excess = divmod(len(encoded), _CHANGE)
        if excess:
            raise ValueError(f"changes: got {len(encoded)} bytes, expected a multiple of {_CHANGE}")
        starts = from_little_endian("H", encoded[: 2 * count])
        ends = from_little_endian("H", encoded[2 * count : 4 * count])
        painted = from_little_endian("Q", encoded[4 * count :])
        for start, end, value in zip(starts, ends, painted, strict=True):
            if not start < end <= PAGE_SECTORS:
                raise ValueError(f"changes: got a run from {start} to {end} of {PAGE_SECTORS}")
            self.set(start, end, value)


def encoded_changes(runs: Sequence[Run]) -> bytes:
    """The plain data of a slice of changes: all starts, all ends, all values."""
    starts, ends, painted = zip(*runs, strict=True) if runs else ((), (), ())
    return (
        little_endian(array("H", starts))
        + little_endian(array("H", ends))
        + little_endian(array("Q", painted))
    )


def decoded_page(plains: Sequence[bytes]) -> Page:
    """
    A page from the plain data of its chain.

    Raises:
        ValueError: this is no chain.
    """
    page = Page(HOLE)
    page.decode(plains[0])
    for plain in plains[1:]:
        page.paint(plain)
    return page


class ExtentMap(Paged[Page]):
    """
    The value of every sector of a disk: ``HOLE``, ``ZERO`` or ``DATA``.

    Args:
        sectors: the disk's size; may be raised later, what is new is ``HOLE``.
        directory: where its pages are stored.

    Attributes:
        forgotten: what was covered while it was not loaded, and is to be fetched for `account`.
        edits: grows with every change; the same before and after means that nothing changed.
    """

    __slots__ = (
        "_clean",
        "_dirty",
        "_dirty_numbers",
        "_dirty_runs",
        "_replaced",
        "_runs",
        "directory",
        "edits",
        "forgotten",
    )

    def __init__(self, sectors: int, directory: Directory) -> None:
        super().__init__(sectors, directory)
        self.directory = directory
        self.forgotten: dict[Need, None] = {}
        self.edits = 0
        #: Clean pages, the least recently used first.
        self._clean: dict[int, None] = {}
        self._dirty: dict[int, Page] = {}
        self._dirty_numbers = PageSet()
        self._runs = 0
        self._dirty_runs = 0
        self._replaced: dict[int, int] = {}

    @property
    def memory(self) -> int:
        """Bytes, estimated."""
        pages = self._runs * RUN_BYTES + len(self._pages) * PAGE_OVERHEAD
        return pages + self.directory.memory

    @property
    def extents(self) -> int:
        """Runs of the pages in memory, those of one value included."""
        return self._runs

    @property
    def dirty_memory(self) -> int:
        """Bytes of pages that cannot be forgotten, estimated."""
        return self._dirty_runs * RUN_BYTES + len(self._dirty) * PAGE_OVERHEAD

    # Loading

    def needs(self, start: int, end: int, whole: bool = False) -> list[Need]:
        """
        What must be supplied before `runs` is asked for a range, or with ``whole`` before `set`.

        Args:
            whole: all of the range will be replaced: pages inside it are not needed.

        Returns:
            Leaves, or else pages; ask again when they are supplied. Empty if
            all is there. What a need names may be superseded while it is
            fetched, and its object deleted: then ask again.
        """
        first = start >> PAGE_SHIFT
        last = (end - 1 >> PAGE_SHIFT) + 1
        if first + 1 == last and first in self._pages:
            return []
        # From `inner` up to `outer` pages are covered entirely.
        inner, outer = first, first
        if whole:
            inner = start + _MASK >> PAGE_SHIFT
            outer = max(end >> PAGE_SHIFT, inner)
        needs = []
        for leaf in range(first >> LEAF_SHIFT, (last - 1 >> LEAF_SHIFT) + 1):
            base = leaf << LEAF_SHIFT
            if inner <= base and base + LEAF_PAGES <= outer:
                continue
            if (need := self.directory.needed(leaf)) is not None:
                needs.append(need)
        if needs:
            return needs
        for begin, stop in ((first, inner), (outer, last)):
            for page, chain in self.directory.stored(begin, stop):
                if page not in self._pages:
                    needs.append(Need(SliceKind.PAGE_IMAGE, page, unpack_refs(chain)))
        return needs

    def supply(self, need: Need, plains: Sequence[bytes]) -> None:
        """
        Install what was needed; ignored if that was replaced meanwhile, or is there.

        Args:
            plains: plain data of the need's slices, in order.

        Raises:
            ValueError: the slices hold something else.
        """
        if need.kind == SliceKind.LEAF:
            self.directory.supply(need.number, need.slices[0], plains[0])
            return
        number = need.number
        if number in self._pages or self.directory.needed(number >> LEAF_SHIFT) is not None:
            return
        if self.directory.chain(number) == pack_refs(need.slices):
            page = decoded_page(plains)
            self._install(number, page)
            self._clean[number] = None

    def evict(self, limit: int) -> None:
        """Forget clean pages, the least recently used first, and then leaves, down to a memory."""
        excess = self.memory - limit
        while excess > 0 and self._clean:
            number = next(iter(self._clean))
            excess -= len(self._pages[number]) * RUN_BYTES + PAGE_OVERHEAD
            self._remove(number)
        if excess > 0:
            self.directory.evict(excess)

    # Use

    def runs(self, start: int, end: int, limit: int | None = None) -> list[Run]:
        """As `Paged.runs`; what it `needs` must be there."""
        first, last = start >> PAGE_SHIFT, (end - 1 >> PAGE_SHIFT) + 1
        clean = self._clean
        for number in (first,) if first + 1 == last else self._present.within(first, last):
            if number in clean:
                del clean[number]
                clean[number] = None
        return super().runs(start, end, limit)

    def set(self, start: int, end: int, value: int) -> list[tuple[int, int]]:
        """
        Give a range a value; what it `needs` with ``whole`` must be there.

        Takes some ten microseconds for each page in memory that it covers: a
        long range is better set in parts.

        Args:
            start, end: sectors, 0 <= start < end <= sectors.
            value: of ``start``; marks on ``HOLE`` and ``ZERO`` are left out.

        Returns:
            Index of an object and how many of its sectors were replaced, for
            every object in what was loaded.
        """
        if value < DATA:
            value &= DATA
        self._replaced = {}
        self.edits += 1
        number = start >> PAGE_SHIFT
        base = number << PAGE_SHIFT
        if end - base <= PAGE_SECTORS:
            self._set_inside(number, start - base, end - base, value)
        else:
            self._set_across(start, end, value)
        return list(self._replaced.items())

    def replace_if(self, start: int, end: int, old: int, new: int) -> int:
        """
        Put data elsewhere, where the map still says what it said.

        Args:
            start, end: sectors; what they need must be there.
            old: the ``DATA`` that ``start`` had.
            new: the ``DATA`` that it is to have.

        Returns:
            Sectors that were replaced.
        """
        replaced = 0
        for first, last, value in self.runs(start, end):
            if value == old + first - start:
                self.set(first, last, new + first - start)
                replaced += last - first
        return replaced

    def account(self, need: Need, plains: Sequence[bytes]) -> list[tuple[int, int]]:
        """
        Say what something `forgotten` held; a leaf's pages are forgotten in its place.

        Returns:
            Index of an object and how many of its sectors were replaced.

        Raises:
            ValueError: the slices hold something else.
        """
        if need not in self.forgotten:
            return []
        held: dict[int, int] = {}
        if need.kind == SliceKind.LEAF:
            base = need.number << LEAF_SHIFT
            for number, chain in sorted(Leaf.decoded(plains[0]).chains.items()):
                page = Need(SliceKind.PAGE_IMAGE, base + number, unpack_refs(chain))
                self.forgotten[page] = None
        else:
            _count(held, decoded_page(plains).runs(0, PAGE_SECTORS))
        del self.forgotten[need]
        self.edits += 1
        self.directory.superseded.update(dict.fromkeys(need.slices))
        return list(held.items())

    # Checkpoints

    def dirty_pages(self) -> Iterator[tuple[int, Page]]:
        """Pages that changed since they were last encoded, in order."""
        for number in self._dirty_numbers.within(0, (self.sectors - 1 >> PAGE_SHIFT) + 1):
            page = self._dirty[number]
            if page.changes is not None:
                yield number, page

    def holds(self, number: int, page: Page) -> bool:
        """Whether the page of that number is still this one."""
        return self._pages.get(number) is page

    def encoded(self, page: Page) -> None:
        """Note that all of a page is in a checkpoint that is under way."""
        page.encoded_changes = page.changes
        page.changes = None

    def committed(self, number: int, page: Page) -> None:
        """Note that what was `encoded` of a page is stored."""
        page.encoded_changes = None
        if page.changes is None and self._dirty.get(number) is page:
            del self._dirty[number]
            self._dirty_numbers.discard(number)
            self._dirty_runs -= len(page)
            self._clean[number] = None

    def abandoned(self, page: Page) -> None:
        """Note that what was `encoded` of a page is not stored: it is changed as before."""
        if page.encoded_changes is not None:
            page.changes = page.encoded_changes + (page.changes or array("I"))
            page.encoded_changes = None

    def rewrite(self, containers: Container[int], limit: int) -> Iterator[list[Need]]:
        """
        Have the next checkpoint store anew what is in some containers, one leaf at each step.

        Args:
            limit: stop after the step in which so many pages and leaves were marked or needed.

        Yields:
            What must be supplied and asked for once more, to be marked as well.
        """
        marked = 0
        for number in sorted(self.directory.refs):
            need = self.directory.needed(number)
            needs = [] if need is None else [need]
            ref = self.directory.refs.get(number)
            if need is None and ref is not None and ref.container in containers:
                self.directory.touch(number)
                marked += 1
            base = number << LEAF_SHIFT
            for page, chain in self.directory.stored(base, base + LEAF_PAGES):
                if marked + len(needs) >= limit:
                    break
                if any(ref.container in containers for ref in unpack_refs(chain)):
                    resident = self._pages.get(page)
                    if resident is None:
                        needs.append(Need(SliceKind.PAGE_IMAGE, page, unpack_refs(chain)))
                    else:
                        self._begin(page, resident)
                        resident.wants_image = True
                        marked += 1
            marked += len(needs)
            yield needs
            if marked >= limit:
                return

    # One page

    def _set_inside(self, number: int, start: int, end: int, value: int) -> None:
        page = self._pages.get(number)
        if page is None:
            page = self._fresh(number, start, end, value)
            if page is None:
                return
        else:
            old = page.runs(start, end)
            if old == [(start, end, value)]:
                return
            _count(self._replaced, old)
        changes = page.changes
        if changes is None:
            changes = self._begin(number, page)
        before = len(page)
        page.set(start, end, value)
        grown = len(page) - before
        self._runs += grown
        self._dirty_runs += grown
        if value < DATA and len(page) == 1:
            self._remove(number)
            self.directory.drop(number)
            self.directory.set(number, number + 1, value)
        else:
            page.note(changes, start, end)

    def _fresh(self, number: int, start: int, end: int, value: int) -> Page | None:
        """A page that was not in memory; None if nothing is to be changed in it."""
        whole = end - start == PAGE_SECTORS
        if self.directory.chain(number):
            if not whole:
                raise LookupError(f"page {number} of the map is changed, but was not loaded")
            self._forget(self.directory.set(number, number + 1, HOLE))
        if whole and value < DATA:
            self._forget(self.directory.set(number, number + 1, value))
            return None
        uniform = self.directory.value(number)
        if uniform == value:
            return None
        page = Page(uniform)
        self._install(number, page)
        self._begin(number, page)
        return page

    def _set_uniform(self, first: int, last: int, value: int) -> None:
        for number in self._present.within(first, last):
            _count(self._replaced, self._pages[number].runs(0, PAGE_SECTORS))
            self._remove(number)
            self.directory.drop(number)
        self._forget(self.directory.set(first, last, value))

    def _forget(self, needs: list[Need]) -> None:
        self.forgotten.update(dict.fromkeys(needs))

    def _begin(self, number: int, page: Page) -> array[int]:
        """Start to remember what changes in a page."""
        if number not in self._dirty:
            self._clean.pop(number, None)
            self._dirty[number] = page
            self._dirty_numbers.add(number)
            self._dirty_runs += len(page)
        if page.changes is None:
            page.changes = array("I")
        return page.changes

    def _install(self, number: int, page: Page) -> None:
        self._pages[number] = page
        self._present.add(number)
        self._runs += len(page)
        self.directory.reside(number, 1)

    def _remove(self, number: int) -> None:
        page = self._pages.pop(number)
        self._present.discard(number)
        self._runs -= len(page)
        self._clean.pop(number, None)
        if self._dirty.pop(number, None) is not None:
            self._dirty_numbers.discard(number)
            self._dirty_runs -= len(page)
        self.directory.reside(number, -1)


def _count(held: dict[int, int], runs: Sequence[Run]) -> None:
    """Add up sectors by object."""
    for start, end, value in runs:
        if value >= DATA:
            index = values.index(value)
            held[index] = held.get(index, 0) + end - start


def _union(changes: array[int]) -> array[int]:
    """Ranges in order, without overlaps."""
    union = array("I")
    begin, behind = 0, 0
    for change in sorted(changes):
        start, end = change >> 16, change & 0xFFFF
        if start > behind or not behind:
            if behind:
                union.append(begin << 16 | behind)
            begin, behind = start, end
        elif end > behind:
            behind = end
    if behind:
        union.append(begin << 16 | behind)
    return union
