"""
Checkpoints: the map, its directory and the tables as slices, below one root.

Only what changed is written, pages first, then what refers to them, the root
at last. Writing takes steps, between which the map may be read, loaded and
evicted, but not changed: segments wait in the overlay meanwhile. From the
last step until `Written.commit` it may change again.

A slice that was written counts in its container when the checkpoint is
committed, and one that nothing refers to any more ceases to count then. What
becomes free by it may be deleted at once, since the committed root does
without. The root itself is not counted in the table inside it, as its length
is not known there; who loads it adds it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from backends.volume.directory import (
    LEAF_SHIFT,
    Chain,
    Directory,
    Leaf,
    Need,
    SliceRef,
    pack_refs,
    unpack_refs,
)
from backends.volume.extent_map import ExtentMap, Page, encoded_changes
from backends.volume.object_table import ObjectTable, Version
from backends.volume.slices import SliceKind
from backends.volume.table_page import Entry, ObjectKind, TablePage
from backends.volume.units import LEAF_PAGES

#: Slices in a chain at which it is written as one image.
MAX_CHAIN = 16

#: Pages of the table for each container that they may lie in beside the one being written and
#: another: whoever attaches gets all of them, with one get from each container.
_GATHER = 64

#: What is encoded in one step, in runs; a page counts `_PAGE_WORK` beside its runs.
_STEP_WORK = 2000
_PAGE_WORK = 500
#: Pages that are committed in one step.
COMMIT_PAGES = 256

_ROOT = struct.Struct("<HHIQQQQIIIII")
_LAYOUT = 1
_PLACED = struct.Struct("<QIII")
_EMBEDDED = struct.Struct("<II")
_FORGOTTEN = struct.Struct("<QBB")

Emit = Callable[[SliceKind, bytes], SliceRef]

T = TypeVar("T")


def at_once(steps: Generator[None, None, T]) -> T:
    """What ``steps`` come to, all of them taken: where nobody else waits for the reactor."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            came_to: T = end.value
            return came_to


@dataclass(slots=True)
class State:
    """
    What a root says beside map and tables.

    Attributes:
        version: the last log slot that is in the map.
        next_n: the n of the first ``ck/`` and ``gc/`` object that was never named.
        ancestors: volumes beside this one that tables may name.
        root: where the root of the last checkpoint lies; None before the first.
    """

    version: int = 0
    next_n: int = 0
    ancestors: int = 0
    root: SliceRef | None = None


@dataclass(slots=True)
class Deletable:
    """Indexes in the two tables of objects that may be deleted now, and be dropped then."""

    objects: list[int]
    containers: list[int]


@dataclass(slots=True)
class _PageSlice:
    number: int
    page: Page
    chain: bytes
    is_image: bool


@dataclass(slots=True)
class Written:
    """
    A checkpoint that is encoded, and in the store or on its way.

    Attributes:
        root: where its root is.
    """

    _map: ExtentMap
    _table: ObjectTable
    _containers: ObjectTable
    _state: State
    _newest: Version | None
    root: SliceRef | None = None
    _pages: list[_PageSlice] = field(default_factory=list)
    _leaves: list[tuple[int, Leaf, int, SliceRef | None]] = field(default_factory=list)
    _table_pages: list[tuple[int, TablePage, int, SliceRef]] = field(default_factory=list)
    _emitted: list[SliceRef] = field(default_factory=list)
    _gone: list[SliceRef] = field(default_factory=list)
    _deletable: Deletable = field(default_factory=lambda: Deletable([], []))

    def commit(self) -> Deletable:
        """
        Everything is stored, and a superblock names the root: now it counts.

        Returns:
            What nothing needs any more.
        """
        return at_once(self.commit_in_steps())

    def commit_in_steps(self) -> Generator[None, None, Deletable]:
        """
        The same, in steps; map and table may change between them.

        All must be taken before anything else is written.
        """
        directory, table = self._map.directory, self._table
        _move(self._containers, self._emitted, self._gone, self._newest)
        for number, leaf, changes, leaf_ref in self._leaves:
            directory.committed(number, leaf, changes, leaf_ref)
        for number, table_page, changes, ref in self._table_pages:
            table.committed(number, table_page, changes, ref)
        for count, slice_ in enumerate(self._pages):
            # A page that was replaced as a whole meanwhile has no use for its slice.
            if self._map.holds(slice_.number, slice_.page):
                directory.store(slice_.number, slice_.chain)
            else:
                unused = unpack_refs(slice_.chain)
                directory.superseded.update(dict.fromkeys(unused))
                directory.touch(slice_.number >> LEAF_SHIFT)
            self._map.committed(slice_.number, slice_.page)
            if count % COMMIT_PAGES == COMMIT_PAGES - 1:
                yield
        # Some may have been superseded once more by changes since they were encoded.
        for ref in self._gone:
            directory.superseded.pop(ref, None)
            table.superseded.pop(ref, None)
        self._state.root = self.root
        return self._deletable

    def abandon(self) -> None:
        """It could not be stored: everything is changed as before, its objects are free."""
        for slice_ in self._pages:
            self._map.abandoned(slice_.page)
            slice_.page.wants_image |= slice_.is_image
        for _number, leaf, _changes, _ref in self._leaves:
            leaf.encoded_now = False
        for container in sorted({ref.container for ref in self._emitted}):
            self._containers.free(container)
        self._pages.clear()
        self._emitted.clear()


