"""Making a volume: its first superblock."""

from __future__ import annotations

from backends.objects.contract import Exists, IObjectStore
from backends.volume.environment import Environment
from backends.volume.header import Codec
from backends.volume.keys import KEY, Crypt, KeySource, Wrap, wrap
from backends.volume.names import Names
from backends.volume.superblock import Superblock
from backends.volume.superblock_json import encode
from backends.volume.superblocks import newest, vacancy
from backends.volume.units import MAX_SECTORS, SECTOR
from gateway.errors import ExportUnavailable

#: Below a volume's folder, for objects that try the store.
PROBE = "probe/"


def check_size(size: int) -> None:
    """
    Raises:
        ExportUnavailable: no disk has that many bytes.
    """
    if not 0 < size <= MAX_SECTORS * SECTOR or size % SECTOR:
        raise ExportUnavailable(
            f"size: got {size} bytes, expected a multiple of {SECTOR} of at most"
            f" {MAX_SECTORS * SECTOR}"
        )


async def check_empty(store: IObjectStore, prefix: str, called: str = "prefix") -> None:
    """
    Args:
        called: what the operator gave it as, for messages.

    Raises:
        ExportUnavailable: a new volume would meet objects there, of a volume or of others.
        StoreError, Corrupt: the store did not answer so that one could tell.
    """
    names = Names(prefix)
    found = await newest(store, names)
    if found is not None:
        if found.superblock.state == "deleted":
            return  # its numbers, and so its left-overs, are never used again
        raise ExportUnavailable(
            f"{called}: got {names.prefix}, where {store.describe()} has a volume already;"
            " expected an empty place for a new volume"
        )
    folder = f"{names.prefix}/"
    for one in await store.list(folder, ""):
        if not one.key.startswith(f"{folder}{PROBE}"):
            raise ExportUnavailable(
                f"{called}: got {names.prefix}, where {store.describe()} has objects and no"
                f" volume, such as {one.key}; expected an empty place for a new volume"
            )


async def create(
    store: IObjectStore,
    prefix: str,
    size: int,
    environment: Environment,
    codec: str = "none",
    source: KeySource | None = None,
    description: str = "",
) -> Superblock:
    """
    Make an empty volume: one put.

    Where one was deleted its numbers go on: what may still come late for it meets nothing.

    Args:
        prefix: where its objects will lie.
        size: bytes, a multiple of 512.
        codec: ``none``, ``zstd`` or ``lz4``, for everything that will be written.
        source: what opens it; None for no encryption.

    Raises:
        ExportUnavailable: there is a volume already, or the size is none.
        StoreError: the store did not take it.
    """
    check_size(size)
    names = Names(prefix)
    begin = await vacancy(store, names)
    uuid = environment.secret_bytes(16)
    crypt = None
    wraps: tuple[Wrap, ...] = ()
    if source is not None:
        key = environment.secret_bytes(KEY)
        crypt = Crypt(key, uuid)
        wraps = (await environment.call_in_thread(wrap, key, source, environment.secret_bytes),)
    now = int(environment.wall() * 1000)
    superblock = Superblock(
        volume=uuid,
        generation=begin.generation,
        epoch=begin.epoch,
        first_slot=begin.first_slot,
        writer=environment.secret_bytes(16),
        size=size,
        created_ms=now,
        written_ms=now,
        state="closed",
        fenced=True,  # there is nobody before the first epoch
        codec=Codec[codec.upper()].name.lower(),
        wraps=wraps,
        description=description,
    )
    try:
        await store.put(names.sb(begin.generation), [encode(superblock, crypt)], True)
    except Exists:
        raise ExportUnavailable(f"{names.sb_prefix}: there is a volume already") from None
    return superblock
