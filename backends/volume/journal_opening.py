"""A volume's journal on this machine: found, made, or put away if the volume has outlived it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from twisted.logger import Logger

from backends.volume.environment import Environment
from backends.volume.journal import Journal
from backends.volume.journal_creating import JournalCalls
from backends.volume.journal_standing import NotCurrent, Standing
from gateway.errors import Corrupt, ExportUnavailable

T = TypeVar("T")

_log = Logger()


async def with_journal(
    directory: str,
    size: int,
    volume: bytes,
    environment: Environment,
    attach: Callable[[Journal], Awaitable[T]],
    calls: JournalCalls | None = None,
) -> T:
    """
    Open a volume's journal and attach the volume with it.

    A journal that the volume has outlived is renamed and stays, with what it
    holds told in the log; one whose records are all in the store is removed.
    Both make room for a new one.

    Args:
        directory: of all journals; made when it is needed.
        size: bytes of a new journal.
        volume: its uuid, 16 bytes; names the file.
        attach: raises `NotCurrent` before anything was changed. Once it has
            answered, the journal is closed with what it made.
        calls: of the system; for tests.

    Raises:
        ExportUnavailable: the journal cannot be opened.
        Exception: whatever ``attach`` raises; the journal is closed.
    """
    uuid = UUID(bytes=volume)
    in_thread = environment.call_in_thread

    def find() -> Journal:
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
        except OSError as error:
            raise ExportUnavailable(f"journals {directory}: {error.strerror}") from error
        path = os.path.join(directory, str(uuid))
        return Journal.open(path, size, uuid, environment.call_in_thread, environment.wall, calls)

    while True:
        journal: Journal = await in_thread(find)
        try:
            return await attach(journal)
        except NotCurrent as found:
            await in_thread(_put_away, journal, found)
        except BaseException:
            await journal.close(False)
            raise


def _put_away(journal: Journal, found: NotCurrent) -> None:
    """Blocks."""
    try:
        if found.standing is Standing.STORED:
            os.unlink(journal.set_aside())
            return
        try:
            loss = journal.describe_loss(0)
        except (Corrupt, OSError) as error:
            loss = f"what it holds cannot be told: {error}"
        kept = journal.set_aside()
    except OSError as error:
        raise ExportUnavailable(f"journal {journal.path}: {error.strerror}") from error
    _log.critical(
        "{why}. The journal is kept as {kept} and not used. Of what it holds, the volume has at"
        " most what had reached the store before; otherwise {loss}",
        why=str(found),
        kept=kept,
        loss=loss,
    )
