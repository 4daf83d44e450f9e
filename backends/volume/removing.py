"""
Deleting a volume for good, so that a crash in the midst can be gone on with and nothing comes back.

A superblock that says ``deleting`` comes first: from then on nobody opens the
volume, clones it, or believes that it is still theirs. A fence ends the log
of whoever had it. Then everything goes but that fence, and one last
superblock says ``deleted``. Both stay: see decision 15.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs

from backends.objects.contract import PAGE, Exists, IObjectStore
from backends.volume.claiming import claim
from backends.volume.creating import PROBE
from backends.volume.environment import Environment
from backends.volume.fencing import Log
from backends.volume.keys import KeySource
from backends.volume.lineage import Lineage
from backends.volume.listing import everything
from backends.volume.names import Names
from backends.volume.superblock import Superblock
from backends.volume.superblock_json import encode
from backends.volume.superblocks import NoVolume, is_highest, newest, unlock
from backends.volume.units import WINDOW
from gateway.errors import Corrupt, ExportBusy
from gateway.maintenance import Progress

#: Slots that are left free behind a log that cannot be followed.
_FAR = 1 << 20

#: Bytes; more than any note of a clone has.
_NOTE = 65536


async def remove(
    store: IObjectStore,
    names: Names,
    environment: Environment,
    source: KeySource | None,
    admit: Callable[[Superblock], None],
    progress: Progress,
) -> int:
    """
    Delete a volume, or go on with it.

    Args:
        source: what opens it, if it is encrypted.
        admit: raises if it may not be taken over.
        progress: counts objects.

    Returns:
        How many objects were deleted.

    Raises:
        NoVolume: there is none.
        ExportBusy: somebody holds it, takes it over just now, or clones need it.
        ExportUnavailable: it needs a key.
        Corrupt: it is damaged; see `backends.volume.claiming`.
        StoreError: the store did not answer; it can be gone on with.
    """
    found = await newest(store, names)
    if found is None or found.superblock.state == "deleted":
        raise NoVolume(f"{names.sb_prefix}: there is no volume")
    if found.superblock.state == "deleting":
        lineage = await environment.call_in_thread(unlock, found, names, source)
        marked = found.superblock
        if not marked.fenced:
            # It was interrupted, perhaps before it had looked for clones once more.
            await check_clones(store, names)
    else:
        admit(found.superblock)
        await check_clones(store, names)
        marked, lineage = await _mark(store, names, environment, source, admit)
    fenced = await _fence(store, lineage, marked, environment)
    doomed = await _doomed(store, names, fenced)
    for start in range(0, len(doomed), PAGE):
        progress(start, len(doomed), "objects")
        await store.delete(doomed[start : start + PAGE])
    progress(len(doomed), len(doomed), "objects")
    if fenced.parent is not None:
        # Only now: whoever deletes the parent's snapshot next takes what this volume had of it.
        await store.delete([Names(fenced.parent.prefix).ref(fenced.volume)])
    superblocks = await _end(store, names, environment, fenced)
    return len(doomed) + superblocks


async def check_clones(store: IObjectStore, names: Names) -> None:
    """
    Raises:
        ExportBusy: there are clones, by their own notes; they are named.
        StoreError: the store did not answer.
    """
    clones = []
    for one in await everything(store, names.ref_prefix):
        note = json.loads(await store.get(one.key, 0, _NOTE))
        clones.append(repr(note["prefix"]))
    if clones:
        raise ExportBusy(
            f"{names.prefix}: the volume is needed by its clones: {', '.join(clones)};"
            " delete those first"
        )


async def _mark(
    store: IObjectStore,
    names: Names,
    environment: Environment,
    source: KeySource | None,
    admit: Callable[[Superblock], None],
) -> tuple[Superblock, Lineage]:
    """Take it over, as one that is on its way out."""
    before: list[Superblock] = []

    def remembered(last: Superblock) -> None:
        admit(last)
        before[:] = [last]

    # What a journal has is lost with the rest: nobody asks for it.
    marked, lineage = await claim(
        store, names, environment, source, None, True, remembered, state="deleting"
    )
    try:
        # A clone writes its note and then looks whether the volume is still whole:
        # either it sees the mark, or we see the note.
        await check_clones(store, names)
    except ExportBusy:
        (last,) = before
        back = attrs.evolve(
            marked,
            generation=marked.generation + 1,
            state=last.state,
            owner=last.owner,
            journal=last.journal,
        )
        await store.put(names.sb(back.generation), [encode(back, lineage.own.crypt)], True)
        raise
    return marked, lineage


async def _fence(
    store: IObjectStore, lineage: Lineage, marked: Superblock, environment: Environment
) -> Superblock:
    """
    End the log of whoever had the volume.

    Returns:
        The superblock, whose ``first_slot`` is one that no writer of the volume ever uses.
    """
    if marked.fenced:
        return marked
    names = lineage.own.names
    log = Log(store, lineage, marked, environment)
    try:
        await log.fence()
        noted, end = log.superblock, log.end
    except Corrupt:
        # A damaged log has no end that anyone could find. Its writer finds out by its
        # superblock that it is none any more, long before it has filled so many slots.
        noted, end = attrs.evolve(marked, fenced=True), await _beyond(store, names)
    # Said before anything goes: without the log nobody would find that slot again.
    noted = attrs.evolve(noted, generation=marked.generation + 1, first_slot=end, checkpoint=None)
    try:
        await store.put(names.sb(noted.generation), [encode(noted, lineage.own.crypt)], True)
    except Exists:
        raise ExportBusy(f"{names.sb_prefix}: somebody else is deleting the volume") from None
    return noted


async def _beyond(store: IObjectStore, names: Names) -> int:
    slots = [names.parse_log(one.key) for one in await everything(store, names.log_prefix)]
    return max((slot for slot in slots if slot is not None), default=0) + _FAR


async def _doomed(store: IObjectStore, names: Names, fenced: Superblock) -> list[str]:
    """
    All that is to go, but for superblocks.

    Nothing of a volume that may have been made here meanwhile, if somebody else
    deleted this one: that uses neither its slots nor its epochs.
    """
    fence = fenced.first_slot - WINDOW
    found = []
    for one in await everything(store, names.log_prefix):
        slot = names.parse_log(one.key)
        if slot is not None and slot < fenced.first_slot and slot != fence:
            found.append(one.key)
    for prefix, parse in ((names.gc_prefix, names.parse_gc), (names.ck_prefix, names.parse_ck)):
        for one in await everything(store, prefix):
            name = parse(one.key)
            if name is not None and name[0] <= fenced.epoch:
                found.append(one.key)
    probes = f"{names.prefix}/{PROBE}" if names.prefix else PROBE
    return [*found, *(one.key for one in await everything(store, probes))]


async def _end(
    store: IObjectStore, names: Names, environment: Environment, fenced: Superblock
) -> int:
    """
    Put the last superblock, and delete the others.

    It holds nothing that opens what was encrypted: if a copy of that is left
    anywhere, its key is not.

    Returns:
        How many were deleted.
    """
    last = Superblock(
        volume=fenced.volume,
        generation=fenced.generation + 1,
        epoch=fenced.epoch,
        writer=fenced.writer,
        size=fenced.size,
        created_ms=fenced.created_ms,
        written_ms=int(environment.wall() * 1000),
        state="deleted",
        owner=environment.process.holder(environment.wall()),
        first_slot=fenced.first_slot,
        fenced=True,
    )
    try:
        await store.put(names.sb(last.generation), [encode(last, None)], True)
    except Exists:
        raise ExportBusy(f"{names.sb_prefix}: somebody else is deleting the volume") from None
    if not await is_highest(store, names, last.generation):
        return 0
    numbers = [
        (one.key, names.parse_sb(one.key)) for one in await everything(store, names.sb_prefix)
    ]
    old = [key for key, number in numbers if number is not None and number < last.generation]
    await store.delete(old)
    return len(old)
