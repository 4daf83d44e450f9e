"""
A model of a whole volume without its log: the map, its checkpoints, snapshots and tables.

What is said to be deletable is deleted, for real.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from backends.volume import values
from backends.volume.checkpoint import (
    Deletable,
    Loaded,
    State,
    Written,
    at_once,
    load_root,
    write,
)
from backends.volume.directory import Directory, Leaf, Need, SliceRef, unpack_refs
from backends.volume.extent_map import ExtentMap
from backends.volume.object_table import ObjectTable
from backends.volume.runs import Run, Runs
from backends.volume.slices import SliceKind
from backends.volume.table_page import FREE, Entry, ObjectKind
from backends.volume.units import LEAF_PAGES, PAGE_SECTORS
from backends.volume.values import DATA, HOLE, ZERO, data

LEAF_SECTORS = LEAF_PAGES * PAGE_SECTORS
SECTORS = 3 * LEAF_SECTORS + PAGE_SECTORS // 2


@dataclass(frozen=True)
class Snapshot:
    """What a superblock says of one."""

    id: int
    version: int


@dataclass
class Kept:
    """A committed checkpoint, and what the disk was then."""

    root: SliceRef
    plain: bytes
    name: tuple[int, int]
    disk: list[Run]


@dataclass
class Volume:
    """A disk whose log is never lost and whose objects are looked at by the test alone."""

    extent_map: ExtentMap = field(default_factory=lambda: ExtentMap(SECTORS, Directory()))
    table: ObjectTable = field(default_factory=ObjectTable)
    containers: ObjectTable = field(default_factory=ObjectTable)
    state: State = field(default_factory=State)
    disk: Runs = field(default_factory=lambda: Runs(SECTORS, HOLE))
    #: What is in the store: slices by name of the object and offset, and data objects by number.
    slices: dict[tuple[tuple[int, int], int], tuple[SliceKind, bytes]] = field(default_factory=dict)
    objects: set[int] = field(default_factory=set)
    snapshots: dict[int, tuple[Snapshot, Kept]] = field(default_factory=dict)
    last: Kept | None = None
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def newest(self) -> Snapshot | None:
        return self.snapshots[max(self.snapshots)][0] if self.snapshots else None

    def fetch(self, need: Need) -> list[bytes]:
        plains = []
        for kind, ref in zip(need.kinds, need.slices, strict=True):
            container = self.containers[ref.container]
            stored, plain = self.slices[(container.epoch, container.number), ref.offset]
            assert stored == kind
            assert ref.length == len(plain)
            plains.append(plain)
        return plains

    def load(self, start: int, end: int, whole: bool) -> None:
        while needs := self.extent_map.needs(start, end, whole):
            for need in needs:
                self.extent_map.supply(need, self.fetch(need))

    def release(self, replaced: list[tuple[int, int]]) -> None:
        for index, sectors in replaced:
            self.table.release(index, sectors, self.newest)

    def account(self) -> None:
        while self.extent_map.forgotten:
            need = next(iter(self.extent_map.forgotten))
            self.release(self.extent_map.account(need, self.fetch(need)))

    def write(self, start: int, end: int) -> None:
        self.state.version += 1
        number = next(self.ids)
        sectors = end - start
        index = self.table.add(
            Entry(ObjectKind.DATA, 0, 1, number, sectors, 0, 512, self.state.version)
        )
        self.objects.add(number)
        self.load(start, end, True)
        self.table.live_add(index, sectors)
        self.release(self.extent_map.set(start, end, data(index, 0)))
        self.disk.set(start, end, data(index, 0))

    def zero(self, start: int, end: int, kind: int) -> None:
        self.state.version += 1
        self.load(start, end, True)
        self.release(self.extent_map.set(start, end, values.marked(kind, 77)))
        self.disk.set(start, end, kind)

    def collect(self, start: int, end: int) -> None:
        """Move what the first object in a range has there."""
        self.load(start, end, False)
        moved = [run for run in self.extent_map.runs(start, end, 3) if run[2] >= DATA][:1]
        for first, last, value in moved:
            self.state.version += 1
            number = next(self.ids)
            index = self.table.add(
                Entry(ObjectKind.MOVED, 0, 1, number, last - first, 0, 512, self.state.version)
            )
            self.objects.add(number)
            count = self.extent_map.replace_if(first, last, value, data(index, 0))
            assert count == last - first
            assert not self.extent_map.replace_if(first, last, value, data(index, 0))
            self.table.live_add(index, count)
            self.table.release(values.index(value), count, self.newest)
            self.disk.set(first, last, data(index, 0))

    def encode(self, limit: int = 3) -> tuple[Written, Kept]:
        places: dict[str, int] = {"number": 0, "slices": limit, "offset": 0}
        roots = []

        def emit(kind: SliceKind, plain: bytes) -> SliceRef:
            if places["slices"] >= limit:
                places["number"] = self.containers.add(
                    Entry(
                        ObjectKind.CHECKPOINT,
                        0,
                        1,
                        self.state.next_n,
                        0,
                        0,
                        0,
                        self.state.version,
                    )
                )
                self.state.next_n += 1
                places["slices"] = places["offset"] = 0
            places["slices"] += 1
            name = (1, self.state.next_n - 1)
            ref = SliceRef(places["number"], places["offset"], len(plain))
            self.slices[name, ref.offset] = kind, plain
            places["offset"] += len(plain)
            if kind == SliceKind.ROOT:
                roots.append((plain, name))
            return ref

        written = at_once(
            write(self.extent_map, self.table, self.containers, self.state, self.newest, emit)
        )
        assert written.root is not None
        return written, Kept(written.root, *roots[0], self.disk.runs(0, SECTORS))

    def commit(self, written: Written, kept: Kept) -> None:
        self.committed(written.commit(), kept)

    def committed(self, deletable: Deletable, kept: Kept) -> None:
        self.last = kept
        self.delete(deletable.objects, deletable.containers)

    def commit_during(
        self, written: Written, kept: Kept, changes: list[tuple[str, object]]
    ) -> None:
        """Commit with a change between any two steps."""
        steps = written.commit_in_steps()
        left = list(changes)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self.committed(end.value, kept)
                break
            if left:
                change(self, *left.pop(0))

    def delete(self, objects: list[int], containers: list[int]) -> None:
        for index in objects:
            assert self.table[index].held_by == FREE
            self.objects.discard(self.table[index].number)
            self.table.drop(index)
        for index in containers:
            entry = self.containers[index]
            assert entry.held_by == FREE
            for place in [place for place in self.slices if place[0][1] == entry.number]:
                del self.slices[place]
            self.containers.drop(index)

    def snapshot(self) -> None:
        self.account()
        written, kept = self.encode()
        self.commit(written, kept)
        snapshot = Snapshot(next(self.ids), self.state.version)
        self.snapshots[snapshot.id] = snapshot, kept

    def delete_snapshot(self, which: int) -> None:
        if self.snapshots:
            gone = sorted(self.snapshots)[which % len(self.snapshots)]
            del self.snapshots[gone]
            older = max((id_ for id_ in self.snapshots if id_ < gone), default=None)
            holder = None if older is None else self.snapshots[older][0]
            self.table.delete_snapshot(gone, holder)
            self.containers.delete_snapshot(gone, holder)
            # Durable before anything else happens, as a superblock would make it.
            self.commit(*self.encode())

    def opened(self, kept: Kept) -> Loaded:
        loaded = load_root(kept.plain, *kept.name, kept.root.offset, kept.root.length)
        for need in loaded.table.needs():
            entry = loaded.containers[need.slices[0].container]
            kind, plain = self.slices[(entry.epoch, entry.number), need.slices[0].offset]
            assert kind == SliceKind.TABLE
            loaded.table.supply(need, plain)
        assert not loaded.table.needs()
        return loaded

    def crash(self) -> None:
        """Lose all memory. What was written after the checkpoint is lost with it, here."""
        if self.last is None:
            return
        loaded = self.opened(self.last)
        next_n, version = self.state.next_n, self.state.version
        self.extent_map, self.table = loaded.extent_map, loaded.table
        self.containers, self.state = loaded.containers, loaded.state
        # Names are never used again, since another epoch has others.
        self.state.next_n, self.state.version = next_n, version
        self.disk = Runs(SECTORS, HOLE)
        for run in self.last.disk:
            self.disk.set(*run)
        self.account()
        known = {entry.number for _index, entry in self.table.items()}
        self.objects &= known

    def compact(self, limit: int) -> None:
        low = {
            index
            for index, entry in self.containers.items()
            if entry.live < entry.stored and entry.held_by == 0
        }
        for _ in range(20):
            steps = list(self.extent_map.rewrite(low, limit))
            needs = [need for step in steps for need in step]
            for need in needs:
                self.extent_map.supply(need, self.fetch(need))
            if not needs:
                break

    # What must be true

    def check_disk(self) -> None:
        self.load(0, SECTORS, False)
        assert self.extent_map.runs(0, SECTORS) == self.disk.runs(0, SECTORS)

    def check_live(self) -> None:
        """Counts are what a recount finds, and no object goes too early."""
        self.account()
        referred = count(self.disk.runs(0, SECTORS))
        live = {index: entry.live for index, entry in self.table.items() if entry.live}
        assert live == referred
        needed = set(referred)
        for _snapshot, kept in self.snapshots.values():
            assert all(
                self.opened(kept).table[index].number in self.objects for index in count(kept.disk)
            )
            needed |= set(count(kept.disk))
        freed = set(self.table.freed())
        assert not freed & needed

    def check_containers(self) -> None:
        """Behind a checkpoint, live bytes are those of the slices that it refers to."""
        self.account()
        self.commit(*self.encode())
        self.commit(*self.encode())
        directory = self.extent_map.directory
        assert not directory.superseded
        assert not self.table.superseded
        refs = [self.state.root, *directory.refs.values(), *self.table.refs.values()]
        for number, ref in sorted(directory.refs.items()):
            leaf = Leaf.decoded(self.fetch(Need(SliceKind.LEAF, number, (ref,)))[0])
            refs += [part for chain in leaf.chains.values() for part in unpack_refs(chain)]
        expected: Counter[int] = Counter()
        for ref in refs:
            assert ref is not None
            expected[ref.container] += ref.length
        live = {index: entry.live for index, entry in self.containers.items() if entry.live}
        assert live == dict(expected)

    def check_snapshots(self) -> None:
        """Every snapshot opens, and is the disk as it was."""
        for _snapshot, kept in self.snapshots.values():
            other = Volume(slices=self.slices)
            loaded = self.opened(kept)
            other.extent_map, other.containers = loaded.extent_map, loaded.containers
            other.load(0, SECTORS, False)
            assert other.extent_map.runs(0, SECTORS) == kept.disk


def change(volume: Volume, name: str, argument: object) -> None:
    """One step, by what it is called and is done with."""
    match name, argument:
        case "write", (int(start), int(end)):
            volume.write(start, end)
        case "hole", [int(start), int(end)]:
            volume.zero(start, end, HOLE)
        case "zero", [int(start), int(end)]:
            volume.zero(start, end, ZERO)
        case "collect", [int(start), int(end)]:
            volume.collect(start, end)
        case "account", None:
            volume.account()
        case "evict", None:
            volume.extent_map.evict(0)
        case "stepwise checkpoint", list(changes):
            volume.commit_during(*volume.encode(), changes)
        case "checkpoint", list(changes):
            written = volume.encode()
            for name_, argument_ in changes:
                change(volume, name_, argument_)
            volume.commit(*written)
        case "failed checkpoint", list(changes):
            failed, _kept = volume.encode()
            for name_, argument_ in changes:
                change(volume, name_, argument_)
            failed.abandon()
        case "crash", None:
            volume.crash()
        case "snapshot", None:
            volume.snapshot()
        case "delete snapshot", int(which):
            volume.delete_snapshot(which)
        case "compact", int(limit):
            volume.compact(limit)
        case _:
            raise AssertionError(name)


def count(runs: list[Run]) -> dict[int, int]:
    held: Counter[int] = Counter()
    for start, end, value in runs:
        if value >= DATA:
            held[values.index(value)] += end - start
    return dict(held)
