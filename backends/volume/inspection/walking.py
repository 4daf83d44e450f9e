"""One version's map, part by part from its root on: nothing is kept, and damage ends nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import attrs

from backends.objects.contract import IObjectStore
from backends.volume.checkpoint import Loaded, load_root
from backends.volume.directory import Leaf, Need, SliceRef, unpack_refs
from backends.volume.extent_map import decoded_page
from backends.volume.inspection.slice_reading import Broken, SliceReader
from backends.volume.lineage import Lineage, Source
from backends.volume.names import Kind
from backends.volume.runs import Run
from backends.volume.slices import SliceKind
from backends.volume.superblock import Root
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.units import LEAF_PAGES, PAGE_SECTORS, SECTOR
from backends.volume.values import HOLE

#: Pages that are asked for together.
_PAGES = 256

_LEAF_SECTORS = LEAF_PAGES * PAGE_SECTORS


@attrs.frozen
class Damage:
    """
    A part of the map that cannot be read.

    Attributes:
        key: of the object that it is in.
        what: is wrong.
        start, end: sectors of the disk that it tells about; none if they are equal.
    """

    key: str
    what: str
    start: int
    end: int


@attrs.frozen
class Part:
    """
    What the map says of a range.

    Attributes:
        start, end: sectors.
        runs: as in a map, over the whole range; None where it was passed over or is damaged.
    """

    start: int
    end: int
    runs: Sequence[Run] | None


#: Tells of a leaf, or of the last slice of a page, whether it is to be read.
Wanted = Callable[[SliceRef], bool]


class RootWalk:
    """
    What one root leads to.

    Args:
        store, lineage: where slices are.
        root: where it starts; None for an empty disk.
        size: of the disk in this version, in bytes.

    Attributes:
        sectors: of the disk.
        loaded: map, tables and state, when `open` could read the root; the map has no pages.
        damages: of the map, so far.
        slices: what was read.
    """

    def __init__(self, store: IObjectStore, lineage: Lineage, root: Root | None, size: int) -> None:
        self._lineage = lineage
        self._root = root
        self.sectors = size // SECTOR
        self.loaded: Loaded | None = None
        self.damages: list[Damage] = []
        self.slices = SliceReader(store, lineage)

    async def open(self) -> bool:
        """
        Read root and tables.

        Returns:
            Whether all of them could be read; what could not is in `damages`.

        Raises:
            StoreError: the store did not answer.
        """
        root = self._root
        if root is None:
            return True
        plain = await self.slices.root(root)
        try:
            if isinstance(plain, Broken):
                raise plain
            loaded = load_root(plain, root.epoch, root.n, root.offset, root.stored_length)
        except (Broken, ValueError) as wrong:
            self._damaged(self._lineage.own.names.ck(root.epoch, root.n), wrong, 0, self.sectors)
            return False
        self.loaded = loaded
        self.slices.containers = loaded.containers
        own = loaded.state.root
        assert own is not None
        self.slices.used[own.container] = own.length
        needs = loaded.table.needs()
        for need, plains in zip(needs, await self.slices.fetch(needs), strict=True):
            try:
                if isinstance(plains, Broken):
                    raise plains
                loaded.table.supply(need, plains[0])
            except (Broken, ValueError) as wrong:
                self._damaged(self._name(need.slices[0]), wrong, 0, self.sectors)
        return not self.damages

    def entry(self, index: int) -> Entry | None:
        """The object of that number; None if the table has none."""
        if self.loaded is None or index not in self.loaded.table:
            return None
        return self.loaded.table[index]

    async def parts(self, wanted: Wanted = lambda _: True) -> AsyncIterator[Part]:
        """
        The whole disk in order; `open` has answered that all is well.

        Args:
            wanted: what it refuses is passed over.

        Raises:
            StoreError: the store did not answer.
        """
        at = 0
        refs = {} if self.loaded is None else self.loaded.extent_map.directory.refs
        for number, ref in sorted(refs.items()):
            base = number * _LEAF_SECTORS
            if base >= self.sectors:
                break
            end = min(base + _LEAF_SECTORS, self.sectors)
            if at < base:
                yield Part(at, base, [(at, base, HOLE)])
            at = end
            if not wanted(ref):
                yield Part(base, end, None)
                continue
            (plains,) = await self.slices.fetch([Need(SliceKind.LEAF, number, (ref,))])
            try:
                if isinstance(plains, Broken):
                    raise plains
                leaf = Leaf.decoded(plains[0])
            except (Broken, ValueError) as wrong:
                self._damaged(self._name(ref), wrong, base, end)
                yield Part(base, end, None)
                continue
            async for part in self._leaf(number * LEAF_PAGES, base, end, leaf, wanted):
                yield part
        if at < self.sectors:
            yield Part(at, self.sectors, [(at, self.sectors, HOLE)])

    async def forgotten(self) -> AsyncIterator[Sequence[Run]]:
        """
        The runs of what was covered without having been read, which still count.

        Raises:
            StoreError: the store did not answer.
        """
        waiting = [] if self.loaded is None else list(self.loaded.extent_map.forgotten)
        while waiting:
            needs, waiting = waiting[:_PAGES], waiting[_PAGES:]
            for need, plains in zip(needs, await self.slices.fetch(needs), strict=True):
                try:
                    if isinstance(plains, Broken):
                        raise plains
                    if need.kind != SliceKind.LEAF:
                        yield decoded_page(plains).runs(0, PAGE_SECTORS)
                        continue
                    leaf = Leaf.decoded(plains[0])
                except (Broken, ValueError) as wrong:
                    self._damaged(self._name(need.slices[0]), wrong, 0, 0)
                    continue
                waiting += [
                    Need(SliceKind.PAGE_IMAGE, need.number * LEAF_PAGES + page, unpack_refs(chain))
                    for page, chain in sorted(leaf.chains.items())
                ]

    async def _leaf(
        self, first: int, base: int, end: int, leaf: Leaf, wanted: Wanted
    ) -> AsyncIterator[Part]:
        """
        Args:
            first: number of the leaf's first page.
            base, end: sectors of the leaf.
        """
        at = base
        pages = [page for page in sorted(leaf.chains) if base + page * PAGE_SECTORS < end]
        for begin in range(0, len(pages), _PAGES):
            batch = pages[begin : begin + _PAGES]
            needs = [
                Need(SliceKind.PAGE_IMAGE, first + page, unpack_refs(leaf.chains[page]))
                for page in batch
            ]
            needs = [need for need in needs if wanted(need.slices[-1])]
            fetched = await self.slices.fetch(needs)
            found = {need.number - first: one for need, one in zip(needs, fetched, strict=True)}
            for page in batch:
                start = base + page * PAGE_SECTORS
                stop = min(start + PAGE_SECTORS, end)
                if at < start:
                    yield _uniform(leaf, base, at, start)
                at = stop
                if page not in found:
                    yield Part(start, stop, None)
                    continue
                plains = found[page]
                try:
                    if isinstance(plains, Broken):
                        raise plains
                    runs = decoded_page(plains).runs(0, stop - start, start)
                except (Broken, ValueError) as wrong:
                    self._damaged(
                        self._name(unpack_refs(leaf.chains[page])[-1]), wrong, start, stop
                    )
                    yield Part(start, stop, None)
                    continue
                yield Part(start, stop, runs)
        if at < end:
            yield _uniform(leaf, base, at, end)

    def _damaged(self, key: str, wrong: Exception, start: int, end: int) -> None:
        if isinstance(wrong, Broken):
            key = wrong.key
        self.damages.append(Damage(key, str(wrong), start, end))

    def _name(self, ref: SliceRef) -> str:
        containers, names = self.slices.containers, self._lineage.own.names
        if ref.container not in containers:
            return names.ck_prefix
        entry = containers[ref.container]
        return self._lineage[entry.volume].names.ck(entry.epoch, entry.number)


def source_of(entry: Entry) -> Source:
    """The object of data that an entry of the table stands for."""
    if entry.kind == ObjectKind.MOVED:
        return Source(entry.volume, Kind.MOVED, entry.epoch, entry.number)
    return Source(entry.volume, Kind.DATA, 0, entry.number)


def _uniform(leaf: Leaf, base: int, start: int, end: int) -> Part:
    """Pages of a leaf that have one value each."""
    first, last = (start - base) // PAGE_SECTORS, -(-(end - base) // PAGE_SECTORS)
    runs = [
        (max(start, base + low * PAGE_SECTORS), min(end, base + high * PAGE_SECTORS), value)
        for low, high, value in leaf.values.runs(first, last)
    ]
    return Part(start, end, runs)
