"""``import`` and ``export``: copying a disk into a volume and out of one."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from gateway import disks
from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.exits import wrong
from gateway.cli.session import Session
from gateway.cli.texts import size
from gateway.copying import Copy, is_blank, zero
from gateway.disks import PART, STREAM, Disk
from gateway.errors import UnknownExport
from gateway.interfaces import Resources
from gateway.notes import Note
from gateway.settings import BadValue
from gateway.streams import StreamSource, pour

_DISK = "an NBD URI, a path, or - for standard {}"


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    into = words.command(
        kinds,
        "import",
        _import,
        "copy a disk into a volume",
        "Holes and zeroes take no space. What was written is read again and compared. The volume"
        " is made if there is none; one that has data is refused unless --overwrite says"
        " otherwise, and then reads as zeroes behind the end of what is copied.",
    )
    into.add_argument("source", metavar="SOURCE", help=_DISK.format("input"))
    words.address(into)
    into.add_argument(
        "--size",
        metavar="SIZE",
        type=words.size,
        help="of a volume that is made: needed with -, else for one larger than the source",
    )
    _common(into)
    out = words.command(
        kinds,
        "export",
        _export,
        "copy a volume, or a snapshot of one, out of its store",
        "ADDRESS@SNAPSHOT is a snapshot. Of a disk that the gateway has open a snapshot is taken"
        " for it, and deleted in the end. A file is sparse, and has its name only when it is"
        " whole; until then it is called TARGET.part.",
    )
    words.address(out)
    out.add_argument("target", metavar="TARGET", help=_DISK.format("output"))
    _common(out)


def _common(parser: Any) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="although there is something already"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on where the same command was interrupted"
    )
    parser.add_argument(
        "--no-verify", action="store_true", help="do not read again what was written"
    )


async def _import(session: Session, given: Namespace) -> Done:
    resources = _resources(session)
    if given.source == STREAM and given.size is None:
        given.size = await _known_size(session, given.address)
    source = await _opened(disks.source(given.source, given.size, resources))
    try:
        async with _written(session, given, source) as target:
            copy = await _copy(session, given, source, target, "importing")
            if isinstance(source.export, StreamSource):
                await source.export.expect_end()
            rest = target.export.info.size - source.export.info.size
            if rest and not copy.clean:
                await zero(target.export, source.export.info.size, rest)
    finally:
        await source.close()
    return _done(copy, f"{given.source} is imported into {given.address}")


async def _export(session: Session, given: Namespace) -> Done:
    async with _read(session, given.address) as source:
        if given.target == STREAM:
            kept = "what was written to standard output is the beginning of the disk"
            with session.progress("exporting", kept) as tell:
                await pour(source.export, sys.stdout.buffer, session.runtime.call_in_thread, tell)
            value = {"size": source.export.info.size}
            return Done(value, f"{given.address} is exported", elsewhere=True)
        copy = await _export_to(session, given, source)
    return _done(copy, f"{given.address} is exported to {given.target}")


async def _export_to(session: Session, given: Namespace, source: Disk) -> Copy:
    in_thread = session.runtime.call_in_thread
    is_file = not disks.is_remote(given.target)
    if is_file and not given.overwrite and await in_thread(_is_file, given.target):
        raise wrong(f"{given.target}: there is one already; expected another name, or --overwrite")
    resumed = given.resume and await in_thread(os.path.exists, given.target + PART)
    target = await _opened(
        disks.target(given.target, source.export.info.size, _resources(session), resumed)
    )
    try:
        if "file" not in target.identity:
            await _expect_blank(given, given.target, target)
        copy = await _copy(session, given, source, target, "exporting")
    finally:
        await target.close()
    if "file" in target.identity:
        await in_thread(os.replace, given.target + PART, given.target)
    return copy


async def _copy(session: Session, given: Namespace, source: Disk, target: Disk, what: str) -> Copy:
    """Copy, from where it was interrupted if that is wanted."""
    in_thread = session.runtime.call_in_thread
    note = _note(session, source, target)
    # A target that is all zeroes has nothing of what the note tells.
    start = await in_thread(note.read) if given.resume and not target.blank else None
    if start is None:
        if given.resume and not (given.overwrite or target.blank or "file" in target.identity):
            raise wrong(
                "there is no note of such a copy, and the target has data already; expected"
                " --overwrite to begin anew"
            )
        start = 0
        if given.resume:
            session.warn("there is nothing to go on with; beginning anew")
        # Who is interrupted before the first step is done may go on as well.
        await in_thread(note.write, 0)

    async def reached(offset: int) -> None:
        await in_thread(note.write, offset)

    kept = "what was copied is kept; the same command with --resume goes on"
    with session.progress(what, kept) as tell:
        copy = Copy(
            source.export,
            target.export,
            tell,
            clean=target.blank,
            verify=not given.no_verify,
            reached=reached,
        )
        if start and not await copy.agrees(start):
            raise wrong(
                "the target does not have what was copied: it is another disk, or was changed"
                " since; expected --overwrite, without --resume, to begin anew"
            )
        await copy.run(start)
    await in_thread(note.forget)
    return copy


def _note(session: Session, source: Disk, target: Disk) -> Note:
    about = {"source": source.identity, "target": target.identity}
    if "file" in target.identity:
        path = f"{target.identity['file']}{PART}.json"
    else:
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        path = os.path.join(session.state_dir(), "copies", f"{name}.json")
    return Note(path, about)


@asynccontextmanager
async def _written(session: Session, given: Namespace, source: Disk) -> AsyncIterator[Disk]:
    """The volume that is imported into."""
    wanted = source.export.info.size if given.size is None else given.size
    if disks.is_remote(given.address):
        target = await _opened(disks.target(given.address, wanted, _resources(session)))
        try:
            yield await _checked(given, target)
        finally:
            await target.close()
        return
    served = await session.served(given.address)
    if served is not None:
        uri = session.uri(given.address)
        target = await _opened(disks.target(uri, wanted, _resources(session)))
        uuid = served.get("facts", {}).get("uuid")
        if uuid is not None:
            # As when no gateway has it: what is gone on with is the volume, however it is reached.
            target.identity = {"volume": uuid}
        try:
            yield await _checked(given, target)
        finally:
            await target.close()
        return
    address = session.address(given.address)
    place = session.place(address)
    try:
        known = await place.describe()
    except UnknownExport:
        known = await place.create(wanted, address.name or "")
    if known.size < source.export.info.size:
        raise wrong(
            f"{given.address}: got a disk of {size(known.size)}, expected at least"
            f" {size(source.export.info.size)}; `volume resize` makes it larger"
        )
    async with session.volume(given.address) as volume:
        export: Any = volume
        yield await _checked(given, Disk(export, {"volume": known.uuid}))


async def _checked(given: Namespace, target: Disk) -> Disk:
    """Not to be overwritten by mistake."""
    await _expect_blank(given, given.address, target)
    return target


async def _expect_blank(given: Namespace, name: str, target: Disk) -> None:
    target.blank = target.blank or await is_blank(target.export)
    if not target.blank and not given.overwrite and not given.resume:
        raise wrong(f"{name}: the disk has data already; expected --overwrite, or --resume")


@asynccontextmanager
async def _read(session: Session, text: str) -> AsyncIterator[Disk]:
    """What is exported; it does not change meanwhile."""
    if disks.is_remote(text):
        source = await _opened(disks.source(text, None, _resources(session)))
        try:
            yield source
        finally:
            await source.close()
        return
    name, snapshot = words.with_snapshot(text)
    address = session.address(name)
    if snapshot is None and await session.served(name) is not None:
        async with (
            session.moment(name, "export") as snapshot,
            session.export(address, snapshot) as export,
        ):
            yield Disk(export, {"volume": address.text, "snapshot": snapshot})
        return
    async with session.export(address, snapshot) as export:
        known = await session.place(address).describe()
        identity: dict[str, Any] = {"volume": known.uuid, "snapshot": snapshot}
        if snapshot is None:
            identity["generation"] = known.generation
        yield Disk(export, identity)


async def _known_size(session: Session, text: str) -> int | None:
    """Of a disk that is there already."""
    if disks.is_remote(text):
        target = await _opened(disks.source(text, None, _resources(session)))
        await target.close()
        return target.export.info.size
    try:
        return (await session.place(session.address(text)).describe()).size
    except UnknownExport:
        return None


async def _opened(opening: Awaitable[Disk]) -> Disk:
    try:
        return await opening
    except BadValue as problem:
        raise wrong(str(problem)) from None


def _resources(session: Session) -> Resources:
    runtime = session.runtime
    return Resources(runtime.reactor, runtime.call_in_thread, session.state_dir())


def _is_file(path: str) -> bool:
    return os.path.lexists(path) and not disks.is_device(path)


def _done(copy: Copy, text: str) -> Done:
    value = {
        "size": copy.source.info.size,
        "copied_bytes": copy.copied,
        "skipped_bytes": copy.skipped,
        "verified": copy.verify,
    }
    how = ", compared" if copy.verify else ""
    return Done(value, f"{text}: {size(copy.copied)} of data{how}, the rest holes")
