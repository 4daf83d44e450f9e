"""``volume ...`` and ``resize``: making, seeing, growing, deleting volumes, and changing keys."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

import attrs

from gateway.admin.wire import Cause, Problem
from gateway.cli import mapping, usage, words
from gateway.cli.address import Address, changed
from gateway.cli.asking import confirm
from gateway.cli.done import Done
from gateway.cli.exits import Failure, wrong
from gateway.cli.session import Session
from gateway.cli.texts import plural, size, table
from gateway.errors import ExportUnavailable, UnknownExport
from gateway.maintenance import Owner, VolumeDescription
from gateway.moments import moment


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    volume = words.group(kinds, "volume", "make, see, grow and delete volumes")
    create = words.command(
        volume,
        "create",
        _create,
        "make an empty volume",
        "Compression and encryption are those of the export's section, or of -o compression=...,"
        " --key-file and --passphrase-file. Nothing is set aside for the size: space is taken by"
        " what is written.",
    )
    words.address(create)
    create.add_argument(
        "size",
        metavar="SIZE",
        type=words.size,
        nargs="?",
        help="bytes of the disk, also as 200G or 1T (that of the export's section)",
    )
    create.add_argument("--description", metavar="TEXT", default="", help="for people")
    _add_keys(create)
    listing = words.command(
        volume,
        "list",
        _list,
        "the volumes in a store, or those of the configuration",
        "A URL may end at the bucket, or at a folder in it: volumes are looked for below.",
    )
    words.address(listing, optional=True)
    info = words.command(
        volume,
        "info",
        _info,
        "one volume: what it is, whose it is, its snapshots",
        "Nothing is opened. Of a volume that the running gateway has open it says what that knows.",
    )
    words.address(info)
    resize = words.command(
        volume,
        "resize",
        _resize,
        "make a disk larger",
        "It cannot be made smaller. Clients see the new size when they connect anew.",
    )
    words.address(resize)
    resize.add_argument(
        "size", metavar="SIZE", type=words.size, help="bytes of the whole disk, also as 200G or 1T"
    )
    _add_keys(resize)
    delete = words.command(
        volume,
        "delete",
        _delete,
        "delete a volume with all its snapshots, for good",
        "What cannot be undone is asked about first, or takes --yes. Interrupted, it can be gone"
        " on with; nobody can open what is half deleted. Two small objects stay, which keep"
        " gateways that were cut off from bringing parts of it back.",
    )
    words.address(delete)
    _add_keys(delete)
    owner = words.command(volume, "owner", _owner, "who holds a volume, or held it last")
    words.address(owner)
    usage.add(volume)
    mapping.add(volume)
    rekey = words.command(
        volume,
        "rekey",
        _rekey,
        "have another key or passphrase open a volume",
        "The old one opens it no more. Its data is not rewritten: who had the old key and a copy"
        " of the superblock has the data's key. Serve it with the new key from then on.",
    )
    words.address(rekey)
    _add_keys(rekey)
    new = rekey.add_mutually_exclusive_group(required=True)
    new.add_argument("--new-key-file", metavar="FILE", help="the key that shall open it")
    new.add_argument("--new-passphrase-file", metavar="FILE", help="the passphrase that shall")


def _add_keys(parser: Any) -> None:
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--key-file", metavar="FILE", help="the key of an encrypted volume")
    keys.add_argument("--passphrase-file", metavar="FILE", help="its passphrase")


def _keyed(session: Session, given: Namespace) -> Address:
    """The address, with the key that was named beside it."""
    address = session.address(given.address)
    session.check_writable(address)
    named = {"key_file": given.key_file, "passphrase_file": given.passphrase_file}
    wanted = {key: value for key, value in named.items() if value is not None}
    if not wanted:
        return address
    address = attrs.evolve(
        address, settings=attrs.evolve(address.settings, key_file=None, passphrase_file=None)
    )
    return attrs.evolve(address, settings=changed(address, wanted))


async def _create(session: Session, given: Namespace) -> Done:
    address = _keyed(session, given)
    wanted = given.size if given.size is not None else address.settings.size
    if wanted is None:
        raise wrong(f"{address.text}: expected a SIZE")
    made = await session.place(address).create(wanted, given.description or address.name or "")
    url = address.provider.url(address.settings)
    return Done(_json(made, url), f"a volume of {size(made.size)} is made: {url}")


async def _list(session: Session, given: Namespace) -> Done:
    rows: list[tuple[str, ...]] = []
    values = []
    failures = []
    if given.address is not None:
        address = session.address(given.address, whole=True)
        for one in await session.place(address).volumes():
            url = address.provider.url(attrs.evolve(address.settings, prefix=one.name))
            rows.append(_row(url, one))
            values.append(_json(one, url))
    else:
        for name in session.names():
            address = session.address(name)
            try:
                one = await session.place(address).describe()
            except UnknownExport:
                rows.append((name, "-", "not made yet", "", ""))
                continue
            except ExportUnavailable as error:
                failures.append(str(error))
                continue
            rows.append(_row(name, one))
            values.append({**_json(one, address.provider.url(address.settings)), "export": name})
    for text in failures:
        session.warn(text)
    return Done({"volumes": values}, table(rows) or "no volumes")


def _row(name: str, one: VolumeDescription) -> tuple[str, ...]:
    notes = [one.compression, *(["encrypted"] if one.encrypted else [])]
    if one.parent is not None:
        notes.append(f"clone of {one.parent}")
    state = "half deleted" if one.deleting else _state(one)
    return name, size(one.size), state, plural(len(one.snapshots), "snapshot"), ", ".join(notes)


def _state(one: VolumeDescription) -> str:
    if not one.in_use:
        return "at rest"
    return f"in use by {_who(one.owner)}"


def _who(owner: Owner | None) -> str:
    return "somebody" if owner is None else f"{owner.process} on {owner.host}"


async def _info(session: Session, given: Namespace) -> Done:
    served = await session.served(given.address)
    if given.socket is not None:
        if served is None:
            served = await session.gateway().ask("GET", "exports", given.address)
        return Done(served, table(_facts(served)))
    address = session.address(given.address)
    one = await session.place(address).describe()
    value = _json(one, address.provider.url(address.settings))
    rows = [(key, _plain(key, part)) for key, part in value.items() if key not in _OWN_ROWS]
    rows.append(("owner", _holder(one)))
    rows += [
        ("snapshot", f"{shot.name}, {moment(shot.created)}, {size(shot.size)}")
        for shot in one.snapshots
    ]
    if served is not None:
        value["gateway"] = served
        shown = {key: part for key, part in served.get("facts", {}).items() if key not in value}
        rows += [("clients", str(served["clients"])), *_facts(shown)]
    return Done(value, table(rows))


#: Keys of a description that are shown in another way.
_OWN_ROWS = ("owner", "snapshots")


def _facts(values: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(key, _plain(key, one)) for key, one in values.items() if key != "facts"]
    return rows + [(key, _plain(key, one)) for key, one in values.get("facts", {}).items()]


async def _resize(session: Session, given: Namespace) -> Done:
    async with session.volume(given.address, _keys_of(session, given)) as volume:
        await volume.grow(given.size)
    value = {"export": given.address, "size": given.size}
    return Done(
        value, f"{given.address} has {size(given.size)}; clients see it when they connect anew"
    )


async def _delete(session: Session, given: Namespace) -> Done:
    served = await session.served(given.address)
    if served is not None:
        raise _served(
            f"{given.address}: the gateway serves it; take its section out of the configuration,"
            " reload, and delete it by its URL"
        )
    address = _keyed(session, given)
    place = session.place(address)
    one = await place.describe()
    confirm(
        given.yes,
        f"The volume {address.text} of {size(one.size)} with"
        f" {plural(len(one.snapshots), 'snapshot')} will be deleted for good."
        " This cannot be undone.",
        one.name,
    )
    kept = (
        "the volume is half deleted: nobody can open it, and the same command goes on with"
        " deleting it"
    )
    with session.progress("deleting", kept) as tell:
        count = await place.delete(tell, given.take_over)
    value = {"volume": one.name, "uuid": one.uuid, "objects": count}
    return Done(value, f"{address.text} is deleted: {plural(count, 'object')}")


async def _owner(session: Session, given: Namespace) -> Done:
    one = await session.place(session.address(given.address)).describe()
    value = {
        "in_use": one.in_use,
        "owner": None if one.owner is None else asdict(one.owner),
        "journal_host": one.journal_host,
    }
    text = _holder(one)
    if one.journal_host is not None:
        text += f"\nthe journal of {one.journal_host} may hold writes that the store has not"
    return Done(value, text)


async def _rekey(session: Session, given: Namespace) -> Done:
    if await session.served(given.address) is not None:
        raise _served(f"{given.address}: the gateway serves it; stop it first")
    address = _keyed(session, given)
    bare = attrs.evolve(
        address, settings=attrs.evolve(address.settings, key_file=None, passphrase_file=None)
    )
    key = "key_file" if given.new_key_file else "passphrase_file"
    new = changed(bare, {key: given.new_key_file or given.new_passphrase_file})
    with session.runtime.interruption.held("either the old key or the new one opens the volume"):
        await session.place(address).change_keys(new)
    return Done(
        {"volume": address.text, "opened_by": key},
        f"{address.text} is opened by the new key, and by the old one no more",
    )


def _served(text: str) -> Failure:
    return Failure(Problem(Cause.BUSY, text))


def _keys_of(session: Session, given: Namespace) -> Any:
    """Late: an export that is served needs no key here."""
    return lambda: _keyed(session, given)


def _holder(one: VolumeDescription) -> str:
    owner = one.owner
    if owner is None:
        return "nobody ever opened it" if not one.in_use else "somebody holds it"
    since = moment(owner.since)
    who = f"process {owner.process} on {owner.host}"
    if not one.in_use:
        how = "had it last" if one.closed else "ended without closing it"
        return f"nobody; {who} {how}, opened {since} (epoch {owner.epoch})"
    known = "" if owner.alive else ", which may or may not run"
    return f"{who}{known}, since {since} (epoch {owner.epoch})"


def _json(one: VolumeDescription, url: str) -> dict[str, Any]:
    return {"url": url, **asdict(one)}


def _plain(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "size" or key.endswith("_bytes"):
        return f"{size(value)} ({value} bytes)"
    if key == "created":
        return moment(value)
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return str(value) or "-"
