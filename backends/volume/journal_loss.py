"""What is lost when records of a journal are not replayed, in exact figures and in words."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from backends.volume.journal_records import Record
from backends.volume.units import SECTOR
from gateway.moments import moment

#: Ranges that a text names one by one.
NAMED = 64


@attrs.frozen
class Loss:
    """
    The sum of some records.

    Attributes:
        first, last: their numbers; ``last`` is less than ``first`` without any.
        epochs: of the attachments that wrote them, ascending.
        data_bytes: written by them.
        cleared_bytes: zeroed or trimmed by them.
        ranges: first sector and sectors, ascending, merged where they touch.
        since, until: milliseconds since 1970 of the earliest and the latest.
    """

    first: int = 1
    last: int = 0
    epochs: tuple[int, ...] = ()
    data_bytes: int = 0
    cleared_bytes: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    since: int = 0
    until: int = 0


def sum_up(records: Iterable[Record]) -> Loss:
    """Records in the order of their numbers."""
    numbers: list[int] = []
    epochs: set[int] = set()
    ranges: list[tuple[int, int]] = []
    times: list[int] = []
    data_bytes = cleared_bytes = 0
    for record in records:
        numbers = [numbers[0] if numbers else record.lsn, record.lsn]
        times = [
            min(times[0], record.milliseconds) if times else record.milliseconds,
            max(times[1], record.milliseconds) if times else record.milliseconds,
        ]
        epochs.add(record.epoch)
        ranges.append((record.sector, record.sectors))
        if record.data:
            data_bytes += len(record.data)
        else:
            cleared_bytes += record.sectors * SECTOR
    if not numbers:
        return Loss()
    return Loss(
        numbers[0],
        numbers[1],
        tuple(sorted(epochs)),
        data_bytes,
        cleared_bytes,
        tuple(_merged(ranges)),
        times[0],
        times[1],
    )


def describe(loss: Loss) -> str:
    """One line for people; at most `NAMED` ranges, and what the others come to."""
    count = loss.last - loss.first + 1
    if count <= 0:
        return "no records are lost"
    epochs = ", ".join(map(str, loss.epochs))
    named = ", ".join(f"{sector}-{sector + sectors - 1}" for sector, sectors in loss.ranges[:NAMED])
    others = loss.ranges[NAMED:]
    if others:
        total = sum(sectors for _, sectors in others)
        end = others[-1][0] + others[-1][1] - 1
        named += f" and {len(others)} ranges more with {total} sectors, up to sector {end}"
    return (
        f"{count} records are lost ({loss.first} to {loss.last}, of epoch {epochs}):"
        f" {loss.data_bytes} bytes written and {loss.cleared_bytes} bytes zeroed or trimmed"
        f" from {moment(loss.since / 1000)} to {moment(loss.until / 1000)}, in sectors {named}"
    )


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for sector, sectors in sorted(ranges):
        if merged and sector <= merged[-1][0] + merged[-1][1]:
            first, length = merged[-1]
            merged[-1] = (first, max(length, sector + sectors - first))
        else:
            merged.append((sector, sectors))
    return merged
