"""Which log objects a volume consists of: the walk over slots and fences, without I/O."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backends.volume.header import Header
from backends.volume.names import Kind
from backends.volume.units import WINDOW
from gateway.errors import Corrupt


@attrs.frozen
class Walk:
    """
    What the log holds behind a checkpoint.

    Attributes:
        data: the headers of its data objects, in order.
        fences: the epochs of its fences.
        end: the first slot that holds nothing.
        epoch: the highest seen; 0 if nothing was.
    """

    data: tuple[Header, ...]
    fences: frozenset[int]
    end: int
    epoch: int


def walk(headers: Mapping[int, Header | Corrupt], start: int, where: str) -> Walk:
    """
    Follow the log from slot ``start`` on, without gaps, over the jumps of its fences.

    What lies in slots that a fence jumps over was never acknowledged.

    Args:
        headers: of the objects that exist, by slot; `Corrupt` for one that
            could not be read, which counts only where the walk comes by.
        where: the log's folder, for messages.

    Raises:
        Corrupt: an object on the way is damaged or is known to be missing, or
            epochs go backwards.
    """
    data: list[Header] = []
    fences: set[int] = set()
    slot, epoch = start, 0
    while (header := headers.get(slot)) is not None:
        if isinstance(header, Corrupt):
            raise header
        if header.epoch < epoch:
            raise Corrupt(
                f"{where}{slot:016x}: got epoch {header.epoch} behind epoch {epoch},"
                " expected none that is older"
            )
        epoch = header.epoch
        if header.kind == Kind.FENCE:
            if header.number <= slot:
                raise Corrupt(
                    f"{where}{slot:016x}: a fence that leads to slot {header.number},"
                    " expected a later one"
                )
            fences.add(header.epoch)
            slot = header.number
        else:
            data.append(header)
            slot += 1
    # An end, unless somebody who wrote behind it had known that it was none.
    for behind in range(slot + 1, slot + WINDOW + 1):
        header = headers.get(behind)
        if isinstance(header, Header) and header.kind == Kind.DATA:
            if behind - 1 - header.unsettled >= slot:
                raise Corrupt(
                    f"{where}{slot:016x} is missing from the store: {where}{behind:016x}"
                    " was written when it was known to be there"
                )
    return Walk(tuple(data), frozenset(fences), slot, epoch)
