"""Bringing back what a crash left in the journal alone."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.logger import Logger

from backends.volume import journal_records
from backends.volume.attachment import Attachment
from backends.volume.journal import Journal
from backends.volume.journal_records import Record
from backends.volume.journaling import Journaling
from backends.volume.values import HOLE, ZERO
from gateway.info import MIB

_log = Logger()

#: Records read in one go, and bytes of data.
_BATCH, _BYTES = 64, 8 * MIB


async def replay(journal: Journal, stored: int, parts: Attachment) -> None:
    """
    Make again the changes that the store does not have, and use the journal from then on.

    Args:
        stored: the highest record that the store has.

    Raises:
        StorageError: the store does not take what was brought back.
        Corrupt: a record that was promised cannot be read.
    """
    in_thread = parts.environment.call_in_thread
    records: Iterator[Record] = journal.replay(stored)
    recent, committer = parts.recent, parts.committer
    count, expected = 0, max(journal.last - stored, 0)
    tell = parts.environment.tell
    while batch := await in_thread(_some, records):
        for record in batch:
            if record.kind == journal_records.DATA:
                parts.writer.take(record.sector, record.data, record.lsn)
            else:
                state = ZERO if record.kind == journal_records.ZERO else HOLE
                recent.mark(record.sector, record.sector + record.sectors, state)
                recent.open.lsn = record.lsn
                committer.touched()
        count += len(batch)
        tell(f"replaying its journal, {count} of {expected} records")
        if recent.held >= parts.options.dirty_limit:
            await parts.settle()
    tell("")
    if count:
        _log.info("{count} records were replayed from {path}", count=count, path=journal.path)
    await in_thread(journal.adopt, parts.authority.superblock.epoch, stored)
    parts.journaling = parts.writer.journaling = Journaling(journal, parts.environment.wall)
    # What came to be stored on the way has not told the journal.
    journal.release(committer.stored_lsn)


def _some(records: Iterator[Record]) -> list[Record]:
    """The next few records; none behind the last one. Blocks."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.data)
        if len(batch) == _BATCH or size >= _BYTES:
            break
    return batch
