"""A volume as an export: the contract of `IExport` on top of log, map and objects."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from backends.volume.attachment import Attachment
from backends.volume.extents import extents, fetched
from backends.volume.units import SECTOR
from gateway.errors import Closed
from gateway.info import MIB, Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, NowOrLater

#: Bytes; what a client that asks for advice is told to write at a time.
PREFERRED = MIB


@implementer(IExport)
class Volume:
    """
    A disk whose bytes are in an object store.

    Args:
        attachment: the parts, put together by `backends.volume.attaching`.
    """

    def __init__(self, attachment: Attachment) -> None:
        self._parts = attachment
        self._closing: Deferred[Any] | None = None

    @property
    def info(self) -> ExportInfo:
        """As `IExport.info`; a connection keeps the size that it saw first."""
        return ExportInfo(
            size=self._parts.size,
            preferred_block=PREFERRED,
            abilities=Abilities(cache=True),
        )

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """As `IExport.read_into`."""
        self._check()
        return self._parts.reader.read_into(offset, buffer)

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        """As `IExport.read`."""
        self._check()
        data = bytearray(length)
        if self._parts.reader.read_into(offset, memoryview(data)):
            return data
        return Deferred.fromCoroutine(self._parts.reader.read(offset, length))

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        """As `IExport.write`."""
        self._check()
        return self._parts.writer.write(offset, data, fua)

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        """As `IExport.write_zeroes`."""
        self._check()
        return self._parts.writer.zero(offset, length, may_trim, fua, fast)

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        """As `IExport.trim`."""
        self._check()
        return self._parts.writer.trim(offset, length, fua)

    def flush(self) -> NowOrLater[None]:
        """As `IExport.flush`."""
        self._check()
        return self._parts.writer.flush()

    def extents(self, offset: int, length: int, first_only: bool) -> NowOrLater[list[Extent]]:
        """As `IExport.extents`."""
        self._check()
        start, end = offset // SECTOR, -(-(offset + length) // SECTOR)
        if not self._parts.stored.map.needs(start, end):
            return extents(
                self._parts.recent, self._parts.stored, offset, offset + length, first_only
            )
        return Deferred.fromCoroutine(self._extents_later(offset, length, first_only))

    async def _extents_later(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        start, end = offset // SECTOR, -(-(offset + length) // SECTOR)
        while self._parts.stored.map.needs(start, end):
            end = await fetched(self._parts.stored, start, end)
        return extents(
            self._parts.recent,
            self._parts.stored,
            offset,
            min(end * SECTOR, offset + length),
            first_only,
        )

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        """As `IExport.cache`."""
        self._check()
        return Deferred.fromCoroutine(
            self._parts.reader.warm(offset // SECTOR, -(-(offset + length) // SECTOR))
        )

    def close(self) -> NowOrLater[None]:
        """As `IExport.close`: what was answered is durable, and the map says so."""
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._parts.detach())
        answer: Deferred[None] = Deferred()

        def done(result: Any) -> Any:
            if not answer.called:
                answer.errback(result) if hasattr(result, "trap") else answer.callback(None)
            return None

        self._closing.addBoth(done)
        return answer

    def _check(self) -> None:
        if self._closing is not None:
            raise Closed("the volume is closed")
        self._parts.condition.check()
