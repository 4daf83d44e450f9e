"""Writing checkpoints, and deleting what they make superfluous."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from backends.objects.contract import Exists, IObjectStore, NotFound, StoreError
from backends.volume.authority import Authority
from backends.volume.checkpoint import State, Written, load_root, write
from backends.volume.condition import Condition
from backends.volume.deleting import Deleter
from backends.volume.directory import Directory, SliceRef
from backends.volume.environment import Environment, Options
from backends.volume.extent_map import ExtentMap
from backends.volume.fetching import Fetcher
from backends.volume.header import Codec
from backends.volume.lineage import Lineage
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable
from backends.volume.sealing import Sealed
from backends.volume.slices import FIRST_OFFSET, SliceKind, open_slice, seal_checkpoint, seal_slice
from backends.volume.stored_map import StoredMap
from backends.volume.superblock import Root, Snapshot, Superblock
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.turns import Turn
from backends.volume.units import SECTOR
from gateway.errors import Closed, Corrupt, Fenced, StorageError, Unavailable

T = TypeVar("T")

#: Bytes of slices at which a further object is begun.
_OBJECT = 16 << 20

#: Seconds before a put that failed is tried again.
_AGAIN = 1.0


async def load(
    store: IObjectStore, lineage: Lineage, size: int, root: Root | None, written_by: int
) -> StoredMap:
    """
    The map of a version: its root and tables are fetched, the rest comes when it is needed.

    Args:
        size: bytes of the disk.
        root: where it starts; None for an empty disk.
        written_by: number of the lineage's member that wrote the root.

    Raises:
        Corrupt: root or tables are damaged.
        StoreError: the store did not answer.
    """
    sectors = size // SECTOR
    if root is None:
        empty = ExtentMap(sectors, Directory())
        return StoredMap(store, lineage, empty, ObjectTable(), ObjectTable(), State())
    member = lineage[written_by]
    key = member.names.ck(root.epoch, root.n)
    crypt = None
    if member.crypt is not None:
        crypt = member.crypt.object(Kind.CHECKPOINT, root.epoch, 0, root.n)
    try:
        body = await store.get(key, root.offset, root.stored_length)
    except NotFound:
        raise Corrupt(f"{key} is missing from the store, and the map starts in it") from None
    plain = open_slice(SliceKind.ROOT, body, crypt, root.offset, key)
    try:
        loaded = load_root(plain, root.epoch, root.n, root.offset, root.stored_length)
    except ValueError as error:
        raise Corrupt(f"{key}: {error}") from None
    loaded.extent_map.sectors = sectors
    stored = StoredMap(
        store, lineage, loaded.extent_map, loaded.table, loaded.containers, loaded.state
    )
    needs = loaded.table.needs()
    for need, plains in zip(needs, await stored.fetch(needs), strict=True):
        loaded.table.supply(need, plains[0])
    return stored


class CheckpointObjects:
    """
    Slices as they are sealed into one checkpoint object after the other.

    Args:
        member: the volume that writes: names and keys.
        writer, epoch, wall_ms: for headers.
        codec: for slices.
        containers: where the objects are entered.
        state: names them.
    """

    def __init__(
        self,
        lineage: Lineage,
        superblock: Superblock,
        wall_ms: int,
        containers: ObjectTable,
        state: State,
    ) -> None:
        self._member = lineage.own
        self._superblock = superblock
        self._wall_ms = wall_ms
        self._codec = Codec[superblock.codec.upper()]
        self._containers = containers
        self._state = state
        self._version = state.version  # it goes on while the objects are on their way
        self._objects: list[tuple[int, list[bytes]]] = []
        self._container = 0
        self._size = 0

    def emit(self, kind: SliceKind, plain: bytes) -> SliceRef:
        """Seal a slice and say where it will lie."""
        superblock, state = self._superblock, self._state
        if not self._objects or self._size >= _OBJECT:
            self._objects.append((state.next_n, []))
            entry = Entry(
                ObjectKind.CHECKPOINT, 0, superblock.epoch, state.next_n, 0, 0, 0, self._version
            )
            self._container = self._containers.add(entry)
            self._size = FIRST_OFFSET
            state.next_n += 1
        n, slices = self._objects[-1]
        crypt = None
        if self._member.crypt is not None:
            crypt = self._member.crypt.object(Kind.CHECKPOINT, superblock.epoch, 0, n)
        stored = seal_slice(kind, plain, self._codec, crypt, self._size)
        ref = SliceRef(self._container, self._size, len(stored))
        slices.append(stored)
        self._size += len(stored)
        return ref

    def sealed(self) -> list[tuple[str, Sealed]]:
        """The objects with their names."""
        superblock = self._superblock
        return [
            (
                self._member.names.ck(superblock.epoch, n),
                seal_checkpoint(
                    superblock.volume,
                    superblock.writer,
                    superblock.epoch,
                    self._version,
                    n,
                    self._wall_ms,
                    slices,
                    self._member.crypt,
                ),
            )
            for n, slices in self._objects
        ]

    def root(self, ref: SliceRef) -> Root:
        """The root for the superblock; it is in the last object."""
        return Root(
            self._superblock.epoch,
            self._objects[-1][0],
            ref.offset,
            ref.length,
            self._version,
        )


class Checkpointer:
    """
    Makes the map durable, now and then and when asked.

    Args:
        store, lineage, stored, authority, condition, environment, options: of the volume.
        fetcher: knows what is being read, and must not be deleted now.

    Attributes:
        committed: called after each checkpoint.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        stored: StoredMap,
        authority: Authority,
        fetcher: Fetcher,
        condition: Condition,
        environment: Environment,
        options: Options,
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._stored = stored
        self._authority = authority
        self._deleter = Deleter(store, lineage, stored, authority, condition, fetcher)
        self._condition = condition
        self._environment = environment
        self._options = options
        self._turn = Turn()
        self._since = 0  # log objects applied since the last one was begun
        self._edits = self._now()
        self._rest: Any = None
        self._running = False
        self._snapshots = authority.superblock.snapshots
        self._ended = False
        self.committed: Callable[[], None] = lambda: None
        condition.watch(lambda _: self.stop())

    def newest(self) -> Snapshot | None:
        """The newest snapshot, also one that is being taken: it holds what the head lets go."""
        return self._snapshots[-1] if self._snapshots else None

    def applied(self) -> None:
        """Take note that the map has moved on."""
        self._since += 1
        self._stored.map.evict(self._options.map_memory)
        if (
            self._since >= self._options.checkpoint_objects
            or self._stored.map.dirty_memory > self._options.map_memory
        ):
            self.begin()
        elif self._rest is None:
            self._rest = self._environment.clock.callLater(
                self._options.checkpoint_delay, self._rested
            )

    def begin(self) -> None:
        """Start a checkpoint, unless one is being made."""
        if self._running or self._condition.failure is not None:
            return
        self._running = True

        def done(failure: Any) -> None:
            self._running = False
            if failure is not None and not failure.check(StorageError):
                self._log.failure("a checkpoint failed", failure)
                self._condition.fail(Unavailable(f"a checkpoint failed: {failure.value!r}"))

        Deferred.fromCoroutine(self.checkpoint()).addCallbacks(lambda _: done(None), done)

    def stop(self) -> None:
        """No more by themselves."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    async def checkpoint(
        self,
        snapshot: str | None = None,
        prepare: Callable[[], dict[str, Any]] | None = None,
        **changes: Any,
    ) -> None:
        """
        Make the map durable as it is, and put a superblock that says so.

        Args:
            snapshot: the name of one to be taken of it.
            prepare: changes map or tables first, while nobody else does, and
                answers with further changes to the superblock.
            changes: to fields of the superblock.

        Raises:
            Fenced: the volume is not ours any more.
            StorageError: the volume failed meanwhile.
        """
        async with self._turn:
            self._condition.check()
            if self._ended:
                raise Closed("the volume is closed")
            self.stop()
            self._since = 0
            superblock = self._authority.superblock
            state = self._stored.state
            wall_ms = int(self._environment.wall() * 1000)
            written: Written | None = None
            async with self._stored.turn:
                before = self._stored.containers.edits
                changes |= {} if prepare is None else prepare()
                prepared = self._stored.containers.edits != before
                self._snapshots = changes.get("snapshots", self._snapshots)
                objects = CheckpointObjects(
                    self._lineage, superblock, wall_ms, self._stored.containers, state
                )
                edits = self._now()
                if edits != self._edits or prepared or superblock.checkpoint is None:
                    written = await self._write(objects)
                lsn = self._stored.lsn
                if snapshot is not None:
                    number = superblock.next_snapshot_id
                    taken = Snapshot(
                        number, snapshot, state.version, None, superblock.size, wall_ms
                    )
                    self._snapshots = (*superblock.snapshots, taken)
            try:
                for key, sealed in objects.sealed():
                    await self._put(key, sealed)
                root = superblock.checkpoint
                if written is not None and written.root is not None:
                    root = objects.root(written.root)
                if snapshot is not None:
                    taken = attrs.evolve(self._snapshots[-1], root=root)
                    changes["snapshots"] = (*superblock.snapshots, taken)
                    changes["next_snapshot_id"] = taken.id + 1
                if superblock.journal is not None and "journal" not in changes:
                    changes["journal"] = attrs.evolve(superblock.journal, lsn=lsn)
                await self._authority.advance(checkpoint=root, **changes)
            except BaseException:
                if written is not None:
                    written.abandon()
                raise
            self._snapshots = self._authority.superblock.snapshots
            self._edits = edits
            if written is not None:
                self._deleter.begin(await self._in_steps(written.commit_in_steps()))
                self.committed()

    async def advance(self, **changes: Any) -> None:
        """A new superblock over the same checkpoint; never beside a new checkpoint."""
        async with self._turn:
            await self._authority.advance(**changes)
            self._snapshots = self._authority.superblock.snapshots

    async def last(self) -> None:
        """Leave the volume so that the next attachment finds all of it in the map."""
        await self.checkpoint(prepare=self._end, state="closed", journal=None)
        await self._deleter.over()

    def _end(self) -> dict[str, Any]:
        self._ended = True
        return {}

    def _rested(self) -> None:
        self._rest = None
        self.begin()

    def _now(self) -> tuple[int, int]:
        return self._stored.map.edits, self._stored.objects.edits

    async def _write(self, objects: CheckpointObjects) -> Written:
        stored = self._stored
        await stored.account(self.newest())
        return await self._in_steps(
            write(
                stored.map,
                stored.objects,
                stored.containers,
                stored.state,
                self.newest(),
                objects.emit,
            )
        )

    async def _in_steps(self, steps: Generator[None, None, T]) -> T:
        """Long computing, with turns for others in between."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            await deferLater(self._environment.clock, 0)

    async def _put(self, key: str, sealed: Sealed) -> None:
        said = ""
        while True:
            self._condition.check()
            try:
                return await self._store.put(key, sealed.parts, True)
            except Exists:
                # Our epoch is in the name, and our numbers are never used twice.
                self._condition.fail(Fenced(f"{key} exists, with other bytes than ours"))
            except StoreError as failure:
                if str(failure) != said:
                    said = str(failure)
                    self._log.error("cannot store {key}, trying on: {why}", key=key, why=said)
                await deferLater(self._environment.clock, _AGAIN)
