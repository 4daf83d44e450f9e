"""Reading a snapshot of a volume without opening the volume itself."""

from __future__ import annotations

from backends.objects.contract import IObjectStore
from backends.volume.attaching import Caches
from backends.volume.checkpointing import load
from backends.volume.environment import Environment, Options
from backends.volume.fetching import Fetcher
from backends.volume.keys import KeySource
from backends.volume.names import Names
from backends.volume.reading import Reader
from backends.volume.snapshot_export import SnapshotExport
from backends.volume.stored_map import StoredMap
from backends.volume.superblock import Snapshot
from backends.volume.superblocks import current, unlock
from gateway.errors import UnknownExport


async def read_snapshot(
    store: IObjectStore,
    prefix: str,
    name: str,
    environment: Environment,
    options: Options,
    caches: Caches,
    source: KeySource | None,
) -> SnapshotExport:
    """
    A snapshot, to be read; nothing is put. Whoever holds the volume does not notice.

    If its holder deletes the snapshot meanwhile, reads fail sooner or later.

    Raises:
        UnknownExport: there is no such snapshot, or no volume.
        ExportUnavailable: it needs a key, or another one.
        Corrupt: its map is damaged.
        StoreError: the store did not answer.
    """
    found = await current(store, Names(prefix))
    lineage = await environment.call_in_thread(unlock, found, Names(prefix), source)
    snapshots = {one.name: one for one in found.superblock.snapshots if not one.deleting}

    def find(wanted: str) -> Snapshot:
        if wanted not in snapshots:
            raise UnknownExport(f"{prefix}: there is no snapshot {wanted[:100]!r}")
        return snapshots[wanted]

    async def map_of(wanted: str) -> StoredMap:
        if wanted not in maps:
            one = find(wanted)
            maps[wanted] = await load(store, lineage, one.size, one.root, 0)
            maps[wanted].limit = options.map_memory
        return maps[wanted]

    maps: dict[str, StoredMap] = {}
    snapshot = find(name)
    stored = await map_of(name)
    fetcher = Fetcher(store, lineage, caches.memory, caches.disk, environment)
    reader = Reader(None, stored, fetcher, fetcher.read_ahead())
    older = [one.name for one in snapshots.values() if one.id < snapshot.id]
    return SnapshotExport(snapshot.size, stored, reader, lambda: None, lambda: older, map_of)
