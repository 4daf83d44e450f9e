"""``snapshot ...`` and ``clone``."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import attrs

from gateway.cli import words
from gateway.cli.address import is_url
from gateway.cli.asking import confirm
from gateway.cli.done import Done
from gateway.cli.session import Session
from gateway.cli.texts import size, table
from gateway.moments import moment


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    snapshot = words.group(
        kinds,
        "snapshot",
        "take, list and delete snapshots, and go back to one",
        "Clients that may use an export read its snapshots as EXPORT@NAME.",
    )
    create = words.command(
        snapshot,
        "create",
        _create,
        "keep a disk as it is now",
        "With every write that was answered before; what a client holds back in its own"
        " caches is not in it. Space is taken by what changes afterwards.",
    )
    words.address(create)
    create.add_argument(
        "name",
        metavar="NAME",
        type=words.name,
        nargs="?",
        help="1 to 100 of A-Z a-z 0-9 . _ - : (the time, if there is none)",
    )
    listing = words.command(
        snapshot, "list", _list, "the snapshots of a volume", "Whoever holds it."
    )
    words.address(listing)
    delete = words.command(snapshot, "delete", _delete, "give a snapshot up")
    words.address(delete)
    _add_name(delete)
    roll_back = words.command(
        snapshot,
        "rollback",
        _roll_back,
        "make a disk what it was",
        "What was written since is gone, unless another snapshot has it. Refused while a"
        " client uses the export or reads a snapshot of it; who connects meanwhile waits.",
    )
    words.address(roll_back)
    _add_name(roll_back)
    clone = words.command(
        kinds,
        "clone",
        _clone,
        "make a new volume of a snapshot, in the same store",
        "The clone shares what it has in common with the snapshot, which cannot be deleted"
        " as long as the clone is there. Nothing is copied.",
    )
    words.address(clone)
    clone.add_argument(
        "name", metavar="SNAPSHOT", type=words.name, help="one of the volume's snapshots"
    )
    clone.add_argument(
        "new", metavar="NEW", type=words.name, help="what its own export will have as its prefix"
    )


def _add_name(parser: Any) -> None:
    parser.add_argument("name", metavar="NAME", type=words.name, help="of a snapshot")


async def _create(session: Session, given: Namespace) -> Done:
    name = given.name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    async with session.volume(given.address) as volume:
        taken = await volume.take_snapshot(name)
    text = f"snapshot {taken.name} is taken"
    if not is_url(given.address):
        text += f"; clients read it as {given.address}@{taken.name}"
    return Done(asdict(taken), text)


async def _list(session: Session, given: Namespace) -> Done:
    if await session.served(given.address) is not None:
        async with session.volume(given.address) as volume:
            found = await volume.snapshots()
    else:
        known = await session.place(session.address(given.address)).describe()
        found = [*known.snapshots]
    rows = [(one.name, moment(one.created), size(one.size)) for one in found]
    value = {"snapshots": [asdict(one) for one in found]}
    return Done(value, table(rows) or "no snapshots")


async def _delete(session: Session, given: Namespace) -> Done:
    async with session.volume(given.address) as volume:
        await volume.delete_snapshot(given.name)
    value = {"export": given.address, "snapshot": given.name}
    return Done(value, f"snapshot {given.name} is deleted")


async def _roll_back(session: Session, given: Namespace) -> Done:
    confirm(
        given.yes,
        f"What was written to {given.address} since snapshot {given.name} was taken will be"
        " gone for good, unless another snapshot has it.",
        given.name,
    )
    async with session.volume(given.address) as volume:
        await volume.roll_back(given.name)
    value = {"export": given.address, "snapshot": given.name}
    return Done(value, f"{given.address} is what it was in snapshot {given.name}")


async def _clone(session: Session, given: Namespace) -> Done:
    async with session.volume(given.address) as volume:
        await volume.clone(given.name, given.new)
    value = {"export": given.address, "snapshot": given.name, "name": given.new}
    text = f"volume {given.new} is made of {given.address}@{given.name}"
    if is_url(given.address):
        parent = session.address(given.address)
        url = parent.provider.url(attrs.evolve(parent.settings, prefix=given.new))
        return Done({**value, "url": url}, f"{text}: {url}")
    return Done(
        value,
        f"{text}. To serve it, add a section [export:...]\nwith the keys of"
        f" [export:{given.address}], but prefix = {given.new}, and reload.",
    )
