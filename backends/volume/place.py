"""Where one volume lies, for its operator: the contract of `IVolumePlace` over any store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from backends.objects.contract import IObjectStore, StoreError
from backends.volume.attaching import Caches
from backends.volume.creating import check_empty, create
from backends.volume.describing import admission, describe
from backends.volume.environment import Environment
from backends.volume.finding import folders
from backends.volume.inspection.checking import check
from backends.volume.inspection.measuring import garbage, usage
from backends.volume.inspection.rebuilding import rebuild
from backends.volume.inspection.repairing import repair
from backends.volume.inspection.scrubbing import scrub
from backends.volume.inspection.view import Inspected
from backends.volume.names import Names
from backends.volume.opening import NoStore, Opening, Storage, environment_of, open_volume
from backends.volume.reading_at_rest import read_snapshot
from backends.volume.releasing import releasing
from backends.volume.removing import remove
from backends.volume.shared_caches import MEMORY
from backends.volume.superblocks import NoVolume, current, newest
from backends.volume.volume import Volume
from backends.volume.volume_settings import VolumeSettings, key_source
from gateway.errors import Corrupt, ExportUnavailable, Unavailable, UnknownExport
from gateway.interfaces import IExport, Resources
from gateway.maintenance import (
    IVolumePlace,
    Progress,
    StoreTrait,
    Usage,
    Verdict,
    VolumeDescription,
)

T = TypeVar("T")


@implementer(IVolumePlace)
class VolumePlace:
    """
    One place.

    Each call that opens the volume has a store of its own, which goes with what it answers.

    Args:
        where: the place, in one line.
        storage: makes what is to be written to; or, given True, only to be read.
        settings: of the volume.
        resources: lent.
        environment: this machine's by default.
    """

    _log = Logger()

    def __init__(
        self,
        where: str,
        storage: Callable[[bool], Storage],
        settings: VolumeSettings,
        resources: Resources,
        environment: Environment | None = None,
    ) -> None:
        self.where = where
        self._storage = storage
        # Whoever passes by neither fills a gateway's cache nor begins work of its own accord.
        self._settings = attrs.evolve(settings, size=None, cache_size=0, gc=False, sweep_delay=0.0)
        self._given = settings
        self._resources = resources
        self._environment = environment or environment_of(resources)
        self._names = Names(settings.prefix)

    def volumes(self) -> Deferred[list[VolumeDescription]]:
        """As `IVolumePlace.volumes`."""
        return self._answer(self._with_store(self._volumes))

    def describe(self) -> Deferred[VolumeDescription]:
        """As `IVolumePlace.describe`."""
        return self._answer(self._with_store(self._describe))

    def create(self, size: int, description: str) -> Deferred[VolumeDescription]:
        """As `IVolumePlace.create`."""

        async def make(store: IObjectStore) -> VolumeDescription:
            source = await self._environment.call_in_thread(key_source, self._given)
            await check_empty(store, self._names.prefix)
            await self._storage(False).check(store)
            made = await create(
                store,
                self._names.prefix,
                size,
                self._environment,
                codec=self._given.codec,
                source=source,
                description=description,
            )
            return describe(made, self._names.prefix, self._environment.process)

        return self._answer(self._with_store(make, writing=True))

    def attach(self, take_over: bool) -> Deferred[IExport]:
        """As `IVolumePlace.attach`."""

        async def attached() -> IExport:
            await self._with_store(self._current)
            admit = admission(self.where, self._environment.process, take_over)
            return await open_volume(
                self._storage(False),
                self._names.prefix,
                self._settings,
                False,
                self._resources,
                admit,
            )

        return self._answer(attached())

    def read(self, snapshot: str | None) -> Deferred[IExport]:
        """As `IVolumePlace.read`."""
        return self._answer(self._read(snapshot))

    def delete(self, progress: Progress, take_over: bool = False) -> Deferred[int]:
        """As `IVolumePlace.delete`."""

        async def gone(store: IObjectStore) -> int:
            source = await self._environment.call_in_thread(key_source, self._settings)
            admit = admission(self.where, self._environment.process, take_over)
            return await remove(store, self._names, self._environment, source, admit, progress)

        return self._answer(self._with_store(gone, writing=True))

    def usage(self, progress: Progress) -> Deferred[Usage]:
        """As `IVolumePlace.usage`."""
        return self._answer(self._inspect(lambda it: usage(it, progress)))

    def garbage(self, progress: Progress) -> Deferred[tuple[int, int]]:
        """As `IVolumePlace.garbage`."""
        options = self._given.options()
        return self._answer(self._inspect(lambda it: garbage(it, options, progress)))

    def check(self, progress: Progress) -> Deferred[Verdict]:
        """As `IVolumePlace.check`."""
        return self._answer(self._inspect(lambda it: check(it, progress)))

    def repair(self, progress: Progress, take_over: bool = False) -> Deferred[Verdict]:
        """As `IVolumePlace.repair`."""
        admit = admission(self.where, self._environment.process, take_over)
        return self._answer(self._inspect(lambda it: repair(it, admit, progress), True))

    def rebuild(self, progress: Progress, take_over: bool = False) -> Deferred[Verdict]:
        """As `IVolumePlace.rebuild`."""
        admit = admission(self.where, self._environment.process, take_over)
        return self._answer(self._inspect(lambda it: rebuild(it, admit, progress), True))

    def scrub(self, progress: Progress, rate: float) -> Deferred[Verdict]:
        """As `IVolumePlace.scrub`."""
        return self._answer(self._inspect(lambda it: scrub(it, progress, rate)))

    def probe(self) -> Deferred[list[StoreTrait]]:
        """As `IVolumePlace.probe`."""
        storage = self._storage(False)

        async def tried() -> list[StoreTrait]:
            store = await storage.make()
            try:
                return await storage.traits(store)
            finally:
                await store.close()

        return self._answer(tried())

    def change_keys(self, new: Any) -> Deferred[None]:
        """As `IVolumePlace.change_keys`."""
        return self._answer(self._with_store(lambda store: self._change_keys(store, new), True))

    def close(self) -> Deferred[None]:
        """As `IVolumePlace.close`: there is nothing that is kept."""

        async def nothing() -> None:
            pass

        return Deferred.fromCoroutine(nothing())

    async def _inspect(self, do: Callable[[Inspected], Awaitable[T]], writing: bool = False) -> T:
        source = await self._environment.call_in_thread(key_source, self._settings)

        async def inspect(store: IObjectStore) -> T:
            return await do(Inspected(store, self._names.prefix, self._environment, source))

        return await self._with_store(inspect, writing)

    async def _current(self, store: IObjectStore) -> None:
        await current(store, self._names)

    async def _describe(self, store: IObjectStore) -> VolumeDescription:
        found = await newest(store, self._names)
        if found is None or found.superblock.state != "deleting":
            found = await current(store, self._names)
        return describe(found.superblock, self._names.prefix, self._environment.process)

    async def _volumes(self, store: IObjectStore) -> list[VolumeDescription]:
        found = []
        for folder in await folders(store, self._names.prefix):
            try:
                superblock = await newest(store, Names(folder))
            except Corrupt as damage:
                self._log.warn("left out: {damage}", damage=str(damage))
                continue
            if superblock is not None and superblock.superblock.state != "deleted":
                one = superblock.superblock
                found.append(describe(one, folder, self._environment.process))
        return found

    async def _read(self, snapshot: str | None) -> IExport:
        if snapshot is None:
            await self._with_store(self._current)
            return await open_volume(
                self._storage(True), self._names.prefix, self._settings, True, self._resources
            )
        source = await self._environment.call_in_thread(key_source, self._settings)
        store = await self._storage(True).make()
        memory = MEMORY.borrow(self._settings.memory_cache)

        async def release() -> None:
            MEMORY.give_back(memory)
            await store.close()

        try:
            export = await read_snapshot(
                store,
                self._names.prefix,
                snapshot,
                self._environment,
                self._settings.options(),
                Caches(memory=memory),
                source,
            )
        except BaseException:
            await release()
            raise
        return releasing(export, release)

    async def _change_keys(self, store: IObjectStore, new: Any) -> None:
        in_thread = self._environment.call_in_thread
        source = await in_thread(key_source, self._settings)
        wanted = await in_thread(key_source, new)
        if source is None or wanted is None:
            raise ExportUnavailable(
                f"{self.where}: expected a key or passphrase that opens the volume now, and"
                " another one that shall"
            )
        await current(store, self._names)
        opening = Opening(
            self._storage(False),
            store,
            self._names.prefix,
            self._settings,
            False,
            self._resources,
            admission(self.where, self._environment.process, False),
        )
        try:
            volume = await opening.run()
            assert isinstance(volume, Volume), "it was opened for writing"
            try:
                await volume.change_key(source, [wanted])
            finally:
                closing = volume.close()
                if closing is not None:
                    await closing
        finally:
            await opening.give_back()

    async def _with_store(
        self, do: Callable[[IObjectStore], Awaitable[T]], writing: bool = False
    ) -> T:
        store = await self._storage(not writing).make()
        try:
            return await do(store)
        finally:
            await store.close()

    def _answer(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        async def answer() -> T:
            try:
                return await work
            except (NoVolume, NoStore):
                raise UnknownExport(f"{self.where}: there is no volume") from None
            except StoreError as failure:
                raise Unavailable(str(failure)) from None

        return Deferred.fromCoroutine(answer())
