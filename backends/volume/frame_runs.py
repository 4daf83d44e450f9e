"""Frames as numbers: which of them ranges lie in, and which are got together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backends.volume.units import FRAME_SECTORS, SECTOR

#: Frames that nobody asked for, got along rather than asking twice: a request
#: takes as long as some hundred KiB of transfer.
GAP = 4

#: The same behind a header, which is asked for on its own and waited for: 1 MiB.
GAP_BEHIND_HEADER = 16

#: Frames per get: 2 MiB. Much more is got by several at once.
MOST = 32


def frames_of(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Sorted numbers of the frames that hold ranges of sectors."""
    numbers: set[int] = set()
    for sector, sectors in ranges:
        numbers.update(range(sector // FRAME_SECTORS, -(-(sector + sectors) // FRAME_SECTORS)))
    return sorted(numbers)


def reach(plains: Mapping[int, bytes], end: int) -> bool:
    """Whether frames have the sector before ``end``: the last one of an object is shorter."""
    frame, inside = divmod(end - 1, FRAME_SECTORS)
    return len(plains[frame]) > inside * SECTOR


def pieces(plains: Mapping[int, bytes], sector: int, sectors: int) -> list[memoryview]:
    """A range of an object's data, cut from its frames, which `reach` to its end."""
    found = []
    end = sector + sectors
    while sector < end:
        frame, inside = divmod(sector, FRAME_SECTORS)
        piece = min(end - sector, FRAME_SECTORS - inside)
        found.append(memoryview(plains[frame])[inside * SECTOR : (inside + piece) * SECTOR])
        sector += piece
    return found


def merged(numbers: Sequence[int], gap: int = GAP) -> Iterable[list[int]]:
    """Sorted frame numbers as runs that one get each brings."""
    run: list[int] = []
    for number in numbers:
        if run and (number - run[-1] > gap or number - run[0] >= MOST):
            yield run
            run = []
        run.append(number)
    if run:
        yield run
