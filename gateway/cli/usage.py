"""``volume du``: what a volume takes in its store."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.session import Session
from gateway.cli.texts import size, table


def add(volume: Any) -> None:
    """The command, to the group ``volume``."""
    du = words.command(
        volume,
        "du",
        _du,
        "what a volume takes in its store, and what each snapshot costs",
        "Maps are read, data is not. Of a snapshot, what deleting it alone would give back.",
    )
    words.address(du)


async def _du(session: Session, given: Namespace) -> Done:
    place = session.place(session.address(given.address))
    with session.progress("measuring", "nothing was changed; start it again") as tell:
        used = await place.usage(tell)
    rows = [
        ("size", size(used.size), "of the disk"),
        ("data", size(used.data), "of it, before compression"),
        ("zero", size(used.zero), "written as zeroes"),
        ("hole", size(used.hole), "never written, or trimmed"),
        ("live", size(used.live), "data in objects of its own"),
        ("inherited", size(used.inherited), "data in objects of the volumes it was cloned from"),
        ("stored", size(used.stored), f"in {used.objects} objects, maps included"),
        ("stored data", size(used.stored_data), "of it, without maps"),
        ("dead", size(used.dead), "data that nothing refers to, not collected yet"),
        ("orphans", size(used.orphans), "left by crashes"),
    ]
    rows += [
        (f"@{one.name}", size(one.unique), f"given back by deleting it; it holds {size(one.data)}")
        for one in used.snapshots
    ]
    return Done({"volume": given.address, **asdict(used)}, table(rows))
