"""What tables count, against what was found."""

from __future__ import annotations

from backends.volume.inspection.findings import Findings
from backends.volume.inspection.map_checks import Reached
from backends.volume.inspection.view import View
from backends.volume.inspection.walking import RootWalk, source_of
from backends.volume.table_page import FREE, NOBODY, Entry, ObjectKind
from gateway.maintenance import Severity


def check_counts(view: View, head: RootWalk, reached: Reached, findings: Findings) -> None:
    """
    Compare.

    Args:
        head: a walk over the whole disk as it is now, which found no damage.
    """
    if head.loaded is None:
        return
    snapshots = {one.id for one in view.superblock.snapshots}
    version = head.loaded.state.version
    for index, entry in head.loaded.table.items():
        key = view.lineage.key(source_of(entry))
        _check(key, entry, reached.live.get(index, 0), "sectors", snapshots, version, findings)
        if entry.kind == ObjectKind.DATA and not entry.volume and entry.birth != entry.number:
            _tell(findings, key, f"birth: got version {entry.birth}, expected {entry.number}")
    for index, entry in head.loaded.containers.items():
        key = view.lineage[entry.volume].names.ck(entry.epoch, entry.number)
        used = head.slices.used.get(index, 0)
        _check(key, entry, used, "bytes of slices", snapshots, version, findings)


def _check(
    key: str,
    entry: Entry,
    found: int,
    unit: str,
    snapshots: set[int],
    version: int,
    findings: Findings,
) -> None:
    if entry.live != found:
        _tell(findings, key, f"live: got {entry.live} {unit}, expected {found}")
    if entry.live and entry.held_by != NOBODY:
        _tell(findings, key, f"held by: got {entry.held_by}, expected nobody, as it is live")
    elif entry.held_by not in (NOBODY, FREE) and entry.held_by not in snapshots:
        _tell(findings, key, f"held by: got snapshot {entry.held_by}, expected one that is there")
    if entry.birth > version:
        _tell(findings, key, f"birth: got version {entry.birth}, expected at most {version}")


def _tell(findings: Findings, key: str, what: str) -> None:
    findings.add(Severity.REPAIRABLE, key, f"{key}: in the table, {what}")
