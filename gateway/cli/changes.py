"""``changed``: where a disk differs from what it was."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import Deferred

from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.exits import wrong
from gateway.cli.session import Session
from gateway.cli.texts import plural, size, table
from gateway.errors import UnknownExport
from gateway.info import MIB
from gateway.maintenance import Progress

#: Bytes of the disk that are asked about at a time.
_STEP = 16384 * MIB


def add(kinds: Any) -> None:
    """The command, to the command line."""
    parser = words.command(
        kinds,
        "changed",
        _changed,
        "where a disk was changed between two snapshots, or since one",
        "What is not told is as it was; what is told may be. Maps are read, data is not. Without"
        " a second snapshot it is the disk as it is now: of one that the gateway has open a"
        " snapshot is taken for it, and deleted in the end; any other is taken over for the time,"
        " and refused while somebody else holds it.",
    )
    words.address(parser)
    parser.add_argument("since", metavar="SNAPSHOT", type=words.name, help="the older one")
    parser.add_argument(
        "until", metavar="SNAPSHOT", type=words.name, nargs="?", help="the newer one (now)"
    )


async def _changed(session: Session, given: Namespace) -> Done:
    await _check(session, given)
    async with _read(session, given) as export:
        total = export.info.size
        with session.progress("comparing", "nothing was changed; start it again") as tell:
            found = await _extents(export, given.since, tell)
    changed = sum(length for _, length in found)
    value = {
        "export": given.address,
        "since": given.since,
        "until": given.until,
        "size": total,
        "changed_bytes": changed,
        "extents": [{"start": start, "length": length} for start, length in found],
    }
    rows = [(str(start), str(length)) for start, length in found]
    shown = [table([("start", "length"), *rows])] if rows else []
    summary = (
        f"{size(changed)} of {size(total)} changed since {given.since},"
        f" in {plural(len(found), 'extent')}"
    )
    return Done(value, "\n".join([*shown, summary]))


async def _check(session: Session, given: Namespace) -> None:
    """Both are there, and in this order."""
    known = await session.place(session.address(given.address)).describe()
    names = [one.name for one in known.snapshots]
    for name in filter(None, (given.since, given.until)):
        if name not in names:
            raise UnknownExport(
                f"{given.address}: got {name}, expected a snapshot of it:"
                f" {', '.join(names) or 'there is none'}"
            )
    if given.until and names.index(given.since) >= names.index(given.until):
        raise wrong(f"got {given.since} and {given.until}, expected the older one first")


@asynccontextmanager
async def _read(session: Session, given: Namespace) -> AsyncIterator[Any]:
    """What is compared; it provides `IChangedBlocks`."""
    address = session.address(given.address)
    if given.until is not None:
        async with session.export(address, given.until) as export:
            yield export
    elif await session.served(given.address) is not None:
        async with (
            session.moment(given.address, "changed") as snapshot,
            session.export(address, snapshot) as export,
        ):
            yield export
    else:
        async with session.volume(given.address) as volume:
            yield volume


async def _extents(export: Any, since: str, tell: Progress) -> list[tuple[int, int]]:
    """Offset and length of every part that was changed, in order, as long as they get."""
    found: list[tuple[int, int]] = []
    at, end = 0, export.info.size
    while at < end:
        answer = export.changed(since, at, min(_STEP, end - at), False)
        for one in await answer if isinstance(answer, Deferred) else answer:
            length = min(one.length, end - at)
            if one.dirty and found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + length)
            elif one.dirty:
                found.append((at, length))
            at += length
        tell(at, end, "bytes")
    return found
