"""Snapshots of an open volume: taking, reading, deleting, going back to one."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.logger import Logger

from backends.objects.contract import IObjectStore, StoreError
from backends.volume.attachment import Attachment
from backends.volume.checkpointing import load
from backends.volume.listing import everything
from backends.volume.reading import Reader
from backends.volume.snapshot_export import SnapshotExport
from backends.volume.stored_map import StoredMap
from backends.volume.superblock import Rollback, Snapshot, check_snapshot_name
from backends.volume.turns import Turn
from gateway.errors import ExportBusy, ExportUnavailable, Unavailable, UnknownExport
from gateway.settings import BadValue

#: More than any note of a clone has.
_ENOUGH = 1 << 20


class Snapshots:
    """
    The snapshots of a volume.

    Args:
        store: of the volume.
        parts: of the volume.
    """

    _log = Logger()

    def __init__(self, store: IObjectStore, parts: Attachment) -> None:
        self._store = store
        self._parts = parts
        self._turn = Turn()
        self._maps: dict[int, StoredMap] = {}
        self._open: dict[int, int] = {}

    def all(self) -> list[Snapshot]:
        """Those that may be opened, the oldest first."""
        return [one for one in self._parts.authority.superblock.snapshots if not one.deleting]

    def find(self, name: str) -> Snapshot:
        """
        Raises:
            UnknownExport: there is none of that name.
        """
        for snapshot in self.all():
            if snapshot.name == name:
                return snapshot
        raise UnknownExport(f"there is no snapshot {name[:100]!r}")

    async def take(self, name: str) -> Snapshot:
        """
        Keep the disk as it is: with every change that was answered before this call.

        Raises:
            ExportUnavailable: the name is taken, or no name.
            StorageError: the store does not take it.
        """
        try:
            check_snapshot_name(name)
        except BadValue as problem:
            raise ExportUnavailable(str(problem)) from None
        async with self._turn:
            if any(one.name == name for one in self._parts.authority.superblock.snapshots):
                raise ExportUnavailable(f"there is a snapshot {name!r} already")
            await self._parts.settle()
            await self._parts.checkpointer.checkpoint(snapshot=name)
            return self.find(name)

    async def delete(self, name: str) -> None:
        """
        Give a snapshot up, and what nothing else needs.

        Raises:
            UnknownExport: there is none of that name.
            ExportBusy: it is being read, or a clone needs it.
        """
        async with self._turn:
            snapshot = self.find(name)
            if self._open.get(snapshot.id):
                raise ExportBusy(f"snapshot {name!r} is open")
            await self._mark(snapshot, True)
            # A clone writes its note and then looks whether the snapshot is still whole:
            # either it sees the mark, or we see the note.
            clones = await self._clones_of(snapshot.id)
            if clones:
                await self._mark(snapshot, False)
                raise ExportBusy(f"snapshot {name!r} is needed by {', '.join(clones)}")
            await self._remove(snapshot)

    async def finish_deleting(self) -> None:
        """Go on with what was marked when the last writer ended."""
        async with self._turn:
            for snapshot in self._parts.authority.superblock.snapshots:
                if snapshot.deleting:
                    if await self._clones_of(snapshot.id):
                        await self._mark(snapshot, False)
                    else:
                        await self._remove(snapshot)

    async def roll_back(self, name: str) -> None:
        """
        Make the disk what it was; what was written since is gone unless a snapshot has it.

        To be called when nobody uses the disk: a client does not expect its
        bytes to change.

        Raises:
            UnknownExport: there is none of that name.
            ExportBusy: somebody writes to the disk.
        """
        parts = self._parts
        async with self._turn, parts.collector.turn:
            snapshot = self.find(name)
            # What is moved or kept from now on has a version behind the one that goes back.
            border = await parts.border()
            now = parts.stored
            try:
                then = await load(self._store, parts.lineage, snapshot.size, snapshot.root, 0)
            except StoreError as failure:
                raise Unavailable(str(failure)) from None

            def go_back() -> dict[str, Any]:
                if now.state.version != border:
                    raise ExportBusy(f"going back to {name!r}: the disk is being written to")
                newest = parts.checkpointer.newest()
                now.objects.go_back(then.objects, newest)
                now.containers.go_back(then.containers, newest)
                now.objects.store_anew(then.objects.refs)
                then.map.sectors = now.map.sectors
                then.map.edits += now.map.edits + 1
                now.map = then.map
                now.state.root = then.state.root
                note = Rollback(border - 1, snapshot.version)
                return {"rollbacks": (*parts.authority.superblock.rollbacks, note)}

            await parts.checkpointer.checkpoint(prepare=go_back)

    async def open(self, name: str) -> SnapshotExport:
        """
        Raises:
            UnknownExport: there is none of that name.
            Corrupt: its map is damaged.
        """
        snapshot = self.find(name)
        self._open[snapshot.id] = self._open.get(snapshot.id, 0) + 1
        try:
            stored = await self.map_of(snapshot)
        except BaseException:
            self._closed(snapshot.id)
            raise
        reader = Reader(None, stored, self._parts.fetcher, self._parts.fetcher.read_ahead())
        return SnapshotExport(
            snapshot.size,
            stored,
            reader,
            lambda: self._closed(snapshot.id),
            lambda: [one.name for one in self.all() if one.id < snapshot.id],
            lambda reference: self.map_of(self.find(reference)),
        )

    async def map_of(self, snapshot: Snapshot) -> StoredMap:
        """The map of a snapshot, shared by all who read it."""
        stored = self._maps.get(snapshot.id)
        if stored is None:
            try:
                stored = await load(
                    self._store, self._parts.lineage, snapshot.size, snapshot.root, 0
                )
            except StoreError as failure:
                raise Unavailable(str(failure)) from None
            stored = self._maps.setdefault(snapshot.id, stored)
        stored.limit = self._parts.options.map_memory // 4
        return stored

    def _closed(self, number: int) -> None:
        self._open[number] -= 1
        if not self._open[number]:
            del self._open[number]
            self._maps.pop(number, None)

    async def _mark(self, snapshot: Snapshot, deleting: bool) -> None:
        await self._parts.checkpointer.advance(
            snapshots=tuple(
                attrs.evolve(one, deleting=deleting) if one.id == snapshot.id else one
                for one in self._parts.authority.superblock.snapshots
            )
        )

    async def _remove(self, snapshot: Snapshot) -> None:
        parts = self._parts
        self._maps.pop(snapshot.id, None)

        def delete() -> dict[str, Any]:
            snapshots = parts.authority.superblock.snapshots
            older = [one for one in snapshots if one.id < snapshot.id]
            for table in (parts.stored.objects, parts.stored.containers):
                table.delete_snapshot(snapshot.id, older[-1] if older else None)
            return {"snapshots": tuple(one for one in snapshots if one.id != snapshot.id)}

        await parts.checkpointer.checkpoint(prepare=delete)

    async def _clones_of(self, number: int) -> list[str]:
        """Prefixes of the volumes that were made of a snapshot, for people."""
        prefix = self._parts.lineage.own.names.ref_prefix
        try:
            notes = [
                await self._store.get(one.key, 0, _ENOUGH)
                for one in await everything(self._store, prefix)
            ]
        except StoreError as failure:
            raise Unavailable(f"{prefix}: {failure}") from None
        clones = [json.loads(note) for note in notes]
        return [f"clone {one['prefix']!r}" for one in clones if one["snapshot"] == number]
