"""Taking over a volume of which only the objects of data may be believed."""

from __future__ import annotations

import attrs

from backends.objects.contract import Exists, IObjectStore
from backends.volume.environment import Environment
from backends.volume.header import Codec
from backends.volume.inspection.objects import Missing, log_header
from backends.volume.inspection.timeline import Slot, settled
from backends.volume.lineage import Lineage
from backends.volume.names import Kind, Names
from backends.volume.sealing import seal
from backends.volume.slices import ENVELOPE, FIRST_OFFSET
from backends.volume.superblock import Root, Superblock
from backends.volume.superblock_json import encode
from backends.volume.superblocks import is_highest
from backends.volume.units import WINDOW
from gateway.errors import Corrupt, ExportBusy, ExportUnavailable


async def announce(
    store: IObjectStore,
    lineage: Lineage,
    last: Superblock,
    generation: int,
    epoch: int,
    known: int,
    environment: Environment,
) -> Superblock:
    """
    Put a superblock of our own behind all that there are.

    Args:
        last: the newest that can be read.
        generation, epoch: the highest that are known.
        known: the first slot of the log that may not be stored.

    Raises:
        ExportBusy: somebody else takes the volume over.
        StoreError: the store did not take it.
    """
    names = lineage.own.names
    # Of an older superblock the map is not to be believed, also if we end here.
    believed = last.generation == generation
    ours = attrs.evolve(
        last,
        checkpoint=last.checkpoint if believed else _nowhere(epoch + 1, known - 1),
        generation=generation + 1,
        epoch=epoch + 1,
        writer=environment.secret_bytes(16),
        written_ms=int(environment.wall() * 1000),
        state="open",
        owner=environment.process.holder(environment.wall()),
        fenced=False,
        pending=last.pending if last.fenced else (*last.pending, last.epoch),
    )
    try:
        await store.put(names.sb(ours.generation), [encode(ours, lineage.own.crypt)], True)
    except Exists:
        raise _busy(names) from None
    await confirm(store, names, ours)
    return ours


def _nowhere(epoch: int, version: int) -> Root:
    """A root that nobody can read: until there is a new map, the volume cannot be opened."""
    return Root(epoch, (1 << 32) - 1, FIRST_OFFSET, ENVELOPE + 1, version)


async def confirm(store: IObjectStore, names: Names, ours: Superblock) -> None:
    """
    Raises:
        ExportBusy: ours is not the newest superblock any more.
        StoreError: the store did not answer.
    """
    if not await is_highest(store, names, ours.generation):
        raise _busy(names)


async def fence(
    store: IObjectStore,
    lineage: Lineage,
    ours: Superblock,
    log: dict[int, Slot | None],
    unsettled: dict[int, int],
    environment: Environment,
) -> int:
    """
    End the log of everybody before us.

    Args:
        log: what lies in its slots; None for what cannot be read.
        unsettled: as in `backends.volume.inspection.timeline.settled`.

    Returns:
        The slot of our fence, which is added to ``log``.

    Raises:
        ExportBusy: somebody else takes the volume over.
        StoreError: the store did not answer.
    """
    member = lineage.own
    known = max(ours.first_slot, settled(unsettled))
    if ours.checkpoint is not None:
        known = max(known, ours.checkpoint.version + 1)
    counting = [
        one.leads_to
        for one in log.values()
        if one is not None and one.kind == Kind.FENCE and one.epoch not in ours.unfenced
    ]
    slot = max([known, *counting])
    while True:
        while slot in log:
            there = log[slot]
            is_fence = there is not None and there.kind == Kind.FENCE
            slot = there.leads_to if there is not None and is_fence else slot + 1
        sealed = seal(
            Kind.FENCE,
            ours.volume,
            ours.writer,
            ours.epoch,
            slot,
            slot + WINDOW,
            int(environment.wall() * 1000),
            (),
            (),
            Codec.NONE,
            member.crypt,
        )
        try:
            await store.put(member.names.log(slot), sealed.parts, True)
        except Exists:
            try:
                header = await log_header(store, member, slot)
            except Missing:
                raise _busy(member.names) from None
            except Corrupt:
                log[slot] = None
                continue
            leads_to = header.number if header.kind == Kind.FENCE else 0
            log[slot] = Slot(header.kind, header.epoch, leads_to)
            if header.epoch > ours.epoch:
                raise _busy(member.names) from None
            continue
        await confirm(store, member.names, ours)
        log[slot] = Slot(Kind.FENCE, ours.epoch, slot + WINDOW)
        return slot


def _busy(names: Names) -> ExportUnavailable:
    return ExportBusy(f"{names.sb_prefix}: another gateway takes the volume over")
