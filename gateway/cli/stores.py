"""``probe`` and ``gc``: what a store can do, and giving space back to it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.exits import Exit
from gateway.cli.session import Session
from gateway.cli.texts import plural, size, table


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    collect = words.command(
        kinds,
        "gc",
        _collect,
        "give space back to the store now",
        "The gateway does it by itself as well, now and then. What a snapshot needs stays.",
    )
    words.address(collect)
    collect.add_argument(
        "--dry-run", action="store_true", help="only say what there is to give back"
    )
    probe = words.command(
        kinds,
        "probe",
        _probe,
        "try whether a store is safe for volumes",
        "A few objects are made below the volume's own folder and deleted again; in a bucket"
        " that takes about 110 small requests. The volume need not exist. Exit status 1 if the"
        " store lacks what a volume needs.",
    )
    words.address(probe)


async def _collect(session: Session, given: Namespace) -> Done:
    if given.dry_run:
        return await _garbage(session, given)
    async with session.volume(given.address) as volume:
        came = await volume.collect()
    emptied, swept = plural(came.emptied, "object"), plural(came.swept, "left-over object")
    value = {"export": given.address, **asdict(came)}
    return Done(value, f"{emptied} emptied, {swept} deleted")


async def _garbage(session: Session, given: Namespace) -> Done:
    place = session.place(session.address(given.address))
    with session.progress("looking", "nothing was changed") as tell:
        objects, left_over = await place.garbage(tell)
    value = {"export": given.address, "to_empty": objects, "left_over_bytes": left_over}
    emptied = plural(objects, "object")
    return Done(value, f"{emptied} to empty, {size(left_over)} left over; nothing was changed")


async def _probe(session: Session, given: Namespace) -> Done:
    address = session.address(given.address)
    traits = await session.place(address).probe()
    lacking = [one for one in traits if one.needed and one.works is False]
    rows = [(_word(one.works, one.needed), one.name, one.seen) for one in traits]
    verdict = (
        f"not safe for volumes: it lacks {', '.join(one.name for one in lacking)}"
        if lacking
        else "safe for volumes"
    )
    value = {"safe": not lacking, "traits": [asdict(one) for one in traits]}
    return Done(value, f"{table(rows)}\n{verdict}", Exit.FAILED if lacking else Exit.OK)


def _word(works: bool | None, needed: bool) -> str:
    if works is None:
        return "note"
    if works:
        return "ok"
    return "LACKS" if needed else "lacks"
