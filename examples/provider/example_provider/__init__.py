"""A storage provider of a third party: a read-only disk full of one byte, for trying readers."""

from __future__ import annotations

from collections.abc import Hashable

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway import settings
from gateway.errors import Closed, ReadOnly
from gateway.info import MAX_EXPORT_SIZE, Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, IStorageProvider, Resources


def byte(text: str) -> int:
    """A number from 0 to 255."""
    if not text.isdecimal() or int(text) > 255:
        raise settings.BadValue("a number from 0 to 255")
    return int(text)


@attrs.frozen
class PatternSettings:
    """The keys of a section with ``provider = pattern``."""

    size: int = settings.setting(settings.size, "Bytes of the disk.")
    fill: int = settings.setting(byte, "The byte that it is full of.", 0)


@implementer(IExport)
class PatternExport:
    """A disk that holds one byte, again and again; takes no memory."""

    def __init__(self, size: int, fill: int) -> None:
        # Read-only: the protocol never asks for what a write needs.
        self.info = ExportInfo(size, read_only=True, abilities=Abilities(cache=False))
        self._fill = fill
        self._closed = False

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        if self._closed:
            raise Closed("the export is closed")
        buffer[:] = bytes([self._fill]) * len(buffer)
        return True

    def read(self, offset: int, length: int) -> Buffer:
        if self._closed:
            raise Closed("the export is closed")
        return bytes([self._fill]) * length

    def write(self, offset: int, data: Buffer, fua: bool) -> None:
        raise ReadOnly("a pattern cannot be changed")

    def write_zeroes(self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool) -> None:
        raise ReadOnly("a pattern cannot be changed")

    def trim(self, offset: int, length: int, fua: bool) -> None:
        raise ReadOnly("a pattern cannot be changed")

    def flush(self) -> None:
        if self._closed:
            raise Closed("the export is closed")

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        if self._closed:
            raise Closed("the export is closed")
        return [Extent(length, hole=False, zero=self._fill == 0)]

    def cache(self, offset: int, length: int) -> None:
        if self._closed:
            raise Closed("the export is closed")

    def close(self) -> None:
        self._closed = True


@implementer(IPlugin, IStorageProvider)
class PatternProvider:
    """``provider = pattern``."""

    name = "pattern"
    settings = PatternSettings

    def problems(self, settings: PatternSettings, read_only: bool) -> list[str]:
        if settings.size > MAX_EXPORT_SIZE:
            return [f"size: got {settings.size}, expected at most {MAX_EXPORT_SIZE}"]
        return []

    def identity(self, settings: PatternSettings) -> Hashable | None:
        return None  # any number of exports may show the same

    def describe(self, settings: PatternSettings) -> str:
        return f"{settings.size} bytes of {settings.fill}"

    def open_export(
        self, name: str, settings: PatternSettings, read_only: bool, resources: Resources
    ) -> IExport:
        return PatternExport(settings.size, settings.fill)
