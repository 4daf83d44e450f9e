"""A volume as an export: the contract of `IExport` on top of log, map and objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from backends.objects.contract import IObjectStore
from backends.volume.attachment import Attachment
from backends.volume.changes import changes
from backends.volume.creating import check_size
from backends.volume.extents import extents
from backends.volume.keys import KeySource, unwrap_any, wrap
from backends.volume.snapshots import Snapshots
from backends.volume.units import SECTOR
from backends.volume.upkeep import Upkeep
from gateway.errors import Closed, ExportUnavailable, Fenced, Unavailable, UnknownExport
from gateway.info import MIB, Abilities, Change, ExportInfo, Extent
from gateway.interfaces import (
    Buffer,
    IChangedBlocks,
    IDerivedExports,
    IExport,
    NowOrLater,
)

#: Bytes; what a client that asks for advice is told to write at a time.
PREFERRED = MIB


@implementer(IExport, IChangedBlocks, IDerivedExports)
class Volume:
    """
    A disk whose bytes are in an object store.

    Args:
        store: of the volume.
        attachment: the parts, put together by `backends.volume.attaching`.

    Attributes:
        snapshots: taking, deleting and going back.
        upkeep: what is done without being asked for.
    """

    def __init__(self, store: IObjectStore, attachment: Attachment) -> None:
        self._store = store
        self._parts = attachment
        self._closing: Deferred[Any] | None = None
        self.snapshots = Snapshots(store, attachment)
        self.upkeep = Upkeep(store, attachment, self.snapshots)

    @property
    def parts(self) -> Attachment:
        """What it works with, for those who look after it."""
        return self._parts

    @property
    def info(self) -> ExportInfo:
        """As `IExport.info`; whoever came before the disk grew keeps what was true then."""
        return ExportInfo(
            size=self._parts.size, preferred_block=PREFERRED, abilities=Abilities(cache=True)
        )

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """As `IExport.read_into`."""
        self._check_readable()
        return self._parts.reader.read_into(offset, buffer)

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        """As `IExport.read`."""
        self._check_readable()
        return self._parts.reader.now_or_later(offset, length)

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
        self._check_readable()
        return extents(self._parts.recent, self._parts.stored, offset, length, first_only)

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        """As `IExport.cache`."""
        self._check_readable()
        return self._parts.reader.cache(offset, length)

    def close(self) -> NowOrLater[None]:
        """As `IExport.close`: what was answered is durable, and the map says so."""
        self.upkeep.stop()
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._parts.detach())
        answer: Deferred[None] = Deferred()
        self._closing.addBoth(_tell, answer)
        return answer

    def references(self) -> list[str]:
        """As `IChangedBlocks.references`: the snapshots, the oldest first."""
        return [snapshot.name for snapshot in self.snapshots.all()]

    def changed(
        self, reference: str, offset: int, length: int, first_only: bool
    ) -> NowOrLater[list[Change]]:
        """As `IChangedBlocks.changed`."""
        self._check_readable()
        return Deferred.fromCoroutine(self._changed(reference, offset, length, first_only))

    async def _changed(
        self, reference: str, offset: int, length: int, first_only: bool
    ) -> list[Change]:
        try:
            then = await self.snapshots.map_of(self.snapshots.find(reference))
        except UnknownExport as problem:
            raise Unavailable(str(problem)) from None
        parts = self._parts
        return await changes(parts.recent, parts.stored, then, offset, length, first_only)

    def derived(self, name: str) -> NowOrLater[IExport]:
        """As `IDerivedExports.derived`: a snapshot."""
        self._check_readable()
        self.snapshots.find(name)
        return Deferred.fromCoroutine(self.snapshots.open(name))

    async def collect(self) -> int:
        """One round of garbage collection now; answers how many objects it emptied."""
        return await self._parts.collector.collect()

    async def sweep(self) -> int:
        """Delete what crashes left behind; answers how many objects that were."""
        return await self.upkeep.sweep()

    async def checkpoint(self) -> None:
        """Make the map durable now, so that the next attachment reads less of the log."""
        await self._parts.settle()
        await self._parts.checkpointer.checkpoint()

    async def change_key(self, opened_by: KeySource, opens: Sequence[KeySource]) -> None:
        """
        Have other keys or passphrases open the volume from now on; its data stays as it is.

        Args:
            opened_by: one that opens it now.
            opens: all that will; at least one.

        Raises:
            KeyRefused: ``opened_by`` does not open it.
            ExportUnavailable: the volume is not encrypted.
        """
        parts = self._parts
        wraps = parts.authority.superblock.wraps
        if not wraps or not opens:
            raise ExportUnavailable("the volume is not encrypted, or nothing would open it")
        secret, in_thread = parts.environment.secret_bytes, parts.environment.call_in_thread
        key = await in_thread(unwrap_any, wraps, opened_by)
        changed = [await in_thread(wrap, key, source, secret) for source in opens]
        await parts.checkpointer.advance(wraps=tuple(changed))

    async def grow(self, size: int) -> None:
        """
        Make the disk larger; clients see it when they connect again.

        Args:
            size: bytes.

        Raises:
            ExportUnavailable: it is not larger, or no size.
        """
        check_size(size)
        if size < self._parts.size:
            raise ExportUnavailable(
                f"size: got {size}, expected at least {self._parts.size}: a disk does not shrink"
            )
        await self._parts.checkpointer.advance(size=size)
        self._parts.stored.map.sectors = size // SECTOR

    def _check(self) -> None:
        if self._closing is not None:
            raise Closed("the volume is closed")
        self._parts.condition.check()

    def _check_readable(self) -> None:
        # A volume that can take no changes can be read, as long as it is ours.
        if self._closing is not None or isinstance(self._parts.condition.failure, Fenced | Closed):
            self._check()


def _tell(result: Any, answer: Deferred[None]) -> Any:
    """Everyone who closes hears how it went; whoever asks last leaves no failure unheard."""
    answer.callback(result)
    return None if isinstance(result, Failure) else result
