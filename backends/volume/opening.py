"""From settings to an open volume: what is under it is opened first, and goes if anything fails."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import attrs
from twisted.logger import Logger
from zope.interface import Interface

from backends.objects.contract import IObjectStore, StoreError
from backends.volume.attaching import Caches, attach, attach_read_only
from backends.volume.creating import check_empty, create
from backends.volume.disk_cache import DiskCache
from backends.volume.environment import Environment
from backends.volume.frames import CODECS, missing_package
from backends.volume.journal import Journal
from backends.volume.journal_opening import with_journal
from backends.volume.keys import KeySource
from backends.volume.measures import VolumeMeasures
from backends.volume.names import Names
from backends.volume.operations import VolumeOperations
from backends.volume.processes import this_process
from backends.volume.releasing import releasing
from backends.volume.shared_caches import CACHES, MEMORY
from backends.volume.superblock import Superblock
from backends.volume.superblocks import Found, NoVolume, current
from backends.volume.volume import Volume
from backends.volume.volume_settings import VolumeSettings, key_source
from gateway.errors import ExportUnavailable, StorageError
from gateway.interfaces import IExport, Resources
from gateway.maintenance import StoreTrait


class NoStore(ExportUnavailable):
    """There is nothing yet where the store would be."""


@attrs.frozen
class Storage:
    """
    Where a volume lies.

    Attributes:
        make: the store; nothing is asked of it.
        check: whether a volume may be written there; raises
            `ExportUnavailable` or `StoreError` if not.
        traits: tries what the store can do, for people.
    """

    make: Callable[[], Awaitable[IObjectStore]]
    check: Callable[[IObjectStore], Awaitable[None]]
    traits: Callable[[IObjectStore], Awaitable[list[StoreTrait]]]


def environment_of(resources: Resources, name: str = "") -> Environment:
    """
    The real one: this machine's time, randomness and name.

    Args:
        name: the export's.
    """
    return Environment(
        clock=resources.reactor,
        random=Random(),
        secret_bytes=os.urandom,
        wall=time.time,
        call_in_thread=resources.call_in_thread,
        process=this_process(),
        tell=partial(resources.tell, name),
    )


async def open_volume(
    storage: Storage,
    name: str,
    settings: VolumeSettings,
    read_only: bool,
    resources: Resources,
    admit: Callable[[Superblock], None] = lambda last: None,
) -> IExport:
    """
    Open a volume, and create it where there is none.

    Args:
        name: the export's, for people.
        settings: without problems.
        admit: raises if the volume may not be taken over; a gateway takes over whatever there is.

    Raises:
        ExportBusy: another process has its journal, or takes the volume over.
        ExportUnavailable: with what the store, the volume or its journal said.
    """
    try:
        store = await storage.make()
        opening = Opening(storage, store, name, settings, read_only, resources, admit)
        try:
            export = await opening.run()
        except BaseException:
            await opening.release()
            raise
    except (StoreError, StorageError) as error:
        raise ExportUnavailable(str(error)) from error
    return releasing(export, opening.release, *opening.operations(export))


class Opening:
    """One volume on its way to being open; arguments as for `open_volume`."""

    _log = Logger()

    def __init__(
        self,
        storage: Storage,
        store: IObjectStore,
        name: str,
        settings: VolumeSettings,
        read_only: bool,
        resources: Resources,
        admit: Callable[[Superblock], None] = lambda last: None,
    ) -> None:
        self._storage = storage
        self._store = store
        self._name = name
        self._settings = settings
        self._read_only = read_only
        self._admit = admit
        self._state_dir = resources.state_dir
        self._environment = environment_of(resources, name)
        self._memory = MEMORY.borrow(settings.memory_cache)
        self._disk: DiskCache | None = None
        self._source: KeySource | None = None

    async def run(self) -> IExport:
        settings = self._settings
        in_thread = self._environment.call_in_thread
        source: KeySource | None = await in_thread(key_source, settings)
        self._source = source
        found: Found | None = None
        with suppress(NoVolume):
            found = await current(self._store, Names(settings.prefix))
        if found is None:
            self._check_that_it_may_be_made()
        if not self._read_only:
            await self._storage.check(self._store)
        if found is None:
            superblock = await self._create(source)
        else:
            superblock = found.superblock
            self._compare(superblock)
        if settings.cache_size:
            directory = os.path.join(self._state_dir, "cache")
            self._disk = await in_thread(CACHES.borrow, directory, settings.cache_size)
        caches = Caches(memory=self._memory, disk=self._disk)
        return await self._attach(superblock.volume, caches, source, found)

    def operations(self, export: IExport) -> list[Interface]:
        """For the operator of what `run` has answered; less if it is only read."""
        parts = export.parts if isinstance(export, Volume) else None
        measures: Any = VolumeMeasures(self._store, self._memory, self._disk, parts)
        if not isinstance(export, Volume):
            return [measures]
        prefix, environment = self._settings.prefix, self._environment
        operations: Any = VolumeOperations(
            export, self._store, prefix, environment, self._memory, self._source
        )
        return [operations, measures]

    async def release(self) -> None:
        """Let go of all that is under the volume."""
        try:
            await self._store.close()
        finally:
            await self.give_back()

    async def give_back(self) -> None:
        """Let go of what is shared with other volumes."""
        disk, self._disk = self._disk, None
        MEMORY.give_back(self._memory)
        if disk is not None:
            await self._environment.call_in_thread(CACHES.give_back, disk)

    def _check_that_it_may_be_made(self) -> None:
        where = f"{self._store.describe()}, prefix {self._settings.prefix}"
        if self._read_only:
            raise ExportUnavailable(f"there is no volume in {where}, for read_only = yes")
        if self._settings.size is None:
            raise ExportUnavailable(f"there is no volume in {where}: expected a size to create it")

    async def _create(self, source: KeySource | None) -> Superblock:
        settings = self._settings
        assert settings.size is not None
        await check_empty(self._store, settings.prefix)
        self._log.info(
            "export {export}: creating a volume of {size} bytes in {store}, prefix {prefix}",
            export=self._name,
            size=settings.size,
            store=self._store.describe(),
            prefix=settings.prefix,
        )
        return await create(
            self._store,
            settings.prefix,
            settings.size,
            self._environment,
            codec=settings.codec,
            source=source,
            description=self._name,
        )

    def _compare(self, superblock: Superblock) -> None:
        """An existing volume keeps what it is."""
        settings = self._settings
        if settings.size not in (None, superblock.size):
            self._log.warn(
                "export {export} keeps the size of its volume, {found} bytes; size = {asked} is"
                " for a new one",
                export=self._name,
                found=superblock.size,
                asked=settings.size,
            )
        package = missing_package(CODECS[superblock.codec])
        if package is not None:
            raise ExportUnavailable(
                f"the volume is compressed with {superblock.codec}: expected the Python package"
                f" {package} to be installed"
            )

    async def _attach(
        self, volume: bytes, caches: Caches, source: KeySource | None, found: Found | None
    ) -> IExport:
        settings = self._settings
        store, prefix = self._store, settings.prefix
        environment, options = self._environment, settings.options()
        if self._read_only:
            reader: IExport = await attach_read_only(
                store, prefix, environment, options, caches, source, found
            )
            return reader

        async def attached(journal: Journal | None) -> IExport:
            return await attach(
                store,
                prefix,
                environment,
                options,
                caches,
                source,
                journal,
                settings.accept_loss,
                self._admit,
                found,
            )

        if settings.durability == "store":
            return await attached(None)
        directory = os.path.join(self._state_dir, "journals")
        return await with_journal(directory, settings.journal_size, volume, environment, attached)
