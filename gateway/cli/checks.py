"""``check``, ``scrub`` and ``volume du``: proving, mending and measuring volumes at rest."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from gateway.cli import textfile, words
from gateway.cli.done import Done
from gateway.cli.exits import Exit
from gateway.cli.session import Session
from gateway.cli.texts import plural, size
from gateway.maintenance import Finding, Severity, Verdict

#: Ranges of the disk that are shown of one finding; JSON has all.
_RANGES = 8

_NOTHING = "nothing was changed; start it again to begin anew"


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    check = words.command(
        kinds,
        "check",
        _check,
        "prove a volume from its objects alone, and mend it if asked to",
        "Headers and maps are read, data is not; see scrub. A gateway may write to the volume"
        " meanwhile, except with --repair and --rebuild. Exit status 6 if bytes of the disk or of"
        " a snapshot are damaged, 7 if there was something wrong that is repaired now, 1 if"
        " something is wrong that concerns no byte of them.",
    )
    words.address(check)
    how = check.add_mutually_exclusive_group()
    how.add_argument(
        "--repair",
        action="store_true",
        help="correct what is counted wrongly, delete left-overs, and make a damaged map anew if"
        " all objects are there that tell it",
    )
    how.add_argument(
        "--rebuild",
        action="store_true",
        help="make the map anew from data objects alone, with no checkpoint left, or none believed",
    )
    scrub = words.command(
        kinds,
        "scrub",
        _scrub,
        "read all data of a volume and verify it against its checksums",
        "Damage is told with the object, the frame in it, and the ranges of the disk and of"
        " snapshots that lie there. Exit status 6 if there is any.",
    )
    words.address(scrub)
    scrub.add_argument(
        "--rate",
        metavar="BYTES",
        type=words.size,
        default=0,
        help="a second at most, also as 50M (as fast as it goes)",
    )
    scrub.add_argument(
        "--metrics",
        metavar="FILE",
        help="when it has come to its end, write there when that was and what it found, for the"
        " textfile collector of Prometheus' node exporter; a name that ends in .prom",
    )


async def _check(session: Session, given: Namespace) -> Done:
    place = session.place(session.address(given.address))
    if given.repair:
        with session.progress("repairing", "what is mended stays so; start it again") as tell:
            verdict = await place.repair(tell, given.take_over)
    elif given.rebuild:
        kept = "the volume is as it was; start it again"
        with session.progress("rebuilding", kept) as tell:
            verdict = await place.rebuild(tell, given.take_over)
    else:
        with session.progress("checking", _NOTHING) as tell:
            verdict = await place.check(tell)
    return _done(given.address, verdict)


async def _scrub(session: Session, given: Namespace) -> Done:
    place = session.place(session.address(given.address))
    if given.metrics:
        textfile.check(given.metrics)
    with session.progress("scrubbing", _NOTHING) as tell:
        verdict = await place.scrub(tell, float(given.rate))
    if given.metrics:
        textfile.write(given.metrics, given.address, verdict, time.time())
    return _done(given.address, verdict)


def _done(name: str, verdict: Verdict) -> Done:
    wrong = [one for one in verdict.findings if one.severity is not Severity.NOTE]
    status = Exit.OK
    if verdict.damaged:
        status = Exit.DAMAGED
    elif any(one.severity is Severity.REPAIRABLE for one in wrong):
        status = Exit.FAILED
    elif verdict.repaired:
        status = Exit.REPAIRED
    value = {
        "volume": name,
        "damaged": verdict.damaged,
        "objects": verdict.objects,
        "bytes": verdict.bytes,
        "repaired": verdict.repaired,
        "findings": [_json(one) for one in verdict.findings],
    }
    lines = [_text(one) for one in verdict.findings]
    looked = f"{plural(verdict.objects, 'object')} looked at, {size(verdict.bytes)} read"
    mended = f", {verdict.repaired} things repaired" if verdict.repaired else ""
    lines.append(f"{name}: {_summary(wrong)}; {looked}{mended}")
    return Done(value, "\n".join(lines), status)


def _summary(wrong: list[Finding]) -> str:
    if not wrong:
        return "all is well"
    counts = []
    for severity, noun in (
        (Severity.DAMAGE, "damaged"),
        (Severity.REPAIRABLE, "to be repaired"),
        (Severity.LEAK, "left over"),
    ):
        number = sum(one.severity is severity for one in wrong)
        if number:
            counts.append(f"{number} {noun}")
    return ", ".join(counts)


def _text(one: Finding) -> str:
    text = f"{one.severity.value}: {one.what}"
    if one.snapshot is not None:
        text += f"\n    in snapshot {one.snapshot}"
    if one.ranges:
        shown = ", ".join(f"{offset}+{length}" for offset, length in one.ranges[:_RANGES])
        more = len(one.ranges) - _RANGES
        text += f"\n    bytes {shown}{f' and {more} more ranges' if more > 0 else ''}"
    return text


def _json(one: Finding) -> dict[str, Any]:
    return {**asdict(one), "severity": one.severity.value}
