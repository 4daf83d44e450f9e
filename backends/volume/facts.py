"""What an open volume knows of itself without asking the store."""

from __future__ import annotations

from twisted.internet.task import deferLater

from backends.volume.attachment import Attachment
from backends.volume.frame_cache import FrameCache
from backends.volume.units import SECTOR

#: Entries of the table looked at before others have their turn.
_ENTRIES = 1000


async def facts(parts: Attachment, memory: FrameCache) -> dict[str, int | str]:
    """
    Returns:
        Texts: ``uuid`` and ``parent``, the prefix of the volume that this is a
        clone of, or empty; ``compression``; ``encrypted``, yes or no;
        ``failure``, why it can be changed no more, or empty.
        Bytes: ``live_bytes``, what the disk now refers to, and ``stored_bytes``,
        what the store keeps for it, snapshots included, both without
        what was inherited from ancestors, and without the map;
        ``inherited_bytes``, what it refers to of its ancestors' objects;
        ``dirty_bytes``, memory that holds what is not in the map yet;
        ``moved_bytes``, by the collector since the volume was opened.
        Numbers: ``objects`` of data; ``snapshots``; ``epoch`` and
        ``generation`` of its superblock; ``cache_hits`` and ``cache_misses``
        of frames in memory since it was opened.
    """
    live = stored = inherited = objects = 0
    for number, (_, entry) in enumerate(parts.stored.objects.items()):
        if entry.volume:
            inherited += entry.live * SECTOR
        else:
            live += entry.live * SECTOR
            stored += entry.stored
            objects += 1
        if number % _ENTRIES == _ENTRIES - 1:
            await deferLater(parts.environment.clock, 0)
    superblock = parts.authority.superblock
    return {
        "uuid": superblock.volume.hex(),
        "parent": "" if superblock.parent is None else superblock.parent.prefix,
        "compression": superblock.codec,
        "encrypted": "yes" if superblock.wraps else "no",
        "failure": "" if parts.condition.failure is None else str(parts.condition.failure),
        "epoch": superblock.epoch,
        "generation": superblock.generation,
        "snapshots": sum(not one.deleting for one in superblock.snapshots),
        "objects": objects,
        "live_bytes": live,
        "stored_bytes": stored,
        "inherited_bytes": inherited,
        "dirty_bytes": parts.recent.held,
        "moved_bytes": parts.collector.moved,
        "cache_hits": memory.hits,
        "cache_misses": memory.misses,
    }
