"""What a rebuild starts from: the newest superblocks, of the volume and its ancestors, that are."""

from __future__ import annotations

import attrs

from backends.objects.contract import NotFound
from backends.volume.inspection.findings import Findings
from backends.volume.inspection.view import Inspected
from backends.volume.lineage import Lineage
from backends.volume.listing import everything
from backends.volume.names import Names
from backends.volume.superblock import Superblock
from backends.volume.superblock_json import decode
from backends.volume.superblocks import Found, NoVolume, newest, unlock
from gateway.errors import Corrupt, ExportUnavailable
from gateway.maintenance import Severity

#: More than any superblock has.
_ENOUGH = 64 << 20


@attrs.frozen
class Base:
    """
    An ancestor as far as the volume was made of it.

    Attributes:
        superblock: of the ancestor, the newest.
        version: of the snapshot.
    """

    superblock: Superblock
    version: int


@attrs.frozen
class Foundation:
    """
    Attributes:
        superblock: of the volume, the newest that can be read.
        lineage: whose objects there may be.
        generation: the highest there is, readable or not.
        bases: ancestors, the nearest first.
    """

    superblock: Superblock
    lineage: Lineage
    generation: int
    bases: tuple[Base, ...]


async def found_on(inspected: Inspected, findings: Findings) -> Foundation:
    """
    Find it.

    An older superblock is taken for what no other object tells where newer ones are damaged:
    whoever asks for a rebuild is told so.

    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: no superblock can be read, or an ancestor is missing.
        StoreError: the store did not answer.
    """
    store, names = inspected.store, inspected.names
    listed = await everything(store, names.sb_prefix)
    numbers = [names.parse_sb(one.key) for one in listed]
    generations = sorted((number for number in numbers if number is not None), reverse=True)
    found: Found | None = None
    damaged: list[str] = []
    for generation in generations:
        key = names.sb(generation)
        try:
            body = await store.get(key, 0, _ENOUGH)
            found = Found(decode(body, key, generation=generation), body)
            break
        except (Corrupt, NotFound) as wrong:
            damaged.append(str(wrong))
    if found is None:
        await _explain(inspected, damaged)
    assert found is not None
    superblock = found.superblock
    if superblock.state == "deleted":
        raise NoVolume(f"{names.sb_prefix}: there is no volume")
    if superblock.state == "deleting":
        raise ExportUnavailable(f"{names.sb_prefix}: the volume is half deleted")
    for what in damaged:
        findings.add(
            Severity.NOTE,
            what.split(":", 1)[0],
            f"{what}. Size, keys, snapshots and going back to them are taken from generation"
            f" {superblock.generation}: what this one alone knew of them is lost",
        )
    lineage = await inspected.environment.call_in_thread(unlock, found, names, inspected.source)
    return Foundation(superblock, lineage, generations[0], await _bases(inspected, superblock))


async def _explain(inspected: Inspected, damaged: list[str]) -> None:
    """Raise what fits the case that no superblock can be read."""
    names = inspected.names
    if not damaged and not await inspected.store.list(names.log_prefix, ""):
        raise NoVolume(f"{names.sb_prefix}: there is no volume")
    why = f" ({damaged[0]})" if damaged else ""
    raise ExportUnavailable(
        f"{names.sb_prefix}: no superblock is left that can be read{why}. It alone knows the"
        " disk's size, its snapshots, and the key of an encrypted volume: bring one back from a"
        " copy of the store (an old version of the highest sb/ object), then rebuild once more"
    )


async def _bases(inspected: Inspected, superblock: Superblock) -> tuple[Base, ...]:
    bases: list[Base] = []
    child = superblock
    while child.parent is not None:
        parent = child.parent
        names = Names(parent.prefix)
        try:
            found = await newest(inspected.store, names)
        except Corrupt as wrong:
            raise ExportUnavailable(
                f"{wrong}. The volume is a clone, and cannot be rebuilt without it"
            ) from None
        if found is None or found.superblock.volume != parent.uuid:
            raise ExportUnavailable(
                f"{names.sb_prefix}: the volume is a clone of one that is not there any more"
            )
        versions = [one.version for one in found.superblock.snapshots if one.id == parent.snapshot]
        if not versions:
            raise ExportUnavailable(
                f"{names.sb_prefix}: the volume is a clone of snapshot {parent.snapshot}, which is"
                " not there any more"
            )
        bases.append(Base(found.superblock, versions[0]))
        child = found.superblock
    return tuple(bases)
