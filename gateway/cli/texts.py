"""Numbers and tables for people."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: int) -> str:
    """Bytes in the largest unit that leaves one or more: ``10 GiB``, ``1.5 TiB``."""
    unit = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    number = f"{count / (1 << 10 * unit):.1f}".removesuffix(".0")
    return f"{number} {_UNITS[unit]}"


def plural(count: int, what: str) -> str:
    """``1 client``, ``2 clients``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns that line up; the last one is as wide as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)
