"""
Superblocks as they lie in the store: fields of JSON in an object of their own.

An object whose data is JSON, for people to read, never compressed or
encrypted. The tag of an encrypted volume's superblock can only be checked with
the key that is wrapped inside, so reading takes two steps: `decode` checks
everything but the tag, `verify` the tag.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from backends.volume import header as headers
from backends.volume.frames import CODECS, open_frame
from backends.volume.header import FIXED, Codec, Kind
from backends.volume.json_fields import (
    U32,
    Reader,
    choice,
    fields_of,
    flag,
    integer,
    optional,
    record,
    sequence,
    text,
    uuid,
)
from backends.volume.keys import Crypt, Wrap, check_wrap
from backends.volume.sealing import seal
from backends.volume.superblock import (
    STATES,
    Ancestor,
    Holder,
    JournalNote,
    Parent,
    Rollback,
    Root,
    Snapshot,
    Superblock,
    check_snapshot_name,
)
from backends.volume.units import SECTOR
from gateway.errors import Corrupt
from gateway.info import MAX_EXPORT_SIZE
from gateway.interfaces import Buffer
from gateway.settings import BadValue

#: Features without which a volume cannot be understood, that this version knows.
FEATURES: frozenset[str] = frozenset()


def encode(superblock: Superblock, crypt: Crypt | None) -> bytes:
    """
    The whole object.

    Args:
        crypt: the volume's key; needed just when there are wraps.

    Raises:
        ValueError: `decode` would refuse it; a mistake of the caller.
    """
    if superblock.encrypted != (crypt is not None):
        raise ValueError("superblock: a key is needed just when the volume is encrypted")
    text = json.dumps(_to_json(superblock), sort_keys=True, indent=1, ensure_ascii=False)
    sealed = seal(
        Kind.SUPERBLOCK,
        superblock.volume,
        superblock.writer,
        superblock.epoch,
        superblock.generation,
        0,
        superblock.written_ms,
        (),
        [text.encode() + b"\n"],
        Codec.NONE,
        crypt,
    )
    data = b"".join(sealed.parts)
    try:
        decode(data, "superblock")
    except Corrupt as error:
        raise ValueError(str(error)) from None
    return data


def decode(
    data: Buffer, where: str, *, volume: bytes | None = None, generation: int | None = None
) -> Superblock:
    """
    Read and check a superblock, but for its keyed tag: that takes `verify`.

    Args:
        data: the whole object.
        where: its name, for messages.
        volume, generation: what it must be of; each counts when given.

    Raises:
        Corrupt: it is no such superblock, or of a volume that takes a newer
            version of this program; the text says which field.
    """
    header = headers.decode(
        data,
        None,
        where,
        kind=Kind.SUPERBLOCK,
        volume=volume,
        position=generation,
        number=0,
    )
    headers.expect(where, "length in bytes", len(data), header.object_length)
    view = memoryview(data)
    frames = [
        open_frame(
            header, i, view[header.frame_offset(i) : header.frame_offset(i + 1)], None, where
        )
        for i in range(len(header.frames))
    ]
    try:
        fields = json.loads(
            b"".join(frames).decode(), object_pairs_hook=_once, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{where}: it is not JSON: {error}") from None
    superblock = _from_json(fields, header.wall_ms, where)
    for what, in_text, in_header in (
        ("volume", superblock.volume, header.volume),
        ("writer", superblock.writer, header.writer),
        ("generation", superblock.generation, header.position),
        ("epoch", superblock.epoch, header.epoch),
        ("encrypted", superblock.encrypted, header.encrypted),
    ):
        headers.expect(where, f"{what} in the JSON", in_text, in_header)
    return superblock


def verify(data: Buffer, crypt: Crypt, where: str) -> None:
    """
    Check the keyed tag of a superblock that was read, with the key found inside.

    Args:
        data: the whole object.

    Raises:
        Corrupt: who wrote it did not have the key, or it is not encrypted.
    """
    headers.decode(data, crypt, where, kind=Kind.SUPERBLOCK, volume=crypt.volume)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands in it twice")
    return fields


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


# -- to JSON: field by field, bytes as hexadecimal digits


def _to_json(superblock: Superblock) -> dict[str, Any]:
    fields = attrs.asdict(superblock, recurse=True, value_serializer=_plain)
    del fields["extra"], fields["written_ms"]
    overlap = set(fields) & set(superblock.extra)
    if overlap:
        raise ValueError(f"superblock: extra fields {sorted(overlap)} have names of known ones")
    return superblock.extra | fields


def _plain(_instance: object, _field: object, value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


# -- from JSON


def _size(value: Any, where: str) -> int:
    size = integer(MAX_EXPORT_SIZE)(value, where)
    if size % SECTOR:
        raise Corrupt(f"{where}: got {size}, expected a multiple of {SECTOR}")
    return size


def _snapshot_name(value: Any, where: str) -> str:
    try:
        return check_snapshot_name(text(value, where))
    except BadValue as problem:
        raise Corrupt(f"{where}: {problem}") from None


def _wrap(value: Any, where: str) -> Wrap:
    check_wrap(value, where)
    return dict(value)


def _features(value: Any, where: str) -> tuple[str, ...]:
    names = sequence(text)(value, where)
    unknown = sorted(set(names) - FEATURES)
    if unknown:
        raise Corrupt(
            f"{where}: the volume uses {', '.join(unknown)}, which this version does not know"
        )
    return names


_root = record(
    Root,
    {
        "epoch": integer(U32),
        "n": integer(U32),
        "offset": integer(minimum=FIXED),
        "stored_length": integer(U32, minimum=1),
        "version": integer(),
    },
)
_snapshot = record(
    Snapshot,
    {
        "id": integer(minimum=1),
        "name": _snapshot_name,
        "version": integer(),
        "root": optional(_root),
        "size": _size,
        "created_ms": integer(),
        "deleting": flag,
    },
)
_parent = record(Parent, {"uuid": uuid, "prefix": text, "snapshot": integer(minimum=1)})
_ancestor = record(Ancestor, {"uuid": uuid, "prefix": text, "wrap": optional(_wrap)})
_journal = record(
    JournalNote,
    {"host": text, "epoch": integer(U32), "lsn": integer(), "since_ms": integer()},
)

_holder = record(
    Holder,
    {
        "host": text,
        "process": integer(U32),
        "since_ms": integer(),
        "machine": text,
        "boot": text,
        "namespace": text,
        "started": integer(),
    },
)
_rollback = record(Rollback, {"version": integer(), "to": integer()})

_READERS: dict[str, Reader[Any]] = {
    # First, so that a volume of a later version is refused for what it needs.
    "features": _features,
    "volume": uuid,
    "generation": integer(),
    "epoch": integer(U32),
    "writer": uuid,
    "size": _size,
    "created_ms": integer(),
    "state": choice(*STATES),
    "owner": optional(_holder),
    "first_slot": integer(minimum=1),
    "compatible": sequence(text),
    "codec": choice(*CODECS),
    "checkpoint": optional(_root),
    "snapshots": sequence(_snapshot),
    "next_snapshot_id": integer(minimum=1),
    "parent": optional(_parent),
    "ancestors": sequence(_ancestor),
    "wraps": sequence(_wrap),
    "journal": optional(_journal),
    "rollbacks": sequence(_rollback),
    "fenced": flag,
    "pending": sequence(integer(U32)),
    "unfenced": sequence(integer(U32)),
    "description": text,
}


def _from_json(fields: Any, written_ms: int, where: str) -> Superblock:
    values = fields_of(fields, _READERS, where)
    extra = {name: value for name, value in fields.items() if name not in _READERS}
    superblock = Superblock(written_ms=written_ms, extra=extra, **values)
    ids = [snapshot.id for snapshot in superblock.snapshots]
    if ids != sorted(set(ids)) or ids and ids[-1] >= superblock.next_snapshot_id:
        raise Corrupt(
            f"{where}: snapshots: got the ids {ids[:100]}, expected rising ones below "
            f"next_snapshot_id, {superblock.next_snapshot_id}"
        )
    names = [snapshot.name for snapshot in superblock.snapshots if not snapshot.deleting]
    if len(names) != len(set(names)):
        raise Corrupt(f"{where}: snapshots: two of them have one name")
    return superblock
