"""
Which objects count in a version of the disk, and in which order they are painted.

See "From the objects alone" in `docs/reference/volume-format.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from backends.volume.names import Kind
from backends.volume.superblock import Rollback

#: Versions behind the first, up to and with the second.
Span = tuple[int, int]


class Slot(NamedTuple):
    """
    What lies in a slot of the log.

    Attributes:
        kind: ``DATA`` or ``FENCE``.
        epoch: of its writer.
        leads_to: of a fence, the slot at which the log goes on; else 0.
    """

    kind: Kind
    epoch: int
    leads_to: int


def history(rollbacks: Sequence[Rollback], version: int) -> list[Span]:
    """The versions that make up what the disk was at one: those that it went back behind do not."""
    spans: list[Span] = []
    while True:
        before = [one for one in rollbacks if one.version < version]
        if not before:
            return [(-1, version), *reversed(spans)]
        last = max(before, key=lambda one: one.version)
        spans.append((last.version, version))
        version = min(last.to, last.version)


def is_in(spans: Iterable[Span], version: int) -> bool:
    """Whether one of the spans has the version."""
    return any(after < version <= last for after, last in spans)


def counted(log: Mapping[int, Slot], unfenced: Collection[int]) -> tuple[list[int], list[int]]:
    """
    Follow the log from its first slot on.

    Slots that are missing are passed over: what they held is dead.

    Args:
        log: what there is, by slot.
        unfenced: epochs whose fences came late and never count.

    Returns:
        The slots of the data objects that count, in order; and those in which an object of an
        older epoch lies behind one of a newer: it cannot be of this log, and does not count.
    """
    newest: dict[int, int] = {}
    for slot in sorted(log):
        if log[slot].kind == Kind.FENCE:
            newest[log[slot].epoch] = slot
    found: list[int] = []
    strangers: list[int] = []
    goes_on = epoch = 0
    for slot in sorted(log):
        one = log[slot]
        if slot < goes_on:
            continue
        if one.kind == Kind.FENCE and (one.epoch in unfenced or newest[one.epoch] != slot):
            continue
        if one.epoch < epoch:
            strangers.append(slot)
            continue
        epoch = one.epoch
        if one.kind == Kind.FENCE:
            goes_on = one.leads_to
        else:
            found.append(slot)
    return found, strangers


def settled(unsettled: Mapping[int, int]) -> int:
    """
    The first slot of which no writer had said that everything in front of it was stored.

    Args:
        unsettled: of data objects, by slot, what their headers say.
    """
    return max((slot - before for slot, before in unsettled.items()), default=1)
