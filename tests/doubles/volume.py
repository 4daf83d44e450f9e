"""A volume with snapshots, in memory: what it was, where it was changed since, and a provider."""

from __future__ import annotations

import dataclasses

import attrs
from twisted.internet.defer import execute
from twisted.plugin import IPlugin
from zope.interface import implementer

from backends.memory import MemoryExport
from gateway import settings
from gateway.errors import ExportUnavailable, UnknownExport
from gateway.info import Collected, SnapshotInfo
from gateway.interfaces import IDerivedExports, IStorageProvider, IVolume
from tests.doubles.changed_blocks import ChangedBlocks


def _later(function):
    """As `IVolume` answers: through a Deferred, failures as well."""

    def later(self, *args):
        return execute(function, self, *args)

    return later


@implementer(IDerivedExports, IVolume)
class Volume(ChangedBlocks):
    """
    Takes snapshots; each is a copy. Everything is done at once.

    Args:
        size: bytes.

    Attributes:
        opened, closed: the names of snapshots opened and closed, in order.
        clones: the name of each, and the bytes it starts with.
    """

    def __init__(self, size):
        super().__init__(MemoryExport(size))
        self.opened = []
        self.closed = []
        self.clones = {}
        self._snapshots = {}

    @_later
    def snapshots(self):
        return [self._info_of(name) for name in self._snapshots]

    @_later
    def take_snapshot(self, name):
        if name in self._snapshots:
            raise ExportUnavailable(f"there is a snapshot {name!r} already")
        self._snapshots[name] = bytes(self._export.read(0, self.info.size))
        self.remember(name)
        return self._info_of(name)

    @_later
    def delete_snapshot(self, name):
        self._find(name)
        del self._snapshots[name]
        self.forget(name)

    @_later
    def roll_back(self, name):
        then = self._find(name)
        self.write_zeroes(0, self.info.size, True, False, False)
        self.write(0, then, False)

    @_later
    def clone(self, snapshot, name):
        self.clones[name] = self._find(snapshot)

    @_later
    def grow(self, size):
        if size < self.info.size:
            raise ExportUnavailable(f"size: got {size}, expected at least {self.info.size}")
        grown = MemoryExport(size)
        grown.write(0, self._export.read(0, self.info.size), False)
        self._export = grown
        self.info = dataclasses.replace(self.info, size=size)

    @_later
    def collect(self):
        return Collected(emptied=2, swept=1)

    @_later
    def facts(self):
        return {"uuid": "0" * 32, "snapshots": len(self._snapshots)}

    @_later
    def derived(self, name):
        then = self._find(name)
        self.opened.append(name)
        return _Snapshot(self, name, then)

    def _find(self, name):
        if name not in self._snapshots:
            raise UnknownExport(f"there is no snapshot {name!r}")
        return self._snapshots[name]

    def _info_of(self, name):
        """The first was taken at 1,700,000,000 seconds, each later one a second after."""
        return SnapshotInfo(
            name, len(self._snapshots[name]), 1_700_000_000.0 + list(self._snapshots).index(name)
        )


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
