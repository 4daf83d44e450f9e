"""Mending what a check found, where what is left tells how it should be."""

from __future__ import annotations

import json

from backends.objects.contract import StoreError
from backends.volume.attaching import Caches, attach
from backends.volume.environment import Options
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.inspection.checking import check
from backends.volume.inspection.findings import Findings
from backends.volume.inspection.left_overs import missing_note
from backends.volume.inspection.log_checks import check_log, missing_fences
from backends.volume.inspection.rebuilding import Admit, rebuild, repaired
from backends.volume.inspection.view import Inspected, View, look
from backends.volume.inspection.walking import RootWalk
from backends.volume.names import Names
from backends.volume.superblocks import current, newest
from gateway.errors import Corrupt, Unavailable
from gateway.info import MIB
from gateway.maintenance import Finding, Progress, Severity, Verdict


async def repair(inspected: Inspected, admit: Admit, progress: Progress) -> Verdict:
    """
    As `gateway.maintenance.IVolumePlace.repair`.

    A map that is damaged or counts wrongly is made anew, but only if every object that it is
    made from can be read: what is known now is not given up for less.

    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: it needs a key, or a journal of another host has writes of it.
        ExportBusy: somebody holds the volume, or takes it over just now.
        Unavailable: the store did not answer.
    """
    try:
        admit((await current(inspected.store, inspected.names)).superblock)
    except Corrupt:
        pass  # the check names it
    except StoreError as failure:
        raise Unavailable(str(failure)) from None
    before = await check(inspected, progress)
    wrong = [one for one in before.findings if one.severity is not Severity.NOTE]
    if not wrong:
        return before
    names = inspected.names
    try:
        if _is_map_wrong(names, wrong) and not _is_data_wrong(names, wrong):
            await rebuild(inspected, admit, progress, whole=True)
        if not any(names.parse_sb(one.object) for one in wrong):
            await _mend(inspected, admit)
    except StoreError as failure:
        raise Unavailable(str(failure)) from None
    after = await check(inspected, progress)
    return Verdict(
        after.findings,
        after.objects,
        before.bytes + after.bytes,
        repaired(before.findings, after.findings),
    )


def _is_map_wrong(names: Names, wrong: list[Finding]) -> bool:
    """Whether checkpoints, or what their tables say of objects, are not as they should be."""
    return any(
        one.severity in (Severity.DAMAGE, Severity.REPAIRABLE)
        and (
            one.object.startswith(names.ck_prefix)
            or (one.severity is Severity.REPAIRABLE and _is_data(names, one.object))
        )
        for one in wrong
    )


def _is_data_wrong(names: Names, wrong: list[Finding]) -> bool:
    """Whether something cannot be read that a map would be made from."""
    return any(
        one.severity is Severity.DAMAGE and not one.object.startswith(names.ck_prefix)
        for one in wrong
    ) or any("a rebuild would need it" in one.what for one in wrong)


def _is_data(names: Names, key: str) -> bool:
    return names.parse_log(key) is not None or names.parse_gc(key) is not None


async def _mend(inspected: Inspected, admit: Admit) -> None:
    """What a writer can do: delete what is left over, and say again what was forgotten."""
    try:
        view = await look(inspected)
        await _put_note(inspected, view)
        options = Options(collect=False, sweep_delay=0)
        volume = await attach(
            inspected.store,
            inspected.prefix,
            inspected.environment,
            options,
            Caches(memory=FrameCache(FrameMemory(MIB))),
            inspected.source,
            admit=admit,
        )
    except Corrupt:
        return  # damage stays; the check that follows names it
    try:
        authority = volume.parts.authority
        missing = await _missing_fences(inspected)
        if missing:
            await volume.parts.checkpointer.advance(
                unfenced=(*authority.superblock.unfenced, *missing)
            )
        await volume.checkpoint()
        await volume.sweep()
    finally:
        await _closed(volume.close())


async def _missing_fences(inspected: Inspected) -> list[int]:
    view = await look(inspected)
    walk = RootWalk(inspected.store, view.lineage, view.superblock.checkpoint, view.superblock.size)
    await walk.open()
    log = await check_log(inspected.store, view, walk, Findings())
    ours = view.superblock.epoch
    return [epoch for epoch in missing_fences(view, log.fences) if epoch != ours]


async def _put_note(inspected: Inspected, view: View) -> None:
    """A clone's note in its parent's folder, if that still has the snapshot."""
    key, parent = await missing_note(inspected, view), view.superblock.parent
    if key is None or parent is None:
        return
    found = await newest(inspected.store, Names(parent.prefix))
    if found is None or found.superblock.volume != parent.uuid:
        return
    snapshots = [one.id for one in found.superblock.snapshots if not one.deleting]
    if parent.snapshot not in snapshots:
        return
    note = {
        "child": view.superblock.volume.hex(),
        "prefix": view.names.prefix,
        "snapshot": parent.snapshot,
    }
    await inspected.store.put(key, [json.dumps(note, sort_keys=True).encode() + b"\n"], True)


async def _closed(closing: object) -> None:
    if closing is not None:
        await closing  # type: ignore[misc]
