"""What the operator of an open volume can do with it: the contract of `IVolume`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from backends.objects.contract import IObjectStore, StoreError
from backends.volume.cloning import clone
from backends.volume.creating import check_empty
from backends.volume.environment import Environment
from backends.volume.facts import facts
from backends.volume.frame_cache import FrameCache
from backends.volume.keys import KeySource
from backends.volume.superblock import Snapshot
from backends.volume.volume import Volume
from backends.volume.volume_settings import folder
from gateway.errors import ExportUnavailable, Unavailable
from gateway.info import Collected, SnapshotInfo
from gateway.interfaces import IVolume
from gateway.settings import BadValue

T = TypeVar("T")


@implementer(IVolume)
@attrs.frozen(eq=False)
class VolumeOperations:
    """
    Operations on a volume, and on the store that it lies in.

    Attributes:
        volume: attached, for writing.
        store: of the volume.
        prefix: of the volume.
        environment: of the volume.
        memory: its cache.
        source: what opens the volume, and will open its clones; None if it is
            not encrypted.
    """

    volume: Volume
    store: IObjectStore
    prefix: str
    environment: Environment
    memory: FrameCache
    source: KeySource | None = None

    def snapshots(self) -> Deferred[list[SnapshotInfo]]:
        """As `IVolume.snapshots`."""
        return succeed([_info(one) for one in self.volume.snapshots.all()])

    def take_snapshot(self, name: str) -> Deferred[SnapshotInfo]:
        """As `IVolume.take_snapshot`."""

        async def take() -> SnapshotInfo:
            return _info(await self.volume.snapshots.take(name))

        return self._change(take)

    def delete_snapshot(self, name: str) -> Deferred[None]:
        """As `IVolume.delete_snapshot`."""
        return self._change(lambda: self.volume.snapshots.delete(name))

    def roll_back(self, name: str) -> Deferred[None]:
        """As `IVolume.roll_back`."""
        return self._change(lambda: self._roll_back(name))

    def clone(self, snapshot: str, name: str) -> Deferred[None]:
        """As `IVolume.clone`; the name is the clone's ``prefix``."""
        return self._change(lambda: self._clone(snapshot, name))

    def grow(self, size: int) -> Deferred[None]:
        """As `IVolume.grow`."""
        return self._change(lambda: self.volume.grow(size))

    def collect(self) -> Deferred[Collected]:
        """As `IVolume.collect`: until what is live is as dense as the collector keeps it."""
        return self._change(self._collect)

    def facts(self) -> Deferred[dict[str, int | str]]:
        """As `IVolume.facts`; see `backends.volume.facts`."""
        return _answer(facts(self.volume.parts, self.memory))

    def _change(self, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        async def change() -> T:
            # What a volume has begun it tries until it is done. So that no operator waits for
            # a store that is away, nothing is begun before the store has answered.
            parts = self.volume.parts
            parts.condition.check()
            await parts.authority.confirm()
            return await work()

        return _answer(change())

    async def _roll_back(self, name: str) -> None:
        # A client that is gone may have left writes that wait for room. Changes are made
        # in order, so once this one, of nothing, is made, so are they.
        waiting = self.volume.trim(0, 0, False)
        if isinstance(waiting, Deferred):
            await waiting
        await self.volume.snapshots.roll_back(name)

    async def _clone(self, snapshot: str, name: str) -> None:
        self.volume.snapshots.find(snapshot)
        try:
            prefix = folder(name)
        except BadValue as expected:
            raise ExportUnavailable(f"name: got {name[:100]!r}, expected {expected}") from None
        if f"{prefix}/".startswith(f"{self.prefix}/") or f"{self.prefix}/".startswith(f"{prefix}/"):
            raise ExportUnavailable(
                f"name: got {name!r}, expected a place beside that of this volume, {self.prefix!r}"
            )
        await check_empty(self.store, prefix, "name")
        await clone(
            self.store,
            self.prefix,
            snapshot,
            prefix,
            self.environment,
            source=self.source,
            description=prefix,
        )

    async def _collect(self) -> Collected:
        volume = self.volume
        # What was written over counts from a checkpoint on.
        await volume.checkpoint()
        emptied = 0
        # More than there were when it began is work on its own results.
        most = len(volume.parts.stored.objects)
        while emptied < most:
            now = await volume.collect()
            if not now:
                break
            emptied += now
        return Collected(emptied, await volume.sweep())


def _info(snapshot: Snapshot) -> SnapshotInfo:
    return SnapshotInfo(snapshot.name, snapshot.size, snapshot.created_ms / 1000)


def _answer(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    async def answer() -> T:
        try:
            return await work
        except StoreError as failure:
            raise Unavailable(str(failure)) from None

    return Deferred.fromCoroutine(answer())
