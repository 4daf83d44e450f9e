"""The first step of taking a volume over: a superblock of our own."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from backends.objects.contract import Exists, IObjectStore
from backends.volume import journal_standing
from backends.volume.environment import Environment
from backends.volume.journal import Journal
from backends.volume.keys import KeySource
from backends.volume.lineage import Lineage
from backends.volume.names import Names
from backends.volume.superblock import Superblock
from backends.volume.superblock_json import encode
from backends.volume.superblocks import Found, current, is_highest, unlock
from gateway.errors import Corrupt, ExportBusy, ExportUnavailable
from gateway.moments import moment

#: Others may be taking the volume over at the same time; so many of them we let go first.
_RIVALS = 5

#: A busy owner puts one superblock after the other; so often it may be faster than we are.
_TRIES = 200


async def claim(
    store: IObjectStore,
    names: Names,
    environment: Environment,
    source: KeySource | None,
    journal: Journal | None,
    accept_loss: bool,
    admit: Callable[[Superblock], None] = lambda last: None,
    state: str = "open",
    found: Found | None = None,
) -> tuple[Superblock, Lineage]:
    """
    Announce a new epoch.

    Args:
        admit: raises if what it is given may not be taken over; nobody comes in between.
        state: that the volume is in from then on.
        found: the newest superblock as it was a moment ago; None to read it now. What
            it says counts only if the next generation is then ours, else it is read again.

    Raises:
        ExportUnavailable: there is no volume, no key, or a journal elsewhere.
        NotCurrent: the journal must not be replayed over this volume.
        ExportBusy: others took it over meanwhile, or its owner was faster each time.
        Corrupt, StoreError: as for any superblock.
    """
    writer = environment.secret_bytes(16)
    opened: Lineage | None = None

    async def following(found: Found) -> tuple[Superblock, Lineage]:
        nonlocal opened
        last = found.superblock
        admit(last)
        # In a thread: a passphrase takes a while, on purpose. Once is enough, else an owner
        # that is busy would always be faster.
        lineage = await environment.call_in_thread(unlock, found, names, source, opened)
        opened = lineage
        note = last.journal
        if note is not None and (journal is None or journal.epoch < note.epoch):
            if not accept_loss:
                raise ExportUnavailable(_owed(last, names))
            note = None
        if journal is not None:
            has_records = journal.outstanding.records > 0
            journal_standing.check(journal.path, journal.epoch, has_records, last, accept_loss)
        ours = attrs.evolve(
            last,
            generation=last.generation + 1,
            epoch=last.epoch + 1,
            writer=writer,
            written_ms=int(environment.wall() * 1000),
            state=state,
            owner=environment.process.holder(environment.wall()),
            journal=note,
            fenced=False,
            pending=last.pending if last.fenced else (*last.pending, last.epoch),
        )
        return ours, lineage

    epochs: set[int] = set()
    for _ in range(_TRIES):
        is_fresh = found is None
        try:
            found = found or await current(store, names)
            epochs.add(found.superblock.epoch)
            if len(epochs) > _RIVALS:
                break
            ours, lineage = await following(found)
        except (ExportUnavailable, Corrupt):
            # Others may have had the volume meanwhile, and its journal: an old superblock
            # must not have that one put away.
            if is_fresh:
                raise
            found = None
            continue
        found = None
        try:
            await store.put(names.sb(ours.generation), [encode(ours, lineage.own.crypt)], True)
        except Exists:
            continue
        if await is_highest(store, names, ours.generation):
            return ours, lineage
    raise ExportBusy(f"{names.sb_prefix}: other gateways take the volume over again and again")


def _owed(superblock: Superblock, names: Names) -> str:
    note = superblock.journal
    assert note is not None
    since = moment(note.since_ms / 1000)
    return (
        f"{names.sb_prefix}: what was written since {since} may be in the journal of host"
        f" {note.host!r} alone. Open the volume there, or set"
        " accept_loss = yes to go on without: the volume is then as it was after some earlier"
        " write, and the journal, when it is opened again, says exactly what is missing"
    )
