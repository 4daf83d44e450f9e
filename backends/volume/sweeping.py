"""Finding and deleting orphans: objects that crashes and lost races left behind."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from backends.objects.contract import PAGE, Garbled, IObjectStore, NotFound
from backends.volume.authority import Authority
from backends.volume.header import decode
from backends.volume.lineage import Lineage
from backends.volume.listing import everything
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable
from backends.volume.stored_map import StoredMap
from backends.volume.table_page import ObjectKind
from backends.volume.units import HEADER_LIMIT
from gateway.errors import Corrupt

_log = Logger()

#: Superblocks below the newest that are left for whoever reads one right now.
_SUPERBLOCKS = 2


async def orphans(
    store: IObjectStore, lineage: Lineage, stored: StoredMap, authority: Authority
) -> list[str]:
    """
    The volume's objects that nothing refers to.

    Only what older epochs left counts, and of the log what the newest
    checkpoint has behind it: no clock has a say. Fences stay, and so does
    what cannot be read and could be data: a map that was made anew without it
    does not name it, and somebody may still mend it. What has a name that this
    program does not make is left alone.

    Raises:
        StoreError: the store did not answer.
    """
    names, epoch = lineage.own.names, authority.superblock.epoch
    root = authority.superblock.checkpoint
    found: list[str] = []
    for one in await everything(store, names.sb_prefix):
        generation = names.parse_sb(one.key)
        if generation is not None and generation < authority.superblock.generation - _SUPERBLOCKS:
            found.append(one.key)
    if root is None:
        return found
    slots = {name[1] for name in _known(stored.objects, ObjectKind.DATA)}
    moved = _known(stored.objects, ObjectKind.MOVED)
    containers = _known(stored.containers, ObjectKind.CHECKPOINT)
    for one in await everything(store, names.log_prefix):
        slot = names.parse_log(one.key)
        if slot is not None and slot <= root.version and slot not in slots:
            if await _is_sound(store, lineage, one.key, kind=Kind.DATA):
                found.append(one.key)
    for one in await everything(store, names.gc_prefix):
        name = names.parse_gc(one.key)
        if name is not None and name[0] < epoch and name not in moved:
            its = {"kind": Kind.MOVED, "epoch": name[0], "number": name[1]}
            if await _is_sound(store, lineage, one.key, **its):
                found.append(one.key)
    for one in await everything(store, names.ck_prefix):
        name = names.parse_ck(one.key)
        if name is not None and name[0] < epoch and name not in containers:
            found.append(one.key)
    return found


async def sweep(
    store: IObjectStore, lineage: Lineage, stored: StoredMap, authority: Authority
) -> int:
    """
    Delete orphans.

    Returns:
        How many there were.

    Raises:
        Fenced: the volume is not ours any more; nothing was deleted.
        StoreError, Unavailable: the store did not answer.
    """
    found = await orphans(store, lineage, stored, authority)
    if found:
        await authority.confirm()
        for start in range(0, len(found), PAGE):
            await store.delete(found[start : start + PAGE])
        _log.info("{count} orphans were deleted", count=len(found))
    return len(found)


def _known(table: ObjectTable, kind: ObjectKind) -> set[tuple[int, int]]:
    """Epoch and number of the volume's own objects of one kind."""
    return {
        (entry.epoch, entry.number)
        for _index, entry in table.items()
        if entry.kind == kind and not entry.volume
    }


async def _is_sound(store: IObjectStore, lineage: Lineage, key: str, **its: Any) -> bool:
    """
    Whether an object is one of data, so that it may go as nobody needs it; also if it is gone.

    What is none, or cannot be read, is left for `check`.

    Args:
        its: what the header has to say, as for `backends.volume.header.decode`.
    """
    own = lineage.own
    try:
        decode(await store.get(key, 0, HEADER_LIMIT), own.crypt, key, volume=own.uuid, **its)
    except NotFound:
        return True
    except (Corrupt, Garbled):
        return False
    return True