def write(
    extent_map: ExtentMap,
    table: ObjectTable,
    containers: ObjectTable,
    state: State,
    newest: Version | None,
    emit: Emit,
) -> Generator[None, None, Written]:
    """
    Encode a checkpoint, in steps of some hundred microseconds.

    Args:
        state: with the version that the map is at; `Written.commit` sets ``root`` in it.
        newest: the newest snapshot; also when it is committed.
        emit: seals the plain data of a slice, puts it into a checkpoint object
            and says where; objects that it begins are added to ``containers``,
            with 0 for ``live`` and ``stored``.

    Returns:
        What waits to be committed or abandoned. If a step raises, or the
        generator is closed, it is abandoned already.

    Raises:
        RuntimeError: map or table changed between two steps.
    """
    written = Written(extent_map, table, containers, state, newest)
    edits = extent_map.edits, table.edits
    directory = extent_map.directory
    try:
        yield from _write_pages(written, emit)
        leaf_refs = yield from _write_leaves(written, emit)
        table_refs = yield from _write_table(written, emit)
        if (extent_map.edits, table.edits) != edits:
            raise RuntimeError("checkpoint: map or table changed while it was written")
        written._gone += [*directory.superseded, *table.superseded]
        if state.root is not None:
            written._gone.append(state.root)
        counted = containers.copy()
        _move(counted, written._emitted, written._gone, newest)
        written._deletable = Deletable(table.freed(), counted.freed())
        plain = _encoded_root(extent_map, table, counted, state, leaf_refs, table_refs)
        written.root = emit(SliceKind.ROOT, plain)
        written._emitted.append(written.root)
    except BaseException:
        written.abandon()
        raise
    return written


def _write_pages(written: Written, emit: Emit) -> Generator[None, None, None]:
    extent_map = written._map
    work = 0
    for number, page in extent_map.dirty_pages():
        packed = extent_map.directory.chain(number)
        old = unpack_refs(packed)
        is_image, plain = _page_slice(page, old)
        ref = emit(SliceKind.PAGE_IMAGE if is_image else SliceKind.PAGE_CHANGES, plain)
        chain = pack_refs((ref,)) if is_image else packed + pack_refs((ref,))
        extent_map.encoded(page)
        page.wants_image = False
        written._pages.append(_PageSlice(number, page, chain, is_image))
        written._emitted.append(ref)
        if is_image:
            written._gone += old
        work += _PAGE_WORK + len(page)
        if work >= _STEP_WORK:
            work = 0
            yield
    yield


def _page_slice(page: Page, chain: Chain) -> tuple[bool, bytes]:
    """Whether a page's next slice is its image, and the slice's plain data."""
    if chain and not page.wants_image and len(chain) + 1 < MAX_CHAIN:
        changes = encoded_changes(page.changed())
        if sum(ref.length for ref in chain[1:]) + len(changes) < page.encoded_length:
            return False, changes
    return True, page.encoded()


def _write_leaves(
    written: Written, emit: Emit
) -> Generator[None, None, dict[int, SliceRef | None]]:
    directory = written._map.directory
    pending: dict[int, dict[int, bytes]] = {}
    for slice_ in written._pages:
        chains = pending.setdefault(slice_.number >> LEAF_SHIFT, {})
        chains[slice_.number & LEAF_PAGES - 1] = slice_.chain
    refs: dict[int, SliceRef | None] = {}
    for number, leaf in directory.loaded():
        chains = pending.get(number, {})
        if not chains and not leaf.dirty:
            continue
        ref = None
        if not leaf.is_hole(chains):
            ref = emit(SliceKind.LEAF, leaf.encoded(chains))
            written._emitted.append(ref)
        written._leaves.append((number, leaf, leaf.changes, ref))
        leaf.encoded_now = True
        if number in directory.refs:
            written._gone.append(directory.refs[number])
        refs[number] = ref
        yield
    return refs


def _write_table(written: Written, emit: Emit) -> Generator[None, None, dict[int, SliceRef]]:
    table = written._table
    refs: dict[int, SliceRef] = {}
    for number in _due(table):
        page = table.pages[number]
        ref = emit(SliceKind.TABLE, page.encoded())
        written._emitted.append(ref)
        written._table_pages.append((number, page, page.changes, ref))
        if number in table.refs:
            written._gone.append(table.refs[number])
        refs[number] = ref
        yield
    return refs


