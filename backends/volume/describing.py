"""What a superblock tells people, and who holds the volume."""

from __future__ import annotations

from collections.abc import Callable

from backends.volume.processes import Process, is_alive
from backends.volume.superblock import Superblock
from gateway.errors import ExportBusy
from gateway.info import SnapshotInfo
from gateway.maintenance import Owner, VolumeDescription
from gateway.moments import moment


def owner_of(superblock: Superblock, here: Process) -> Owner | None:
    """
    Who holds a volume, or held it last.

    Args:
        here: who asks.
    """
    holder = superblock.owner
    if holder is None:
        return None
    alive = is_alive(holder, here)
    return Owner(holder.host, holder.process, holder.since_ms / 1000, superblock.epoch, alive)


def is_in_use(superblock: Superblock, owner: Owner | None) -> bool:
    """Whether somebody may hold the volume; who cannot be told from here may be alive."""
    return superblock.state == "open" and (owner is None or owner.alive is not False)


def describe(superblock: Superblock, name: str, here: Process) -> VolumeDescription:
    """
    Args:
        name: where the volume lies in its store.
        here: who asks.
    """
    owner = owner_of(superblock, here)
    note = superblock.journal
    return VolumeDescription(
        name=name,
        uuid=superblock.volume.hex(),
        size=superblock.size,
        created=superblock.created_ms / 1000,
        description=superblock.description,
        compression="off" if superblock.codec == "none" else superblock.codec,
        encrypted=superblock.encrypted,
        features=superblock.features,
        epoch=superblock.epoch,
        generation=superblock.generation,
        in_use=is_in_use(superblock, owner),
        owner=owner,
        journal_host=None if note is None else note.host,
        parent=None if superblock.parent is None else superblock.parent.prefix,
        snapshots=tuple(
            SnapshotInfo(one.name, one.size, one.created_ms / 1000)
            for one in superblock.snapshots
            if not one.deleting
        ),
        closed=superblock.state == "closed",
        deleting=superblock.state == "deleting",
    )


def admission(where: str, here: Process, take_over: bool) -> Callable[[Superblock], None]:
    """
    What refuses to take a volume over that somebody may hold.

    Args:
        where: the volume, for people.
        here: who asks.
        take_over: whoever holds it.
    """

    def admit(last: Superblock) -> None:
        owner = owner_of(last, here)
        if take_over or not is_in_use(last, owner):
            return
        if owner is None:
            raise ExportBusy(f"{where}: somebody holds it open (epoch {last.epoch})")
        since = moment(owner.since)
        known = "" if owner.alive else "; whether that still runs cannot be told from here"
        raise ExportBusy(
            f"{where}: process {owner.process} on {owner.host} holds it open since {since}"
            f" (epoch {owner.epoch}){known}"
        )

    return admit
