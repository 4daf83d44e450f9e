"""A volume as it is found: its newest superblock, and what lies in its folder."""

from __future__ import annotations

import attrs

from backends.objects.contract import IObjectStore
from backends.volume.environment import Environment
from backends.volume.keys import KeySource
from backends.volume.lineage import Lineage
from backends.volume.listing import everything
from backends.volume.names import Names
from backends.volume.superblock import Snapshot, Superblock
from backends.volume.superblocks import current, unlock


@attrs.frozen
class Inspected:
    """
    What is looked at, and with what.

    Attributes:
        store: where it lies.
        prefix: of the volume.
        environment: time and threads.
        source: what opens it; None for a volume without encryption.
        extents: of objects, so many are in memory at a time, about; it takes 60 bytes for each.
    """

    store: IObjectStore
    prefix: str
    environment: Environment
    source: KeySource | None = attrs.field(default=None, repr=False)
    extents: int = 1 << 21

    @property
    def names(self) -> Names:
        """Of its objects."""
        return Names(self.prefix)


@attrs.frozen
class View:
    """
    One moment of it; listed after the superblock was read.

    Attributes:
        superblock: the newest.
        lineage: whose objects it refers to.
        objects: bytes of all objects in the volume's folder, by key.
    """

    superblock: Superblock
    lineage: Lineage
    objects: dict[str, int] = attrs.field(repr=False)

    @property
    def names(self) -> Names:
        """Of the volume's objects."""
        return self.lineage.own.names

    def slots(self) -> list[int]:
        """The slots of the volume's log that hold something, in order."""
        found = (self.names.parse_log(key) for key in self.objects)
        # Those before belonged to a volume that was deleted.
        first = self.superblock.first_slot
        return sorted(slot for slot in found if slot is not None and slot >= first)

    def snapshots(self) -> list[Snapshot]:
        """Those that can be opened."""
        return [one for one in self.superblock.snapshots if not one.deleting]


async def look(inspected: Inspected) -> View:
    """
    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: it needs a key, or another one; or it is half deleted.
        Corrupt: its newest superblock is damaged.
        StoreError: the store did not answer.
    """
    names = inspected.names
    found = await current(inspected.store, names)
    # In a thread: a passphrase takes a while, on purpose.
    lineage = await inspected.environment.call_in_thread(unlock, found, names, inspected.source)
    return View(found.superblock, lineage, await folder(inspected.store, names))


async def folder(store: IObjectStore, names: Names) -> dict[str, int]:
    """
    Bytes by key of all that lies in a volume's folder.

    Raises:
        StoreError: the store did not answer.
    """
    prefix = names.sb_prefix.removesuffix("sb/")
    return {one.key: one.size for one in await everything(store, prefix)}


def is_foreign(names: Names, key: str) -> bool:
    """Whether a volume makes no object of that name."""
    return all(
        parse(key) is None
        for parse in (
            names.parse_log,
            names.parse_gc,
            names.parse_ck,
            names.parse_sb,
            names.parse_ref,
        )
    )
