"""``volume map``: where a disk has data, and where only its snapshots do."""

from __future__ import annotations

import shutil
from argparse import Namespace
from bisect import bisect_right
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from gateway.cli import words
from gateway.cli.disk_map import LEGEND, DiskMap, Shade
from gateway.cli.done import Done
from gateway.cli.exits import wrong
from gateway.cli.session import Session
from gateway.cli.texts import size
from gateway.info import MIB
from gateway.interfaces import IExport
from gateway.maintenance import Progress

#: Bytes of the disk that are asked about at a time.
_STEP = 16384 * MIB

#: Cells of a picture in a file.
_COLUMNS, _ROWS = 128, 64

#: Rows in a terminal.
_LINES = 16


def add(volume: Any) -> None:
    """The command, to the group ``volume``."""
    parser = words.command(
        volume,
        "map",
        _map,
        "draw a volume: data, zeroes, holes, and what only snapshots hold",
        "Each sign stands for as many bytes as any other, and shows what most of them are; never a"
        " hole where there is anything. Maps are read, data is not.",
    )
    words.address(parser)
    parser.add_argument("--svg", metavar="FILE", help="write the picture there, as SVG")
    parser.add_argument(
        "--png", metavar="FILE", help="write the picture there, as PNG; needs the package pillow"
    )


async def _map(session: Session, given: Namespace) -> Done:
    images = _images() if given.png else None
    address = session.address(given.address)
    known = await session.place(address).describe()
    in_file = given.svg or given.png
    columns, rows = (_COLUMNS, _ROWS) if in_file else (_width(), _LINES)
    picture = DiskMap(known.size, columns, rows)
    with session.progress("mapping", "nothing was changed; start it again") as tell:
        await _paint(session, address, [one.name for one in known.snapshots], picture, tell)
    totals = picture.totals()
    legend = "\n".join(
        f"{sign} {meaning}: {size(totals[shade])}" for shade, (sign, _, meaning) in LEGEND.items()
    )
    title = f"{given.address}: {size(known.size)}, {size(picture.cell)} a cell"
    _write(given, picture, title, images)
    drawn = [] if in_file else [picture.text()]
    value = {
        "volume": given.address,
        "size": known.size,
        "cell": picture.cell,
        "bytes": {shade.name.lower(): totals[shade] for shade in LEGEND},
        "cells": [shade.name.lower() for shade in picture.cells()],
    }
    return Done(value, "\n".join([title, *drawn, legend]))


def _write(given: Namespace, picture: DiskMap, title: str, images: Any) -> None:
    try:
        if given.svg:
            Path(given.svg).write_text(picture.svg(title), encoding="utf-8")
        if given.png:
            picture.save_png(given.png, images)
    except OSError as error:
        raise wrong(f"the picture cannot be written: {error}") from None


def _images() -> Any:
    try:
        return import_module("PIL.Image")
    except ImportError:
        raise wrong("--png needs the Python package pillow: expected nbdgateway[png]") from None


def _width() -> int:
    return max(16, min(shutil.get_terminal_size().columns, 160))


async def _paint(
    session: Session, address: Any, snapshots: list[str], picture: DiskMap, tell: Progress
) -> None:
    total = picture.size * (1 + len(snapshots))
    held: list[tuple[int, int]] = []
    for number, name in enumerate(snapshots, 1):
        async with session.export(address, name) as export:
            done = picture.size * (number - 1)
            held += [
                (offset, length)
                for offset, length, shade in await _shades(export, done, total, tell)
                if shade is Shade.DATA
            ]
    held = _merged(held)
    async with session.export(address) as export:
        done = picture.size * len(snapshots)
        for offset, length, shade in await _shades(export, done, total, tell):
            if shade is Shade.DATA:
                picture.paint(offset, length, shade)
                continue
            at, end = offset, offset + length
            number = max(0, bisect_right(held, (at, picture.size)) - 1)
            for start, stop in held[number:]:
                if start >= end:
                    break
                first, last = max(start, at), min(stop, end)
                if first >= last:
                    continue
                picture.paint(at, first - at, shade)
                picture.paint(first, last - first, Shade.SNAPSHOT)
                at = last
            picture.paint(at, end - at, shade)


async def _shades(
    export: IExport, done: int, total: int, tell: Progress
) -> list[tuple[int, int, Shade]]:
    """Offset, length and shade of every part of a disk, in order."""
    found: list[tuple[int, int, Shade]] = []
    at, size_ = 0, export.info.size
    while at < size_:
        answer = export.extents(at, min(_STEP, size_ - at), False)
        for one in await answer if isinstance(answer, Deferred) else answer:
            shade = Shade.HOLE if one.hole else Shade.ZERO if one.zero else Shade.DATA
            found.append((at, min(one.length, size_ - at), shade))
            at += one.length
        tell(done + min(at, size_), total, "bytes")
    return found


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offsets and lengths as first bytes and ends, in order, without overlaps."""
    merged: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if merged and offset <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], offset + length))
        else:
            merged.append((offset, offset + length))
    return merged
