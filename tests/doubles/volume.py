"""A volume with snapshots, in memory: what it was, where it was changed since, and a provider."""

from __future__ import annotations

import attrs
from twisted.internet.defer import succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from backends.memory import MemoryExport
from gateway import settings
from gateway.errors import UnknownExport
from gateway.interfaces import IDerivedExports, IStorageProvider
from tests.doubles.changed_blocks import ChangedBlocks


@implementer(IDerivedExports)
class Volume(ChangedBlocks):
    """
    Takes snapshots; each is a copy.

    Args:
        size: bytes.

    Attributes:
        opened, closed: the names of snapshots opened and closed, in order.
    """

    def __init__(self, size):
        super().__init__(MemoryExport(size))
        self.opened = []
        self.closed = []
        self._snapshots = {}

    def take_snapshot(self, name):
        self._snapshots[name] = bytes(self._export.read(0, self.info.size))
        self.remember(name)

    def delete_snapshot(self, name):
        del self._snapshots[name]
        self.forget(name)

    def derived(self, name):
        if name not in self._snapshots:
            raise UnknownExport(name)
        self.opened.append(name)
        return succeed(_Snapshot(self, name, self._snapshots[name]))


class _Snapshot(MemoryExport):
    def __init__(self, volume, name, data):
        super().__init__(len(data), read_only=True)
        self._volume, self._name = volume, name
        for offset in range(0, len(data), 65536):
            if any(piece := data[offset : offset + 65536]):
                self.write(offset, piece, False)

    def close(self):
        self._volume.closed.append(self._name)
        return super().close()


@attrs.frozen
class VolumeSettings:
    """Keys of ``provider = volumes``."""

    size: int = settings.setting(settings.size, "Bytes.")
    snapshots: tuple[str, ...] = settings.setting(
        settings.words, "Taken of a disk that holds 64 KiB of 0xaa and nothing else.", ()
    )


@implementer(IPlugin, IStorageProvider)
class VolumeProvider:
    """``provider = volumes``, for a gateway in a process of its own."""

    name = "volumes"
    settings = VolumeSettings

    def problems(self, settings, read_only):
        return []

    def identity(self, settings):
        return None

    def describe(self, settings):
        return f"{settings.size} bytes"

    def open_export(self, name, settings, read_only, resources):
        volume = Volume(settings.size)
        volume.write(0, b"\xaa" * 65536, False)
        for snapshot in settings.snapshots:
            volume.take_snapshot(snapshot)
        return volume
