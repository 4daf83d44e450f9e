"""What lies in a volume's folder and nobody needs, or nobody knows; and who needs the volume."""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs

from backends.objects.contract import IObjectStore, NotFound
from backends.volume.creating import PROBE
from backends.volume.inspection.findings import Findings
from backends.volume.inspection.log_checks import LogRead
from backends.volume.inspection.objects import Missing, source_header
from backends.volume.inspection.slice_reading import GETS
from backends.volume.inspection.view import Inspected, View, is_foreign
from backends.volume.inspection.walking import RootWalk
from backends.volume.lineage import Source
from backends.volume.names import Kind, Names
from backends.volume.superblocks import newest
from backends.volume.table_page import ObjectKind
from backends.volume.turns import each
from gateway.errors import Corrupt
from gateway.maintenance import Severity

#: More than any note of a clone has.
_ENOUGH = 1 << 20

#: Foreign keys that are named.
_NAMED = 5


@attrs.frozen
class LeftOvers:
    """
    What no table names.

    Attributes:
        orphans: bytes of the objects that crashes and lost races left behind, by key.
        kept: why an object of the collector cannot be read, by key. It is not deleted: it may be
            data that a map made anew has to do without.
    """

    orphans: dict[str, int]
    kept: dict[str, str]


async def find(
    store: IObjectStore, view: View, head: RootWalk | None, log: LogRead, outdated: Sequence[str]
) -> LeftOvers:
    """
    Args:
        head: the opened walk over the disk as it is now; None if its tables cannot be read.
        outdated: superblocks that nobody needs.

    Raises:
        StoreError: the store did not answer.
    """
    found = [*outdated]
    superblock, names = view.superblock, view.names
    if head is not None and superblock.checkpoint is not None and head.loaded is not None:
        found += log.orphans
        moved = {
            (entry.epoch, entry.number)
            for _, entry in head.loaded.table.items()
            if entry.kind == ObjectKind.MOVED and not entry.volume
        }
        containers = {
            (entry.epoch, entry.number)
            for _, entry in head.loaded.containers.items()
            if not entry.volume
        }
        for key in view.objects:
            for parse, known in ((names.parse_gc, moved), (names.parse_ck, containers)):
                name = parse(key)
                # What the holder of the volume makes is in no table yet.
                if name is not None and name[0] < superblock.epoch and name not in known:
                    found.append(key)
    kept: dict[str, str] = {}

    async def read(key: str) -> None:
        name = names.parse_gc(key)
        assert name is not None
        try:
            await source_header(store, view.lineage.own, Source(0, Kind.MOVED, *name))
        except Missing:
            pass  # whoever holds the volume has swept it up
        except Corrupt as wrong:
            kept[key] = str(wrong)

    await each([key for key in found if names.parse_gc(key) is not None], read, GETS)
    sizes = {key: view.objects[key] for key in found if key in view.objects and key not in kept}
    return LeftOvers(sizes, dict(sorted(kept.items())))


async def tell(
    store: IObjectStore, view: View, head: RootWalk | None, log: LogRead, findings: Findings
) -> None:
    """
    Name them, but for superblocks: every gateway leaves a few, and sweeps up those of others.

    Raises:
        StoreError: the store did not answer.
    """
    left = await find(store, view, head, log, ())
    for key, size in left.orphans.items():
        findings.add(
            Severity.LEAK, key, f"{key}: nothing refers to it; {size} bytes left by a crash"
        )
    for key, wrong in left.kept.items():
        if head is not None and head.damages:
            findings.add(
                Severity.DAMAGE,
                key,
                f"{wrong}. The disk may need it; the table that would tell is damaged as well",
            )
        else:
            findings.add(
                Severity.NOTE,
                key,
                f"{wrong}. Nothing refers to it; it stays, since it may hold what a map that was"
                " made anew has to do without",
            )


def tell_foreign(view: View, findings: Findings) -> None:
    """Name what is not the volume's."""
    names = view.names
    prefix = names.sb_prefix.removesuffix("sb/")
    foreign = [
        key for key in view.objects if is_foreign(names, key) and not key.startswith(prefix + PROBE)
    ]
    if foreign:
        some = ", ".join(sorted(foreign)[:_NAMED])
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        findings.add(
            Severity.NOTE, prefix, f"{prefix} has objects that are not of this volume: {some}{more}"
        )


async def check_notes(inspected: Inspected, view: View, findings: Findings) -> None:
    """
    Clones and their snapshots: both must know of each other.

    Raises:
        StoreError: the store did not answer.
    """
    snapshots = {one.id for one in view.superblock.snapshots}
    for key in sorted(view.objects):
        uuid = view.names.parse_ref(key)
        if uuid is None:
            continue
        try:
            note = json.loads(await inspected.store.get(key, 0, _ENOUGH))
            number, where = int(note["snapshot"]), str(note["prefix"])
            if bytes.fromhex(note["child"]) != uuid:
                raise ValueError("the clone's uuid is not that of the name")
        except NotFound:
            continue
        except (ValueError, KeyError, TypeError) as error:
            findings.add(
                Severity.NOTE, key, f"{key}: got no note of a clone, expected one: {error!r}"
            )
            continue
        if not await _is_there(inspected, where, uuid):
            findings.add(
                Severity.NOTE,
                key,
                f"{key}: the clone {where!r} that it speaks of is not there. It keeps a snapshot"
                " from being deleted; delete it if nobody is making that clone just now",
            )
        elif number not in snapshots:
            findings.add(
                Severity.NOTE,
                key,
                f"{key}: the clone {where!r} needs snapshot {number}, which is not there: check"
                " the clone",
            )
    if missing := await missing_note(inspected, view):
        findings.add(
            Severity.REPAIRABLE,
            missing,
            f"{missing} is missing: nothing keeps the parent's snapshot, which this clone needs,"
            " from being deleted",
        )


async def _is_there(inspected: Inspected, prefix: str, uuid: bytes) -> bool:
    try:
        found = await newest(inspected.store, Names(prefix))
    except Corrupt:
        return True  # somebody should look after it, and not here
    return found is not None and found.superblock.volume == uuid


async def missing_note(inspected: Inspected, view: View) -> str | None:
    """The key of the note that this clone should have put; None if it is there, or is none."""
    parent = view.superblock.parent
    if parent is None:
        return None
    key = Names(parent.prefix).ref(view.superblock.volume)
    try:
        await inspected.store.get(key, 0, _ENOUGH)
    except NotFound:
        return key
    return None
