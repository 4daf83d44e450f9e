"""A snapshot as an export: read-only, and able to tell what changed since older ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from backends.volume.changes import changes
from backends.volume.read_only import ReadOnlyVolume
from backends.volume.reading import Reader
from backends.volume.recent import Recent
from backends.volume.stored_map import StoredMap
from gateway.errors import Unavailable, UnknownExport
from gateway.info import Change
from gateway.interfaces import IChangedBlocks, NowOrLater


@implementer(IChangedBlocks)
class SnapshotExport(ReadOnlyVolume):
    """
    One snapshot of a volume.

    With what changed between two snapshots a backup is of one moment, however
    busy the disk is. The disk itself cannot tell: what was empty, was written,
    and is empty again is to it as it was, and the later snapshot has the data.

    Args:
        size: bytes.
        stored: its map.
        reader: reads through it.
        closed: called once when it is closed.
        older: names of the older snapshots that there are now, oldest first.
        map_of: the map of one of them; raises `UnknownExport` once it is gone.
    """

    def __init__(
        self,
        size: int,
        stored: StoredMap,
        reader: Reader,
        closed: Callable[[], NowOrLater[None]],
        older: Callable[[], list[str]],
        map_of: Callable[[str], Awaitable[StoredMap]],
    ) -> None:
        super().__init__(size, None, stored, reader, closed)
        self._older = older
        self._map_of = map_of

    def references(self) -> list[str]:
        """As `IChangedBlocks.references`: the older snapshots, the oldest first."""
        return self._older()

    def changed(
        self, reference: str, offset: int, length: int, first_only: bool
    ) -> NowOrLater[list[Change]]:
        """As `IChangedBlocks.changed`."""
        self._check()
        return Deferred.fromCoroutine(self._changed(reference, offset, length, first_only))

    async def _changed(
        self, reference: str, offset: int, length: int, first_only: bool
    ) -> list[Change]:
        try:
            then = await self._map_of(reference)
        except UnknownExport as problem:
            raise Unavailable(str(problem)) from None
        return await changes(Recent(), self._stored, then, offset, length, first_only)
