"""What the providers of volumes have in common, whatever store the objects go to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from backends.volume import volume_settings
from backends.volume.opening import Storage, open_volume
from backends.volume.place import VolumePlace
from gateway.interfaces import IExport, Resources
from gateway.maintenance import IVolumePlace, IVolumeStorage


@implementer(IVolumeStorage)
class VolumeProvider(ABC):
    """
    Makes exports of volumes; subclasses say where the objects are.

    Settings are those of `backends.volume.volume_settings.VolumeSettings` and
    the subclass's own.
    """

    name: str
    settings: type
    schemes: tuple[str, ...]

    def problems(self, settings: Any, read_only: bool) -> list[str]:
        """As `IStorageProvider.problems`."""
        return [
            *self.problems_of_store(settings, read_only),
            *volume_settings.problems(settings),
        ]

    @abstractmethod
    def identity(self, settings: Any) -> Hashable | None:
        """As `IStorageProvider.identity`."""

    @abstractmethod
    def describe(self, settings: Any) -> str:
        """As `IStorageProvider.describe`."""

    def open_export(
        self, name: str, settings: Any, read_only: bool, resources: Resources
    ) -> Deferred[IExport]:
        """As `IStorageProvider.open_export`."""
        storage = self.storage(settings, read_only, resources)
        return Deferred.fromCoroutine(open_volume(storage, name, settings, read_only, resources))

    def place(self, settings: Any, resources: Resources) -> IVolumePlace:
        """As `IVolumeStorage.place`."""
        return VolumePlace(
            self.url(settings),
            lambda read_only: self.storage(settings, read_only, resources),
            settings,
            resources,
        )

    @abstractmethod
    def values(self, url: str, store: bool = False) -> Mapping[str, str]:
        """As `IVolumeStorage.values`."""

    @abstractmethod
    def url(self, settings: Any) -> str:
        """As `IVolumeStorage.url`."""

    @abstractmethod
    def problems_of_store(self, settings: Any, read_only: bool) -> list[str]:
        """What is wrong with the keys that are about the store."""

    @abstractmethod
    def storage(self, settings: Any, read_only: bool, resources: Resources) -> Storage:
        """Where the volume lies; opens nothing."""
