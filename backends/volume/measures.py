"""What an open volume tells of itself at any time: the contract of `IMeasured`."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from zope.interface import implementer

from backends.objects.contract import IObjectStore
from backends.objects.counting import BOUNDS, Counters
from backends.volume.attachment import Attachment
from backends.volume.disk_cache import DiskCache
from backends.volume.frame_cache import FrameCache
from backends.volume.units import SECTOR
from gateway import measures as m
from gateway.errors import Closed, Fenced
from gateway.measures import Buckets, IMeasured, Sample


@implementer(IMeasured)
@attrs.frozen(eq=False)
class VolumeMeasures:
    """
    Numbers that others keep, read when somebody asks.

    Attributes:
        store: of the volume; counted if it counts.
        memory, disk: its caches; that on disk is shared with other volumes.
        parts: None if the volume is only read.
    """

    store: IObjectStore
    memory: FrameCache
    disk: DiskCache | None = None
    parts: Attachment | None = None

    def measures(self) -> Iterator[Sample]:
        """As `IMeasured.measures`."""
        counters = getattr(self.store, "counters", None)
        if isinstance(counters, Counters):
            yield from _store(counters)
        yield Sample(m.CACHE_HITS, self.memory.hits, ("memory",))
        yield Sample(m.CACHE_MISSES, self.memory.misses, ("memory",))
        yield Sample(m.CACHE_BYTES, self.memory.bytes)
        if self.disk is not None:
            yield Sample(m.CACHE_HITS, self.disk.hits, ("disk",))
            yield Sample(m.CACHE_MISSES, self.disk.misses, ("disk",))
        if self.parts is not None:
            yield from _volume(self.parts)

    def trouble(self) -> str | None:
        """As `IMeasured.trouble`."""
        failure = None if self.parts is None else self.parts.condition.failure
        if failure is None or isinstance(failure, Closed):
            return None
        return str(failure) or type(failure).__name__


def _volume(parts: Attachment) -> Iterator[Sample]:
    failure, committer, journaling = parts.condition.failure, parts.committer, parts.journaling
    yield Sample(m.VOLUME_SIZE, parts.size)
    yield Sample(m.VOLUME_DIRTY, parts.recent.held)
    yield Sample(m.VOLUME_OLDEST_DIRTY, committer.oldest)
    live, dead = parts.stored.objects.shares()
    yield Sample(m.VOLUME_LIVE, live * SECTOR)
    yield Sample(m.VOLUME_DEAD, dead * SECTOR)
    yield Sample(m.VOLUME_OBJECTS, len(parts.stored.objects))
    yield Sample(m.VOLUME_FENCED, int(isinstance(failure, Fenced)))
    yield Sample(m.VOLUME_FAILED, int(failure is not None and not isinstance(failure, Closed)))
    for outcome, number in parts.collector.rounds.items():
        yield Sample(m.GC_RUNS, number, (outcome,))
    if parts.collector.backlog is not None:
        yield Sample(m.GC_BACKLOG, parts.collector.backlog)
    yield Sample(m.GC_MOVED, parts.collector.moved)
    yield Sample(m.MAP_EXTENTS, parts.stored.map.extents)
    yield Sample(m.MAP_MEMORY, parts.stored.map.memory)
    yield Sample(m.CRC_ERRORS, parts.fetcher.damaged)
    yield Sample(m.ZERO_AVOIDED, parts.writer.zeroes)
    flushed = committer.last_flush
    if journaling is not None:
        flushed = max(flushed, journaling.last_flush)
        yield Sample(m.JOURNAL_USED, journaling.journal.used)
        yield Sample(m.JOURNAL_FAILED, int(journaling.failed))
    yield Sample(m.LAST_FLUSH, flushed)


def _store(counters: Counters) -> Iterator[Sample]:
    for verb in m.VERBS:
        count = getattr(counters, verb)
        for code in m.CODES:
            number = count.codes.get(code, 0)
            if number or code == "ok":
                yield Sample(m.S3_REQUESTS, number, (verb, code))
        yield Sample(m.S3_SECONDS, Buckets(BOUNDS, tuple(count.took), count.seconds), (verb,))
        yield Sample(m.S3_RETRIES, count.retries, (verb,))
    yield Sample(m.S3_BYTES, counters.put.bytes_up, ("up",))
    yield Sample(m.S3_BYTES, counters.get.bytes_down, ("down",))
    yield Sample(m.S3_CONFLICTS, counters.put.codes.get("exists", 0))
