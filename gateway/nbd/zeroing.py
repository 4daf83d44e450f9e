"""Zeroing by writing zeroes, for exports that have no better way."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from gateway.info import MIB
from gateway.interfaces import IExport

#: Written at once, so that other connections get their turn in between.
PIECE = MIB
_ZEROES = bytes(PIECE)


async def write_zeroes(
    export: IExport,
    offset: int,
    length: int,
    may_trim: bool,
    fua: bool,
    pause: Callable[[], Deferred[None]],
    abandoned: Callable[[], bool],
) -> None:
    """
    Make a range read as zeroes by writing them, a piece at a time.

    Args:
        may_trim: what is known to read as zeroes already may stay as it is.
        fua: durable on return; asked for once, at the end.
        pause: lets the reactor serve others; awaited after each piece.
        abandoned: when it says so the rest is left: nobody waits any more.

    Raises:
        StorageError: part of the range may be zeroed.
    """
    position, end = offset, offset + length
    while position < end and not abandoned():
        run = end - position
        if may_trim:
            extents = export.extents(position, run, True)
            extent = (await extents if isinstance(extents, Deferred) else extents)[0]
            run = min(run, extent.length)
            if extent.zero:
                position += run
                continue
        # Cut at multiples, so that no block is written in two parts.
        run = min(run, PIECE - position % PIECE)
        written = export.write(position, memoryview(_ZEROES)[:run], False)
        if isinstance(written, Deferred):
            await written
        position += run
        await pause()
    # Without the ability to flush, each write was durable when it was answered.
    if fua and export.info.abilities.flush:
        flushed = export.flush()
        if isinstance(flushed, Deferred):
            await flushed
