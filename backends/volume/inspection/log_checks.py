"""The log and the superblocks: nothing is newer than what is believed, and every end is fenced."""

from __future__ import annotations

import attrs

from backends.objects.contract import IObjectStore, NotFound
from backends.volume.header import Header
from backends.volume.inspection.findings import Findings
from backends.volume.inspection.objects import log_header
from backends.volume.inspection.slice_reading import GETS
from backends.volume.inspection.view import View
from backends.volume.inspection.walking import RootWalk
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable
from backends.volume.recovery import walk
from backends.volume.superblock_json import decode
from backends.volume.table_page import ObjectKind
from backends.volume.turns import each
from backends.volume.units import SECTOR
from gateway.errors import Corrupt
from gateway.maintenance import Severity

#: More than any superblock has.
_ENOUGH = 64 << 20

#: Superblocks below the newest that stay for whoever reads one right now.
KEPT = 2


@attrs.frozen
class LogRead:
    """
    What the log has beside the objects that the table names.

    Attributes:
        fences: headers by slot.
        tail: headers of the data objects behind the checkpoint, in order.
        orphans: keys of data objects in front of it that are in no table.
        bytes: read.
    """

    fences: dict[int, Header]
    tail: tuple[Header, ...]
    orphans: list[str]
    bytes: int


async def check_log(store: IObjectStore, view: View, head: RootWalk, findings: Findings) -> LogRead:
    """
    Read what the table of the disk as it is now does not name.

    Args:
        head: opened.

    Raises:
        StoreError: the store did not answer.
    """
    superblock, member = view.superblock, view.lineage.own
    names = member.names
    version = superblock.first_slot - 1
    if superblock.checkpoint is not None:
        version = superblock.checkpoint.version
    table = ObjectTable() if head.loaded is None else head.loaded.table
    known = {
        entry.number
        for _, entry in table.items()
        if entry.kind == ObjectKind.DATA and not entry.volume
    }
    slots = [slot for slot in view.slots() if slot > version or slot not in known]
    headers: dict[int, Header | Corrupt] = {}

    async def read(slot: int) -> None:
        try:
            headers[slot] = await log_header(store, member, slot)
        except Corrupt as wrong:
            headers[slot] = wrong

    await each(slots, read, GETS)
    fences: dict[int, Header] = {}
    orphans: list[str] = []
    for slot, header in sorted(headers.items()):
        key = names.log(slot)
        if isinstance(header, Corrupt):
            if slot <= version and head.damages:
                findings.add(
                    Severity.DAMAGE,
                    key,
                    f"{header}. The disk may need it; the table that would tell is damaged as well",
                )
            elif slot <= version:
                findings.add(
                    Severity.NOTE,
                    key,
                    f"{header}. Nothing refers to it; it stays, since it may be a fence,"
                    " which keeps its slot taken",
                )
        elif header.kind == Kind.FENCE:
            fences[slot] = header
        elif slot <= version:
            orphans.append(key)
    tail = _check_tail(view, headers, version + 1, findings)
    _check_fences(view, fences, findings)
    _check_epochs(view, headers, findings)
    return LogRead(fences, tail, orphans, sum(_length(one) for one in headers.values()))


def _length(header: Header | Corrupt) -> int:
    return 0 if isinstance(header, Corrupt) else header.length


def _check_tail(
    view: View, headers: dict[int, Header | Corrupt], start: int, findings: Findings
) -> tuple[Header, ...]:
    names = view.names
    try:
        tail = walk(headers, start, names.log_prefix).data
    except Corrupt as wrong:
        key = str(wrong).split(":", 1)[0].split(" ", 1)[0]
        findings.add(
            Severity.DAMAGE, key, f"{wrong}. It is behind the checkpoint: the disk needs it"
        )
        return ()
    for header in tail:
        key = names.log(header.position)
        size = view.objects.get(key, header.object_length)
        if size != header.object_length:
            findings.add(
                Severity.DAMAGE,
                key,
                f"{key}: got {size} bytes, expected {header.object_length}",
                [(one.sector, one.sector + one.length) for one in header.extents],
            )
        for one in header.extents:
            if (one.sector + one.length) * SECTOR > view.superblock.size:
                findings.add(
                    Severity.DAMAGE,
                    key,
                    f"{key}: got an extent up to sector {one.sector + one.length},"
                    f" expected a disk of {view.superblock.size // SECTOR}",
                )
                break
    return tail


def missing_fences(view: View, fences: dict[int, Header]) -> list[int]:
    """Epochs whose fence should be there and is not."""
    superblock = view.superblock
    last = superblock.epoch if superblock.fenced else superblock.epoch - 1
    known = {one.epoch for one in fences.values()}
    # Before the first epoch there was nobody: the one who makes a volume puts no fence.
    first = 2 if superblock.first_slot == 1 else min(known, default=last + 1)
    known.update(superblock.pending, superblock.unfenced)
    return [epoch for epoch in range(first, last + 1) if epoch not in known]


def _check_fences(view: View, fences: dict[int, Header], findings: Findings) -> None:
    for epoch in missing_fences(view, fences):
        findings.add(
            Severity.REPAIRABLE,
            view.names.log_prefix,
            f"the fence of epoch {epoch} is missing: got none, expected one, as fences are never"
            " deleted",
        )


def _check_epochs(view: View, headers: dict[int, Header | Corrupt], findings: Findings) -> None:
    """What is newer than the newest superblock tells that a newer one was lost."""
    names, epoch = view.names, view.superblock.epoch
    newer = [
        (header.epoch, names.log(slot))
        for slot, header in headers.items()
        if not isinstance(header, Corrupt) and header.epoch > epoch
    ]
    for key in view.objects:
        name = names.parse_gc(key) or names.parse_ck(key)
        if name is not None and name[0] > epoch:
            newer.append((name[0], key))
    if newer:
        highest, key = max(newer)
        findings.add(
            Severity.DAMAGE,
            names.sb(view.superblock.generation),
            f"it is of epoch {epoch}, and {key} of epoch {highest}: the newest superblock is"
            " missing, and this one tells an older state of the disk",
            [(0, view.superblock.size // SECTOR)],
        )


async def check_superblocks(store: IObjectStore, view: View, findings: Findings) -> list[str]:
    """
    Look at the superblocks below the newest.

    Returns:
        Keys of those that nobody needs and nobody is about to delete.

    Raises:
        StoreError: the store did not answer.
    """
    names, superblock = view.names, view.superblock
    outdated: list[str] = []

    async def look(key: str) -> None:
        generation = names.parse_sb(key)
        assert generation is not None
        try:
            found = decode(await store.get(key, 0, _ENOUGH), key, generation=generation)
        except NotFound:
            return  # whoever holds the volume deletes it
        except Corrupt as wrong:
            findings.add(
                Severity.NOTE, key, f"{wrong}. A newer superblock is well, and nobody needs it"
            )
        else:
            if found.epoch == superblock.epoch or found.volume != superblock.volume:
                # Its writer deletes one with each checkpoint; a deleted volume's last one stays.
                return
        if generation < superblock.generation - KEPT:
            outdated.append(key)

    older = [
        key
        for key in sorted(view.objects)
        if (names.parse_sb(key) or superblock.generation) < superblock.generation
    ]
    await each(older, look, GETS)
    return sorted(outdated)
