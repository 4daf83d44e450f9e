"""Finding and opening the newest superblock of a volume."""

from __future__ import annotations

import attrs

from backends.objects.contract import IObjectStore, NotFound
from backends.volume.keys import Crypt, KeySource, unwrap, unwrap_any
from backends.volume.lineage import Lineage, Member
from backends.volume.listing import everything
from backends.volume.names import Names
from backends.volume.superblock import Superblock
from backends.volume.superblock_json import decode, verify
from gateway.errors import Corrupt, ExportUnavailable, UnknownExport

#: More than any superblock has.
_ENOUGH = 64 << 20

#: A superblock may be replaced and deleted between two requests this often.
_TRIES = 10


@attrs.frozen
class Found:
    """
    The newest superblock.

    Attributes:
        superblock: what it says.
        body: the object, for checking its tag.
    """

    superblock: Superblock
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Vacancy:
    """
    The numbers with which a new volume begins: behind all that a deleted one may have used.

    Attributes:
        generation: of its superblock.
        epoch: of its first writer.
        first_slot: of its log.
    """

    generation: int
    epoch: int
    first_slot: int


class NoVolume(UnknownExport, ExportUnavailable):
    """There is no volume at that place."""


async def newest(store: IObjectStore, names: Names) -> Found | None:
    """
    The superblock of the highest generation; None where there is no volume.

    Raises:
        StoreError: the store did not answer.
        Corrupt: it is damaged. Older ones say nothing: the volume went on.
    """
    for _ in range(_TRIES):
        numbers = [names.parse_sb(one.key) for one in await everything(store, names.sb_prefix)]
        generation = max((number for number in numbers if number is not None), default=0)
        if not generation:
            return None
        key = names.sb(generation)
        try:
            body = await store.get(key, 0, _ENOUGH)
        except NotFound:
            continue  # outdated and swept meanwhile
        return Found(decode(body, key, generation=generation), body)
    raise Corrupt(f"{names.sb_prefix}: the newest superblock is gone each time it is asked for")


async def current(store: IObjectStore, names: Names) -> Found:
    """
    The newest superblock of a volume that can be opened.

    Raises:
        NoVolume: there is none.
        ExportUnavailable: it is being deleted.
        StoreError, Corrupt: as for `newest`.
    """
    found = await newest(store, names)
    if found is None or found.superblock.state == "deleted":
        raise NoVolume(f"{names.sb_prefix}: there is no volume")
    if found.superblock.state == "deleting":
        raise ExportUnavailable(
            f"{names.sb_prefix}: the volume is being deleted, or was half deleted;"
            " deleting it can be gone on with, and nothing else"
        )
    return found


async def vacancy(store: IObjectStore, names: Names) -> Vacancy:
    """
    Where a new volume may begin.

    Raises:
        ExportUnavailable: there is a volume already, or what is left of one.
        StoreError, Corrupt: as for `newest`.
    """
    found = await newest(store, names)
    if found is None:
        return Vacancy(1, 1, 1)
    last = found.superblock
    if last.state != "deleted":
        what = "half of one" if last.state == "deleting" else "a volume already"
        raise ExportUnavailable(f"{names.sb_prefix}: there is {what}")
    return Vacancy(last.generation + 1, last.epoch + 1, last.first_slot)


async def is_highest(store: IObjectStore, names: Names, generation: int) -> bool:
    """
    Whether a generation that was put is the highest; the put alone does not tell.

    A generation that was deleted can be put again by somebody who comes late.
    The highest is never deleted, so whoever finds none that is higher was not late.

    Raises:
        StoreError: the store did not answer.
    """
    higher = await everything(store, names.sb_prefix, names.sb(generation))
    return all(names.parse_sb(one.key) is None for one in higher)


def unlock(
    found: Found, names: Names, source: KeySource | None, opened: Lineage | None = None
) -> Lineage:
    """
    The volume and its ancestors, with their keys.

    Args:
        source: what the operator gave to open it; None for nothing.
        opened: what an earlier superblock of the volume led to; saves deriving its key again.

    Raises:
        KeyRefused: it does not open the volume.
        ExportUnavailable: it needs a key and none was given, or the reverse.
        Corrupt: the superblock was changed by somebody without the key.
    """
    superblock = found.superblock
    crypt = own = None
    if superblock.encrypted:
        if source is None:
            raise ExportUnavailable(
                f"{names.sb_prefix}: the volume is encrypted, expected a key_file"
                " or passphrase_file"
            )
        if opened is not None:
            crypt = opened.own.crypt
        if crypt is None or crypt.volume != superblock.volume:
            key = unwrap_any(superblock.wraps, source, names.sb(superblock.generation))
            crypt = Crypt(key, superblock.volume)
        verify(found.body, crypt, names.sb(superblock.generation))
        own = crypt.as_source()
    elif source is not None:
        raise ExportUnavailable(
            f"{names.sb_prefix}: a key was given, and the volume is not encrypted"
        )
    members = [Member(superblock.volume, names, crypt)]
    for ancestor in superblock.ancestors:
        its = None
        if ancestor.wrap is not None and own is not None:
            its = Crypt(unwrap(ancestor.wrap, own), ancestor.uuid)
        members.append(Member(ancestor.uuid, Names(ancestor.prefix), its))
    return Lineage(members)
