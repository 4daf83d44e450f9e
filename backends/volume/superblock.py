"""
Superblocks: what a volume is, whose it is, and where its map starts.

How one lies in the store says `backends.volume.superblock_json`.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from backends.volume.keys import Wrap
from gateway.settings import BadValue

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
