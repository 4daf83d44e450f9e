"""Headers of objects, asked for with as few bytes as they take, and held against their names."""

from __future__ import annotations

from backends.objects.contract import Garbled, IObjectStore, NotFound
from backends.volume.header import FIXED, Header, decode
from backends.volume.lineage import Member, Source
from backends.volume.names import Kind
from backends.volume.units import HEADER_LIMIT
from gateway.errors import Corrupt
from gateway.interfaces import Buffer

#: Bytes that most headers fit in.
FIRST = 4096

_LENGTH_AT = 12


class Missing(Corrupt):
    """There is no such object."""


async def start_of(store: IObjectStore, key: str) -> bytes:
    """
    The first bytes of an object, in which its whole header lies.

    Raises:
        Missing: it is not there.
        Corrupt: the store's answer contradicts itself.
        StoreError: the store did not answer.
    """
    try:
        data = await store.get(key, 0, FIRST)
        length = int.from_bytes(data[_LENGTH_AT : _LENGTH_AT + 4], "little")
        if len(data) == FIRST and FIRST < length <= HEADER_LIMIT:
            data += await store.get(key, FIRST, length - FIRST)
    except NotFound:
        raise Missing(f"{key} is missing from the store") from None
    except Garbled as failure:
        raise Corrupt(f"{key}: {failure}") from None
    return data


def is_of_another(start: Buffer, member: Member) -> bool:
    """Whether this is the start of a sound object of some other volume."""
    try:
        return decode(start, None, "").volume != member.uuid
    except Corrupt:
        return False


async def log_header(store: IObjectStore, member: Member, slot: int) -> Header:
    """
    The header of what lies in a slot of the log.

    Raises:
        Missing, Corrupt, StoreError: as for `start_of`, or it is not what its name says.
    """
    key = member.names.log(slot)
    return decode(
        await start_of(store, key),
        member.crypt,
        key,
        kind=(Kind.DATA, Kind.FENCE),
        volume=member.uuid,
        position=slot,
    )


async def source_header(store: IObjectStore, member: Member, source: Source) -> Header:
    """
    The header of an object of data; as for `log_header`.
    """
    return member.header(source, await start_of(store, member.key(source)))


async def container_header(store: IObjectStore, member: Member, epoch: int, n: int) -> Header:
    """The header of a checkpoint object; as for `log_header`."""
    key = member.names.ck(epoch, n)
    try:
        start = await store.get(key, 0, FIXED)
    except NotFound:
        raise Missing(f"{key} is missing from the store") from None
    return decode(
        start,
        member.crypt,
        key,
        kind=Kind.CHECKPOINT,
        volume=member.uuid,
        epoch=epoch,
        number=n,
    )
