"""
Proving a volume from its objects alone; nothing is changed, also while somebody writes to it.

One look takes the newest superblock and follows it. What a writer deletes
meanwhile looks like damage: so what was found is only believed when the
superblock is still the newest, or when it is found once more in a later state.
"""

from __future__ import annotations

from backends.objects.contract import StoreError
from backends.volume.inspection.findings import Findings, confirmed, ordered
from backends.volume.inspection.inspector import Inspector
from backends.volume.inspection.view import Inspected, look
from backends.volume.superblocks import is_highest
from gateway.errors import Corrupt, Unavailable
from gateway.maintenance import Finding, Progress, Severity, Verdict

#: Looks at a volume that changes all the time.
_LOOKS = 5


async def check(inspected: Inspected, progress: Progress) -> Verdict:
    """
    As `gateway.maintenance.IVolumePlace.check`.

    Raises:
        UnknownExport: there is no volume.
        ExportUnavailable: it needs a key, or another one.
        Unavailable: the store did not answer.
    """
    try:
        return await _check(inspected, progress)
    except StoreError as failure:
        raise Unavailable(str(failure)) from None


async def _check(inspected: Inspected, progress: Progress) -> Verdict:
    before: tuple[Finding, ...] | None = None
    objects = size = 0
    for _ in range(_LOOKS):
        findings = Findings()
        generation = 0
        try:
            view = await look(inspected)
        except Corrupt as wrong:
            # Older ones are not asked: the volume went on, and nobody knows where to.
            findings.add(
                Severity.DAMAGE,
                str(wrong).split(":", 1)[0],
                f"{wrong}. No older superblock may be believed in its place; a rebuild makes a"
                " new one",
            )
        else:
            generation = view.superblock.generation
            inspector = Inspector(inspected, view, findings, progress)
            await inspector.inspect()
            objects, size = inspector.objects, inspector.bytes
        found = findings.all()
        certain = all(one.severity is Severity.NOTE for one in found)
        if certain or (
            generation and await is_highest(inspected.store, inspected.names, generation)
        ):
            return Verdict(found, objects, size)
        if before is not None:
            found_twice = confirmed(found, before)
            if len(found_twice) == len(found) or not generation:
                return Verdict(found_twice, objects, size)
        before = found
    assert before is not None
    return Verdict(_in_motion(inspected, found_twice, len(before)), objects, size)


def _in_motion(
    inspected: Inspected, found: tuple[Finding, ...], suspected: int
) -> tuple[Finding, ...]:
    note = Finding(
        Severity.NOTE,
        inspected.names.sb_prefix,
        f"somebody writes to the volume: {suspected - len(found)} parts of it were replaced while"
        " they were looked at, and are not proven. Check it again at rest",
    )
    return ordered((*found, note))
