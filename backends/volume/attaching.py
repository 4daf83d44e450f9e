"""
Opening a volume: taking it over, fencing off whoever had it, and finding what it holds.

The order is what makes it safe; see "Attaching" in docs/reference/volume-format.md.
A superblock of our own announces our epoch; a fence in the first free slot of
the log ends the log of everybody before us; only then is it known what the
log holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from backends.objects.contract import IObjectStore
from backends.volume.applying import Applier, StoredObject
from backends.volume.attachment import Attachment
from backends.volume.authority import Authority
from backends.volume.checkpointing import Checkpointer, load
from backends.volume.claiming import claim
from backends.volume.collecting import Collector
from backends.volume.committing import Committer
from backends.volume.condition import Condition
from backends.volume.environment import Environment, Options
from backends.volume.fencing import Log
from backends.volume.fetching import Fetcher
from backends.volume.frame_cache import FrameCache
from backends.volume.header import Codec, Header
from backends.volume.journal import Journal
from backends.volume.keys import Crypt, KeySource
from backends.volume.lineage import Lineage, Source
from backends.volume.names import Kind, Names
from backends.volume.object_reads import StoredFrames
from backends.volume.read_only import ReadOnlyVolume
from backends.volume.reading import Reader
from backends.volume.recent import Recent
from backends.volume.replaying import replay
from backends.volume.sealing import Sealed, seal
from backends.volume.segment import Run, Segment
from backends.volume.stored_map import StoredMap
from backends.volume.superblock import JournalNote, Superblock
from backends.volume.superblocks import Found, current, unlock
from backends.volume.volume import Volume
from backends.volume.writing import Writer
from gateway.errors import Closed


@attrs.frozen(kw_only=True)
class Caches:
    """
    Where what was read is kept.

    Attributes:
        memory: plain frames.
        disk: stored frames; None for no such cache.
    """

    memory: FrameCache
    disk: StoredFrames | None = None


async def attach(
    store: IObjectStore,
    prefix: str,
    environment: Environment,
    options: Options,
    caches: Caches,
    source: KeySource | None = None,
    journal: Journal | None = None,
    accept_loss: bool = False,
    admit: Callable[[Superblock], None] = lambda last: None,
    found: Found | None = None,
) -> Volume:
    """
    Take a volume over.

    Args:
        prefix: where its objects lie.
        source: what opens it, if it is encrypted.
        journal: open, not yet adopted; None for ``durability = store``.
        accept_loss: go on without what the journal of another host may hold.
        admit: raises if the volume, as its last superblock tells it, may not be taken over.
        found: the newest superblock as it was a moment ago; None to read it now.

    Raises:
        ExportUnavailable: there is no volume, or it cannot be opened so.
        ExportBusy: another writer took it over at the same moment.
        Corrupt: what it consists of is damaged; the object is named.
        StoreError: the store did not answer.
    """
    names = Names(prefix)
    superblock, lineage = await claim(
        store, names, environment, source, journal, accept_loss, admit, found=found
    )
    log = Log(store, lineage, superblock, environment)
    tail = await log.fence()
    superblock = log.superblock
    stored = await load(store, lineage, superblock.size, superblock.checkpoint, 0)
    parts = assemble(store, lineage, superblock, stored, log.end, environment, options, caches)
    try:
        await _bring_back(parts, stored, superblock, tail, journal)
    except BaseException:
        parts.condition.fail(Closed("the volume could not be opened"))
        raise
    volume = Volume(store, parts)
    volume.upkeep.start()
    return volume


async def _bring_back(
    parts: Attachment,
    stored: StoredMap,
    superblock: Superblock,
    tail: list[Header],
    journal: Journal | None,
) -> None:
    """What the log, and perhaps a journal, have behind the map."""
    for header in tail:
        segment = parts.recent.recover(header.position, header.extents)
        parts.applier.submit(StoredObject(segment, header))
    if journal is not None:
        noted = stored.lsn = 0 if superblock.journal is None else superblock.journal.lsn
        await replay(journal, max([noted, *(header.number for header in tail)]), parts)
        note = JournalNote(parts.environment.host, superblock.epoch, noted, superblock.written_ms)
        await parts.authority.advance(journal=note)


async def attach_read_only(
    store: IObjectStore,
    prefix: str,
    environment: Environment,
    options: Options,
    caches: Caches,
    source: KeySource | None = None,
    found: Found | None = None,
) -> ReadOnlyVolume:
    """
    Read a volume as it is now, without taking it over: nothing is put.

    A gateway that writes to it meanwhile is not noticed; once its collector
    has deleted what this reader still points to, reads fail. A snapshot does
    not have that limit.

    Args:
        found: the newest superblock as it was a moment ago; None to read it now.

    Raises:
        ExportUnavailable, Corrupt, StoreError: as for `attach`.
    """
    names = Names(prefix)
    found = found or await current(store, names)
    superblock = found.superblock
    # A passphrase takes a while.
    lineage = await environment.call_in_thread(unlock, found, names, source)
    tail = await Log(store, lineage, superblock, environment).read()
    stored = await load(store, lineage, superblock.size, superblock.checkpoint, 0)
    recent = Recent()
    stored.limit = options.map_memory
    for header in tail:
        recent.recover(header.position, header.extents)
    fetcher = Fetcher(store, lineage, caches.memory, caches.disk, environment)
    reader = Reader(recent, stored, fetcher, fetcher.read_ahead())
    return ReadOnlyVolume(superblock.size, recent, stored, reader, lambda: None)


def assemble(
    store: IObjectStore,
    lineage: Lineage,
    superblock: Superblock,
    stored: StoredMap,
    first_slot: int,
    environment: Environment,
    options: Options,
    caches: Caches,
) -> Attachment:
    """The parts of a volume that is ours, wired to each other."""
    condition = Condition()
    recent = Recent()
    stored.limit = options.map_memory
    fetcher = Fetcher(store, lineage, caches.memory, caches.disk, environment)
    reader = Reader(recent, stored, fetcher, fetcher.read_ahead())
    names, crypt = lineage.own.names, lineage.own.crypt
    authority = Authority(store, names, crypt, superblock, condition, environment)
    checkpointer = Checkpointer(
        store, lineage, stored, authority, fetcher, condition, environment, options
    )

    def applied(one: StoredObject) -> None:
        checkpointer.applied()
        parts.tell_how_far()
        parts.writer.go_on()

    applier = Applier(recent, stored, checkpointer.newest, condition, environment, applied)

    def is_stored(segment: Segment, sealed: Sealed) -> None:
        header = sealed.header
        fetcher.learn(Source(0, Kind.DATA, 0, header.position), header, segment.plain)
        if parts.journaling is not None:
            parts.journaling.stored(segment)
        applier.submit(StoredObject(segment, header))

    sealer = partial(_seal, superblock, crypt, environment.wall)
    committer = Committer(
        recent, store, names, sealer, condition, environment, options, first_slot, is_stored
    )
    collector = Collector(
        store,
        lineage,
        stored,
        fetcher,
        authority,
        checkpointer,
        condition,
        environment,
        options,
    )
    checkpointer.committed = collector.consider
    writer = Writer(recent, reader, committer, condition, stored.is_all, options.dirty_limit)
    parts = Attachment(
        environment=environment,
        options=options,
        condition=condition,
        lineage=lineage,
        authority=authority,
        recent=recent,
        stored=stored,
        fetcher=fetcher,
        reader=reader,
        committer=committer,
        applier=applier,
        writer=writer,
        checkpointer=checkpointer,
        collector=collector,
    )
    return parts


def _seal(
    superblock: Superblock,
    crypt: Crypt | None,
    wall: Callable[[], float],
    segment: Segment,
    live: list[Run],
) -> Sealed:
    """Make a log object; runs in a thread."""
    segment.gather(live)
    assert segment.slot is not None
    return seal(
        Kind.DATA,
        superblock.volume,
        superblock.writer,
        superblock.epoch,
        segment.slot,
        segment.lsn,
        int(wall() * 1000),
        segment.extents,
        segment.plain,
        Codec[superblock.codec.upper()],
        crypt,
        segment.unsettled,
    )
