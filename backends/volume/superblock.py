"""
Superblocks: what a volume is, whose it is, and where its map starts.

An object whose data is JSON, for people to read, never compressed or
encrypted. The tag of an encrypted volume's superblock can only be checked with
the key that is wrapped inside, so reading takes two steps: `decode` checks
everything but the tag, `verify` the tag.
"""

from __future__ import annotations

import json
import re
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
from backends.volume.units import SECTOR
from gateway.errors import Corrupt
from gateway.info import MAX_EXPORT_SIZE
from gateway.interfaces import Buffer
from gateway.settings import BadValue

#: Features without which a volume cannot be understood, that this version knows.
FEATURES: frozenset[str] = frozenset()

#: ``deleting``: it is on its way out; ``deleted``: what is left so that nothing comes back.
STATES = ("open", "closed", "deleting", "deleted")

_SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def check_snapshot_name(name: str) -> str:
    """
    The name itself.

    Raises:
        BadValue: it is no snapshot's name.
    """
    if not _SNAPSHOT_NAME.fullmatch(name):
        raise BadValue(
            f"snapshot name: got {name[:120]!r}, expected 1 to 100 of A-Z a-z 0-9 . _ - :"
        )
    return name


@attrs.frozen
class Root:
    """
    Where the map of one version starts: a slice of a checkpoint object.

    Attributes:
        epoch, n: of the object's name, ``ck/<epoch>-<n>``.
        offset: bytes in the object.
        stored_length: bytes, with the slice's envelope.
        version: the last log slot that is in the map.
    """

    epoch: int
    n: int
    offset: int
    stored_length: int
    version: int


@attrs.frozen
class Snapshot:
    """
    A version of the disk that is kept.

    Attributes:
        id: unique in the volume, never used again; larger is younger.
        name: see `check_snapshot_name`.
        version: the last log slot that is in it.
        root: its map; None when nothing had been written.
        size: of the disk then, in bytes.
        created_ms: milliseconds since 1970.
        deleting: it is on its way out, and nobody may open it.
    """

    id: int
    name: str
    version: int
    root: Root | None
    size: int
    created_ms: int
    deleting: bool = False


@attrs.frozen
class Parent:
    """
    The snapshot that a clone was made of.

    Attributes:
        uuid: the parent volume's, 16 bytes.
        prefix: where the parent's objects lie in the store.
        snapshot: the snapshot's id.
    """

    uuid: bytes
    prefix: str
    snapshot: int


@attrs.frozen
class Ancestor:
    """
    A volume whose objects the map of this one may name: the parent, its parent, ...

    Attributes:
        uuid: 16 bytes.
        prefix: where its objects lie in the store.
        wrap: its key, wrapped under this volume's; None without encryption.
    """

    uuid: bytes
    prefix: str
    wrap: Wrap | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Rollback:
    """
    That the disk went back to what it was: for whoever replays the whole log.

    Attributes:
        version: the last log slot before it.
        to: the last log slot that counts; what lies between does not.
    """

    version: int
    to: int


@attrs.frozen
class JournalNote:
    """
    That promises may rest on a journal which only one host has.

    Attributes:
        host: its name.
        epoch: of the attachment that began with the journal; its own epoch is no older.
        lsn: the highest of its records that is in the checkpoint.
        since_ms: milliseconds since 1970.
    """

    host: str
    epoch: int
    lsn: int
    since_ms: int


@attrs.frozen
class Holder:
    """
    The process that opened the volume last.

    Attributes:
        host: name of its machine.
        process: its number.
        since_ms: when it opened the volume, by its own clock; milliseconds since 1970.
        machine, boot, namespace, started: by which others on that machine know whether it
            runs; see `backends.volume.processes.Process`.
    """

    host: str
    process: int
    since_ms: int
    machine: str = ""
    boot: str = ""
    namespace: str = ""
    started: int = 0


@attrs.frozen
class Superblock:
    """
    What a volume is at one generation.

    Attributes:
        volume: its uuid, 16 bytes.
        generation: number of this superblock, one more than that of the last.
        epoch: of the writer that holds the volume, or held it last.
        writer: uuid of that attachment, 16 bytes.
        size: of the disk in bytes, a multiple of 512.
        created_ms: when the volume was made; milliseconds since 1970.
        written_ms: when this superblock was; from the header.
        state: ``open``, or ``closed`` when the last writer left nothing behind; ``deleting``
            and ``deleted`` are no volumes any more.
        owner: who holds it, or held it last; None if nobody ever did.
        first_slot: of the log: those before belonged to a volume that was deleted.
        features: names of what a reader must know; unknown ones are refused.
        compatible: names of what a reader may ignore.
        codec: ``none``, ``zstd`` or ``lz4``; for what is written from now on.
        checkpoint: the map; None before the first.
        snapshots: by id.
        next_snapshot_id: the id of the next snapshot.
        parent: in a clone.
        ancestors: nearest first.
        wraps: the volume key, wrapped once for each key or passphrase that
            opens it; empty just without encryption.
        journal: set while a journal may hold what the store has not.
        rollbacks: in the order in which they were made.
        fenced: the writer has put its fence; known from its second superblock on.
        pending: earlier epochs of which nobody knows yet whether they did.
        unfenced: epochs that did not in time: a fence of theirs is a stray one.
        description: for people.
        extra: fields of later versions that may be ignored; kept as they are.
    """

    volume: bytes
    generation: int
    epoch: int
    writer: bytes
    size: int
    created_ms: int
    written_ms: int = 0
    state: str = "open"
    owner: Holder | None = None
    first_slot: int = 1
    features: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()
    codec: str = "none"
    checkpoint: Root | None = None
    snapshots: tuple[Snapshot, ...] = ()
    next_snapshot_id: int = 1
    parent: Parent | None = None
    ancestors: tuple[Ancestor, ...] = ()
    wraps: tuple[Wrap, ...] = attrs.field(default=(), repr=False)
    journal: JournalNote | None = None
    rollbacks: tuple[Rollback, ...] = ()
    fenced: bool = False
    pending: tuple[int, ...] = ()
    unfenced: tuple[int, ...] = ()
    description: str = ""
    extra: dict[str, Any] = attrs.field(factory=dict)

    @property
    def encrypted(self) -> bool:
        """Whether a key is needed."""
        return bool(self.wraps)

    def encode(self, crypt: Crypt | None) -> bytes:
        """
        The whole object.

        Args:
            crypt: the volume's key; needed just when there are wraps.

        Raises:
            ValueError: `decode` would refuse it; a mistake of the caller.
        """
        if self.encrypted != (crypt is not None):
            raise ValueError("superblock: a key is needed just when the volume is encrypted")
        text = json.dumps(_to_json(self), sort_keys=True, indent=1, ensure_ascii=False)
        sealed = seal(
            Kind.SUPERBLOCK,
            self.volume,
            self.writer,
            self.epoch,
            self.generation,
            0,
            self.written_ms,
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
