"""Figures as texts: medians, units, tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.peers.bench import Measured, Row
from benchmarks.s3_emulator.process import Asked

#: By the end of a figure's name: factor, and what stands behind the number.
_UNITS = {
    "_s": (1.0, " s"),
    "_ms": (1.0, " ms"),
    "_per_s": (1.0, "/s"),
    "_mb_s": (1.0, " MB/s"),
    "_kib": (1.0, " KiB"),
    "_mb": (1.0, " MB"),
    "_usd": (1.0, " $"),
    "_times": (1.0, "×"),
}


def requests_of(asked: Asked, units: int = 1) -> Measured:
    """Requests by verb, and KiB sent and received, for each of ``units``."""
    found: Measured = {verb: number / units for verb, number in asked.requests.items()}
    if asked.sent:
        found["sent_kib"] = asked.sent / 1024 / units
    if asked.got:
        found["got_kib"] = asked.got / 1024 / units
    return found or {"requests": 0}


def median(runs: Sequence[Measured]) -> Measured:
    """The median of each figure; a figure that a run has not is 0 there."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}


def text_of(measured: Measured) -> str:
    """For people: ``34.1 ms, 1 PUT, sent 65.4 KiB``."""
    return ", ".join(_figure(name, value) for name, value in measured.items())


def _figure(name: str, value: float) -> str:
    for end, (factor, unit) in sorted(_UNITS.items(), key=lambda item: -len(item[0])):
        if name.endswith(end):
            word = name[: -len(end)].replace("_", " ")
            number = f"{_number(value * factor)}{unit}"
            return f"{word} {number}" if word else number
    return f"{_number(value)} {name.replace('_', ' ')}"


def _number(value: float) -> str:
    if value == round(value) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def table(rows: Sequence[Row], names: Sequence[str], found: dict[str, dict[str, Measured]]) -> str:
    """
    Markdown.

    Args:
        names: of kinds, the columns.
        found: medians by number of the row and name of the kind.
    """
    head = ["#", "what", *names, "target", "met"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        measured = found.get(row.number, {})
        if not measured:
            continue
        cells = [text_of(measured[name]) if name in measured else "–" for name in names]
        met = _met(row, measured)
        lines.append(f"| {' | '.join([row.number, row.title, *cells, row.target, met])} |")
    return "\n".join(lines)


def _met(row: Row, measured: dict[str, Measured]) -> str:
    """A dash where what the target is about was not measured."""
    try:
        return "yes" if row.met(measured) else "**no**"
    except KeyError:
        return "–"
