"""
What clones need of a volume whose map is made anew.

A clone's map names objects as they were when it was made: checkpoints of its parent, and of
several objects that hold the same bytes perhaps another than the new map does. So all that is
not younger than the newest snapshot with a clone is kept for that snapshot.
"""

from __future__ import annotations

import json

from backends.objects.contract import IObjectStore
from backends.volume.header import FIXED
from backends.volume.inspection.objects import container_header
from backends.volume.inspection.slice_reading import GETS
from backends.volume.inspection.view import folder
from backends.volume.lineage import Lineage
from backends.volume.listing import everything
from backends.volume.stored_map import StoredMap
from backends.volume.superblock import Snapshot, Superblock
from backends.volume.table_page import Entry, ObjectKind
from backends.volume.turns import each
from gateway.errors import Corrupt

#: More than any note of a clone has.
_ENOUGH = 1 << 20


async def noted_snapshot(
    store: IObjectStore, lineage: Lineage, superblock: Superblock
) -> Snapshot | None:
    """
    The newest snapshot that a clone needs, by the notes of clones; of a note that cannot be
    read, the newest of all.

    Raises:
        StoreError: the store did not answer.
    """
    snapshots = {one.id: one for one in superblock.snapshots}
    ids = []
    for listed in await everything(store, lineage.own.names.ref_prefix):
        try:
            ids.append(int(json.loads(await store.get(listed.key, 0, _ENOUGH))["snapshot"]))
        except (ValueError, KeyError, TypeError):
            ids.append(max(snapshots, default=0))
    return max(
        (snapshots[number] for number in ids if number in snapshots),
        key=lambda one: one.id,
        default=None,
    )


async def keep_for_clones(
    store: IObjectStore, lineage: Lineage, stored: StoredMap, snapshot: Snapshot
) -> None:
    """
    Have nothing deleted that a clone of a snapshot may need, as long as there is the snapshot.

    Raises:
        StoreError: the store did not answer.
    """
    for index, entry in list(stored.objects.items()):
        may_go = not (entry.live or entry.volume) and entry.held_by < snapshot.id
        if may_go and entry.birth <= snapshot.version:
            stored.objects.hold(index, snapshot.id)
    names = lineage.own.names
    known = {(entry.epoch, entry.number) for _, entry in stored.containers.items()}
    sizes = await folder(store, names)
    old = [name for key in sizes if (name := names.parse_ck(key)) and name not in known]

    async def keep(name: tuple[int, int]) -> None:
        try:
            header = await container_header(store, lineage.own, *name)
        except Corrupt:
            return  # no clone can read it either
        if header.position <= snapshot.version:
            index = stored.containers.add(
                Entry(
                    ObjectKind.CHECKPOINT,
                    0,
                    *name,
                    0,
                    0,
                    max(0, sizes[names.ck(*name)] - FIXED),
                    header.position,
                )
            )
            stored.containers.hold(index, snapshot.id)

    await each(old, keep, GETS)
