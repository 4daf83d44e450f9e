"""A volume, or a snapshot of one, that is only read."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from backends.volume.extents import extents
from backends.volume.reading import Reader
from backends.volume.recent import Recent
from backends.volume.stored_map import StoredMap
from gateway.errors import Closed, ReadOnly
from gateway.info import MIB, Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, NowOrLater


@implementer(IExport)
class ReadOnlyVolume:
    """
    A disk that nobody changes through this export.

    Args:
        size: bytes.
        recent: what lies over the map; None for nothing.
        stored: its map.
        reader: reads through it.
        closed: called once when it is closed.
    """

    def __init__(
        self,
        size: int,
        recent: Recent | None,
        stored: StoredMap,
        reader: Reader,
        closed: Callable[[], NowOrLater[None]],
    ) -> None:
        self.info = ExportInfo(
            size=size, read_only=True, preferred_block=MIB, abilities=Abilities(cache=True)
        )
        self._recent = recent
        self._stored = stored
        self._reader = reader
        self._tell_closed: Callable[[], NowOrLater[None]] | None = closed

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """As `IExport.read_into`."""
        self._check()
        return self._reader.read_into(offset, buffer)

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        """As `IExport.read`."""
        self._check()
        return self._reader.now_or_later(offset, length)

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        """Refused."""
        raise ReadOnly("this export does not change")

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        """Refused."""
        raise ReadOnly("this export does not change")

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        """Refused."""
        raise ReadOnly("this export does not change")

    def flush(self) -> NowOrLater[None]:
        """Nothing to do."""
        self._check()
        return None

    def extents(self, offset: int, length: int, first_only: bool) -> NowOrLater[list[Extent]]:
        """As `IExport.extents`."""
        self._check()
        return extents(self._recent, self._stored, offset, length, first_only)

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        """As `IExport.cache`."""
        self._check()
        return self._reader.cache(offset, length)

    def close(self) -> NowOrLater[None]:
        """As `IExport.close`."""
        if self._tell_closed is not None:
            tell, self._tell_closed = self._tell_closed, None
            return tell()
        return None

    def _check(self) -> None:
        if self._tell_closed is None:
            raise Closed("the export is closed")
