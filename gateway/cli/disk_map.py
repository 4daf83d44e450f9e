"""A disk as a picture: a grid of cells, each of which stands for as many bytes as any other."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any
from xml.sax.saxutils import escape


class Shade(IntEnum):
    """What a part of a disk is; of several in one cell the one with the most bytes shows."""

    HOLE = 0
    ZERO = 1
    SNAPSHOT = 2
    DATA = 3


#: Of each shade: the sign in a terminal, the colour elsewhere, and what it means.
LEGEND = {
    Shade.DATA: ("█", "#2563eb", "data"),
    Shade.SNAPSHOT: ("▒", "#f59e0b", "held only by snapshots"),
    Shade.ZERO: ("░", "#cbd5e1", "zeroes"),
    Shade.HOLE: ("·", "#f8fafc", "hole"),
}

_CELL, _GAP = 8, 1


class DiskMap:
    """
    Args:
        size: bytes of the disk.
        columns, rows: of the picture; fewer rows if there are fewer sectors.
    """

    def __init__(self, size: int, columns: int, rows: int) -> None:
        self.size = size
        self.columns = columns
        sectors = -(-size // 512)
        self.cell = -(-sectors // (columns * rows)) * 512
        self._count = -(-size // self.cell)
        # Bytes by shade; holes are the rest.
        self._bytes = [[0, 0, 0, 0] for _ in range(self._count)]

    def paint(self, offset: int, length: int, shade: Shade) -> None:
        """Say what a range is, in bytes; no byte twice."""
        end = min(offset + length, self.size)
        while offset < end:
            number = offset // self.cell
            stop = min(end, (number + 1) * self.cell)
            self._bytes[number][shade] += stop - offset
            offset = stop

    def cells(self) -> list[Shade]:
        """What each cell shows: never a hole where there is anything."""
        found = []
        for counted in self._bytes:
            most = max((Shade.DATA, Shade.SNAPSHOT, Shade.ZERO), key=lambda one: counted[one])
            found.append(most if counted[most] else Shade.HOLE)
        return found

    def totals(self) -> dict[Shade, int]:
        """Bytes of each shade."""
        sums = {shade: sum(one[shade] for one in self._bytes) for shade in Shade}
        sums[Shade.HOLE] = self.size - sum(sums[shade] for shade in Shade if shade)
        return sums

    def text(self) -> str:
        """For a terminal."""
        signs = "".join(LEGEND[shade][0] for shade in self.cells())
        return "\n".join(signs[at : at + self.columns] for at in range(0, len(signs), self.columns))

    def svg(self, title: str) -> str:
        """As SVG, with a legend."""
        step = _CELL + _GAP
        cells = self.cells()
        width = self.columns * step
        height = -(-len(cells) // self.columns) * step
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 44}">',
            f'<g font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
            f'<rect width="{width}" height="{height + 44}" fill="white"/>',
        ]
        for at, end, shade in _runs(cells, self.columns):
            x, y = at % self.columns * step, at // self.columns * step
            parts.append(
                f'<rect x="{x}" y="{y}" width="{(end - at) * step - _GAP}" height="{_CELL}"'
                f' fill="{LEGEND[shade][1]}"/>'
            )
        parts.append(f'<text x="0" y="{height + 16}">{escape(title)}</text>')
        x = 0
        for _, colour, meaning in LEGEND.values():
            parts.append(
                f'<rect x="{x}" y="{height + 26}" width="10" height="10" fill="{colour}"'
                f' stroke="#94a3b8"/><text x="{x + 14}" y="{height + 36}">{meaning}</text>'
            )
            x += 30 + 8 * len(meaning)
        return "\n".join([*parts, "</g>", "</svg>\n"])

    def save_png(self, path: str, images: Any) -> None:
        """
        As PNG, without a legend.

        Args:
            images: the module ``PIL.Image``.

        Raises:
            OSError: it cannot be written.
        """
        step = _CELL + _GAP
        cells = self.cells()
        height = -(-len(cells) // self.columns) * step
        picture = images.new("RGB", (self.columns * step, height), "white")
        for at, end, shade in _runs(cells, self.columns):
            x, y = at % self.columns * step, at // self.columns * step
            picture.paste(LEGEND[shade][1], (x, y, x + (end - at) * step - _GAP, y + _CELL))
        picture.save(path, "PNG")


def _runs(cells: Sequence[Shade], columns: int) -> list[tuple[int, int, Shade]]:
    """Neighbours of one shade in one row: first, the one behind the last."""
    found: list[tuple[int, int, Shade]] = []
    for at, shade in enumerate(cells):
        if found and found[-1][2] == shade and at % columns:
            found[-1] = (found[-1][0], at + 1, shade)
        else:
            found.append((at, at + 1, shade))
    return found
