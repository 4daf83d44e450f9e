"""
Where each page of the map is stored: a chain of slices, or the one value that all of it has.

A page's chain is its image and then slices of changes, to be painted over it
in order. `LEAF_PAGES` pages share a leaf, which is stored as a slice itself
and loaded when it is needed. A leaf that is not in the root is all ``HOLE``.

The directory describes the memory of one writer, which runs ahead of the
stored one: `superseded` holds the slices that the next checkpoint does
without.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from backends.volume.runs import Run, Runs, append_merged, from_little_endian, little_endian
from backends.volume.slices import SliceKind
from backends.volume.units import LEAF_PAGES
from backends.volume.values import DATA, HOLE

LEAF_SHIFT = LEAF_PAGES.bit_length() - 1
_MASK = LEAF_PAGES - 1

_REF = struct.Struct("<III")
_LEAF = struct.Struct("<HH")

#: Bytes that a leaf, and a chain of usual length, take in memory.
_LEAF_OVERHEAD = 1000
_CHAIN_BYTES = 200


class SliceRef(NamedTuple):
    """
    A slice in an object of a checkpoint.

    Attributes:
        container: number of that object in the table of containers.
        offset: bytes from the object's start.
        length: bytes as stored.
    """

    container: int
    offset: int
    length: int


Chain = tuple[SliceRef, ...]


class Need(NamedTuple):
    """
    Something that must be fetched.

    Attributes:
        kind: ``LEAF`` or ``PAGE_IMAGE``; a page's further slices are ``PAGE_CHANGES``.
        number: of the leaf or page.
        slices: in order.
    """

    kind: SliceKind
    number: int
    slices: Chain

    @property
    def kinds(self) -> list[SliceKind]:
        """What each slice holds."""
        return [self.kind] + [SliceKind.PAGE_CHANGES] * (len(self.slices) - 1)


def pack_refs(refs: Iterable[SliceRef]) -> bytes:
    """12 bytes for each reference: container, offset, length."""
    return b"".join(_REF.pack(*ref) for ref in refs)


def unpack_refs(packed: bytes) -> Chain:
    """What `pack_refs` made; the length must be a multiple of 12."""
    return tuple(map(SliceRef._make, _REF.iter_unpack(packed)))


class Leaf:
    """
    The part of the directory for `LEAF_PAGES` pages.

    Attributes:
        values: of uniform pages; means nothing for others.
        chains: of pages that are not uniform, packed; pages count from the leaf's first.
        residents: pages of it that the map holds in memory.
        changes: made to it since it was loaded.
        stored: how many of them are in the slice that the root names.
        encoded_now: it is in a checkpoint under way, which will come back to it.
    """

    __slots__ = ("chains", "changes", "encoded_now", "residents", "stored", "values")

    def __init__(self, value: int) -> None:
        self.values = Runs(LEAF_PAGES, value)
        self.chains: dict[int, bytes] = {}
        self.residents = 0
        self.changes = 0
        self.stored = 0
        self.encoded_now = False

    @property
    def dirty(self) -> bool:
        """Whether it holds more than its slice."""
        return self.changes != self.stored

    @property
    def memory(self) -> int:
        """Bytes, estimated."""
        return _LEAF_OVERHEAD + len(self.chains) * _CHAIN_BYTES

    def is_hole(self, pending: Mapping[int, bytes]) -> bool:
        """Whether it says no more than an absent leaf, also with further chains."""
        return not self.chains and not pending and self.values.uniform() == HOLE

    def encoded(self, pending: Mapping[int, bytes]) -> bytes:
        """
        The plain data of its slice.

        Args:
            pending: chains that take the place of those it has, or are new.
        """
        chains = {**self.chains, **pending} if pending else self.chains
        pages = sorted(chains)
        lengths = bytes(len(chains[page]) // _REF.size for page in pages)
        return b"".join(
            [
                _LEAF.pack(len(self.values), len(pages)),
                self.values.encoded(),
                little_endian(array("H", pages)),
                lengths,
                *(chains[page] for page in pages),
            ]
        )

    @classmethod
    def decoded(cls, plain: bytes) -> Leaf:
        """
        Raises:
            ValueError: this is no leaf.
        """
        if len(plain) < _LEAF.size:
            raise ValueError(f"leaf: got {len(plain)} bytes, expected at least {_LEAF.size}")
        runs, count = _LEAF.unpack_from(plain)
        pages_at = _LEAF.size + 10 * runs
        lengths_at = pages_at + 2 * count
        at = lengths_at + count
        lengths = plain[lengths_at:at]
        if at + _REF.size * sum(lengths) != len(plain) or 0 in lengths:
            raise ValueError(
                f"leaf: got {len(plain)} bytes that do not fit {runs} runs and {count} chains"
            )
        leaf = cls(HOLE)
        leaf.values.decode(plain[_LEAF.size : pages_at])
        if any(value >= DATA for _start, _end, value in leaf.values.runs(0, LEAF_PAGES)):
            raise ValueError("leaf: got a uniform page of data, expected only holes and zeroes")
        pages = from_little_endian("H", plain[pages_at:lengths_at])
        for page, length in zip(pages, lengths, strict=True):
            leaf.chains[page] = plain[at : at + _REF.size * length]
            at += _REF.size * length
        if any(page >= LEAF_PAGES for page in pages) or len(leaf.chains) != count:
            raise ValueError(f"leaf: got page numbers that are not {count} below {LEAF_PAGES}")
        return leaf


class Directory:
    """
    The leaves that are in memory, and where the others are.

    Args:
        refs: leaf number to slice, from the root.

    Attributes:
        refs: as they are in the checkpoint that was committed last, but for leaves dropped since.
        superseded: slices that nothing in memory refers to any more.
    """

    __slots__ = ("_leaves", "refs", "superseded")

    def __init__(self, refs: Mapping[int, SliceRef] | None = None) -> None:
        self.refs = dict(refs or {})
        self._leaves: dict[int, Leaf] = {}
        self.superseded: dict[SliceRef, None] = {}

    @property
    def memory(self) -> int:
        """Bytes, estimated."""
        return sum(leaf.memory for leaf in self._leaves.values())

    def needed(self, number: int) -> Need | None:
        """What must be fetched before a leaf can be asked."""
        ref = None if number in self._leaves else self.refs.get(number)
        return None if ref is None else Need(SliceKind.LEAF, number, (ref,))

    def supply(self, number: int, ref: SliceRef, plain: bytes) -> None:
        """Load a leaf, unless it is loaded or stored elsewhere by now."""
        if number not in self._leaves and self.refs.get(number) == ref:
            self._leaves[number] = Leaf.decoded(plain)

    def chain(self, page: int) -> bytes:
        """The chain of a page, packed; empty if it is uniform or was never stored."""
        leaf = self._leaf(page >> LEAF_SHIFT)
        return b"" if leaf is None else leaf.chains.get(page & _MASK, b"")

    def value(self, page: int) -> int:
        """The value of a uniform page."""
        leaf = self._leaf(page >> LEAF_SHIFT)
        return HOLE if leaf is None else leaf.values.value(page & _MASK)

    def stored(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Pages with their packed chains from ``first`` up to ``last``, in order; loaded leaves."""
        for number, start, end in _parts(first, last):
            leaf = self._leaves.get(number)
            if leaf is not None:
                base = number << LEAF_SHIFT
                if len(leaf.chains) > end - start:
                    pages = [page for page in range(start, end) if page in leaf.chains]
                else:
                    pages = sorted(page for page in leaf.chains if start <= page < end)
                for page in pages:
                    yield base + page, leaf.chains[page]

    def runs(self, start: int, end: int) -> list[Run]:
        """Runs of uniform pages; what they say of other pages means nothing."""
        found: list[Run] = []
        for number, first, last in _parts(start, end):
            leaf = self._leaves.get(number)
            base = number << LEAF_SHIFT
            inside = (
                [(base + first, base + last, HOLE)]
                if leaf is None
                else leaf.values.runs(first, last, base)
            )
            append_merged(found, inside)
        return found

    def set(self, first: int, last: int, value: int) -> list[Need]:
        """
        Make pages uniform.

        Args:
            first, last: from page ``first`` up to ``last``; leaves that reach beyond
                this range must be loaded.
            value: no data.

        Returns:
            What these pages were stored as, and was not said to be `drop`-ped.
        """
        needs = []
        for number, start, end in _parts(first, last):
            if end - start == LEAF_PAGES:
                needs += self._replace_leaf(number, value)
                continue
            leaf = self._leaf(number)
            if leaf is None:
                if value == HOLE:
                    continue
                leaf = self._leaves[number] = Leaf(HOLE)
            base = number << LEAF_SHIFT
            stored = [page for page, _chain in self.stored(base + start, base + end)]
            for page in stored:
                chain = unpack_refs(leaf.chains.pop(page & _MASK))
                needs.append(Need(SliceKind.PAGE_IMAGE, page, chain))
            if stored or leaf.values.runs(start, end) != [(start, end, value)]:
                leaf.values.set(start, end, value)
                leaf.changes += 1
        return needs

    def drop(self, page: int) -> None:
        """Forget how a page was stored whose content is known."""
        leaf = self._leaf(page >> LEAF_SHIFT)
        if leaf is not None and (chain := leaf.chains.pop(page & _MASK, None)) is not None:
            leaf.changes += 1
            self.superseded.update(dict.fromkeys(unpack_refs(chain)))

    def store(self, page: int, chain: bytes) -> None:
        """Note where a page is stored, as its leaf's last slice says it already."""
        leaf = self._leaf(page >> LEAF_SHIFT)
        if leaf is None:
            raise LookupError(f"leaf {page >> LEAF_SHIFT} of the directory has a page, but is gone")
        leaf.chains[page & _MASK] = chain

    def committed(self, number: int, leaf: Leaf, changes: int, ref: SliceRef | None) -> None:
        """
        Note where a leaf is stored.

        Args:
            changes: how many of its changes are in the slice.
            ref: None if it was all ``HOLE``.
        """
        leaf.encoded_now = False
        if self._leaves.get(number) is leaf:
            leaf.stored = changes
            if ref is None:
                self.refs.pop(number, None)
            else:
                self.refs[number] = ref
        elif ref is not None:
            self.superseded[ref] = None

    def reside(self, page: int, pages: int) -> None:
        """Note that the map took one page of this one's leaf into memory, or gave it up (-1)."""
        leaf = self._leaf(page >> LEAF_SHIFT)
        if leaf is None:
            leaf = self._leaves[page >> LEAF_SHIFT] = Leaf(HOLE)
        leaf.residents += pages

    def touch(self, number: int) -> None:
        """Have a leaf stored anew, if it is loaded."""
        leaf = self._leaves.get(number)
        if leaf is not None:
            leaf.changes += 1

    def evict(self, excess: int) -> None:
        """Give up clean leaves without pages in memory, for so many bytes, oldest first."""
        for number, leaf in list(self._leaves.items()):
            if excess <= 0:
                return
            if not (leaf.dirty or leaf.residents or leaf.encoded_now):
                excess -= leaf.memory
                del self._leaves[number]

    def loaded(self) -> list[tuple[int, Leaf]]:
        """The leaves in memory, in order."""
        return sorted(self._leaves.items())

    def _leaf(self, number: int) -> Leaf | None:
        leaf = self._leaves.get(number)
        if leaf is None and number in self.refs:
            raise LookupError(f"leaf {number} of the directory is asked, but was not loaded")
        return leaf

    def _replace_leaf(self, number: int, value: int) -> list[Need]:
        leaf = self._leaves.pop(number, None)
        ref = self.refs.pop(number, None)
        if value != HOLE:
            self._leaves[number] = fresh = Leaf(value)
            fresh.changes = 1
        if leaf is None:
            return [] if ref is None else [Need(SliceKind.LEAF, number, (ref,))]
        if ref is not None:
            self.superseded[ref] = None
        base = number << LEAF_SHIFT
        return [
            Need(SliceKind.PAGE_IMAGE, base + page, unpack_refs(leaf.chains[page]))
            for page in sorted(leaf.chains)
        ]


def _parts(first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """A range of pages by leaves: number, and the range inside it."""
    while first < last:
        number = first >> LEAF_SHIFT
        end = min(last, number + 1 << LEAF_SHIFT)
        base = number << LEAF_SHIFT
        yield number, first - base, end - base
        first = end