def _due(table: ObjectTable) -> list[int]:
    """Pages that changed, and those that lie in the containers that have the fewest of them."""
    due = []
    lying: dict[int, list[int]] = {}
    for number, page in table.pages.items():
        if page.changes != page.stored_changes:
            due.append(number)
        else:
            lying.setdefault(table.refs[number].container, []).append(number)
    fewest = sorted(lying.items(), key=lambda one: (len(one[1]), one[0]))
    for _, numbers in fewest[: -1 - len(table.pages) // _GATHER]:
        due += numbers
    return sorted(due)


def _move(
    containers: ObjectTable,
    emitted: Iterable[SliceRef],
    gone: Iterable[SliceRef],
    newest: Version | None,
) -> None:
    """Count slices that came to be, and then those that are needed no more."""
    for container, length in _by_container(emitted).items():
        containers.live_add(container, length)
        containers.stored_add(container, length)
    for container, length in _by_container(gone).items():
        containers.release(container, length, newest)


def _by_container(refs: Iterable[SliceRef]) -> dict[int, int]:
    lengths: dict[int, int] = {}
    for container, _offset, length in refs:
        lengths[container] = lengths.get(container, 0) + length
    return lengths


def _encoded_root(
    extent_map: ExtentMap,
    table: ObjectTable,
    containers: ObjectTable,
    state: State,
    leaf_refs: dict[int, SliceRef | None],
    table_refs: dict[int, SliceRef],
) -> bytes:
    leaves = _placed({**extent_map.directory.refs, **leaf_refs})
    table_pages = _placed({**table.refs, **table_refs})
    embedded = [(number, page.encoded()) for number, page in sorted(containers.pages.items())]
    parts = [
        _ROOT.pack(
            _LAYOUT,
            state.ancestors,
            0,
            state.version,
            extent_map.sectors,
            table.next_index,
            state.next_n,
            containers.next_index,
            len(leaves),
            len(table_pages),
            len(embedded),
            len(extent_map.forgotten),
        ),
        *leaves,
        *table_pages,
    ]
    for number, plain in embedded:
        parts += [_EMBEDDED.pack(number, len(plain)), plain]
    for need in extent_map.forgotten:
        parts += [
            _FORGOTTEN.pack(need.number, need.kind, len(need.slices)),
            pack_refs(need.slices),
        ]
    return b"".join(parts)


def _placed(refs: dict[int, SliceRef] | dict[int, SliceRef | None]) -> list[bytes]:
    return [_PLACED.pack(number, *ref) for number, ref in sorted(refs.items()) if ref is not None]


@dataclass(slots=True)
class Loaded:
    """
    What a root leads to.

    Attributes:
        extent_map: ready; leaves and pages come on demand.
        table: usable when all it `needs` is supplied.
        containers: ready.
        state: with the place of the root itself.
    """

    extent_map: ExtentMap
    table: ObjectTable
    containers: ObjectTable
    state: State


def load_root(plain: bytes, epoch: int, n: int, offset: int, length: int) -> Loaded:
    """
    Read a root.

    Args:
        epoch, n, offset, length: where it lies, as the superblock says: object,
            bytes in it, stored bytes.

    Raises:
        ValueError: this is no root of this layout.
    """
    try:
        return _loaded(plain, epoch, n, offset, length)
    except (struct.error, KeyError) as error:
        raise ValueError(
            f"root: got {len(plain)} bytes that end early or name what is not there: {error}"
        ) from None


def _loaded(plain: bytes, epoch: int, n: int, offset: int, length: int) -> Loaded:
    (
        layout,
        ancestors,
        _reserved,
        version,
        sectors,
        next_index,
        next_n,
        next_container,
        leaf_count,
        table_count,
        embedded_count,
        forgotten_count,
    ) = _ROOT.unpack_from(plain)
    if layout != _LAYOUT:
        raise ValueError(f"root: got layout {layout}, expected {_LAYOUT}")
    at = _ROOT.size

    def placed(count: int) -> dict[int, SliceRef]:
        nonlocal at
        refs = {}
        for _ in range(count):
            number, *ref = _PLACED.unpack_from(plain, at)
            refs[number] = SliceRef(*ref)
            at += _PLACED.size
        return refs

    directory = Directory(placed(leaf_count))
    table = ObjectTable(next_index, placed(table_count))
    containers = ObjectTable(next_container)
    for _ in range(embedded_count):
        number, size = _EMBEDDED.unpack_from(plain, at)
        at += _EMBEDDED.size
        containers.install(number, TablePage.decoded(plain[at : at + size]))
        at += size
    extent_map = ExtentMap(sectors, directory)
    for _ in range(forgotten_count):
        number, kind, count = _FORGOTTEN.unpack_from(plain, at)
        at += _FORGOTTEN.size
        refs = unpack_refs(plain[at : at + 12 * count])
        at += 12 * count
        extent_map.forgotten[Need(SliceKind(kind), number, refs)] = None
    if at != len(plain):
        raise ValueError(f"root: got {len(plain)} bytes, expected {at}")

    root = SliceRef(_container_of(containers, epoch, n, version), offset, length)
    containers.live_add(root.container, length)
    return Loaded(extent_map, table, containers, State(version, next_n, ancestors, root))


def _container_of(containers: ObjectTable, epoch: int, n: int, version: int) -> int:
    """The object that a root lies in, which may have been begun for the root alone."""
    for number, entry in containers.items():
        if not entry.volume and (entry.epoch, entry.number) == (epoch, n):
            return number
    return containers.add(Entry(ObjectKind.CHECKPOINT, 0, epoch, n, 0, 0, 0, version))
