"""Finding blocks of zeroes in what is written: they cost a record instead of their bytes."""

from __future__ import annotations

from collections.abc import Iterator

from backends.volume.units import SECTOR
from gateway.interfaces import Buffer

#: Bytes; zeroes are looked for in blocks of this size or, in long writes, of a
#: multiple: aligned on the disk.
BLOCK = 4096

#: Blocks in which one write is looked at; it is never cut into more pieces than one above.
MOST_BLOCKS = 256


def split(start: int, payload: Buffer) -> Iterator[tuple[int, int, memoryview | None]]:
    """
    Cut a write where whole blocks of zeroes begin and end.

    Args:
        start: sector.
        payload: whole sectors.

    Yields:
        First sector, the one behind the last, and the bytes; None for zeroes.
    """
    view = memoryview(payload)
    length = len(view)
    block = BLOCK
    while block * MOST_BLOCKS < length:
        block *= 2
    zeroes = bytes(block)
    first = -start * SECTOR % block  # where in the payload the disk's blocks begin
    # Most blocks of data do not begin with a zero; those that do are compared.
    heads = bytes(view[first : length - block + 1 : block])
    done = 0
    if 0 in heads:
        at = heads.find(0)
        while at >= 0:
            begin = stop = first + at * block
            while stop + block <= length and _is_zero(view[stop : stop + block], zeroes):
                stop += block
            if stop > begin:
                if begin > done:
                    yield start + done // SECTOR, start + begin // SECTOR, view[done:begin]
                yield start + begin // SECTOR, start + stop // SECTOR, None
                done = stop
                at = heads.find(0, (stop - first) // block)
            else:
                at = heads.find(0, at + 1)
    if done < length:
        yield start + done // SECTOR, start + length // SECTOR, view[done:]


def _is_zero(block: memoryview, zeroes: bytes) -> bool:
    # The end of a block tells as quickly as its head; only then the whole is compared.
    return block[-1] == 0 and bytes(block) == zeroes
