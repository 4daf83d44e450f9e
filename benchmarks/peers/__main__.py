"""
Volumes beside their peers, over an emulated store: a table, and the same as JSON.

    python -m benchmarks.peers [--quick] [--rows 2,8] [--kinds nbdgateway,nbdkit] [--runs 3]

Each row is measured with each kind of disk in turn, again and again, and the medians are
shown: a slow spell of the machine hits all of them. The kinds whose programs are not there
are left out, and named. --quick measures little: it shows that everything works, and counts
requests, but its times say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.peers import rows_of_life, rows_of_reads, rows_of_writes
from benchmarks.peers.bench import Bench, Measured, Row
from benchmarks.peers.disks import Disk, peers
from benchmarks.peers.figures import median, table, text_of
from benchmarks.s3_emulator.conditions import PROFILES


def all_rows() -> list[Row]:
    """In the order of their numbers."""
    rows = [*rows_of_writes.ROWS, *rows_of_reads.ROWS, *rows_of_life.ROWS]
    return sorted(rows, key=lambda row: (int(row.number.rstrip("abcdef")), row.number))


def measure(
    bench: Bench, row: Row, kinds: list[type[Disk]], runs: int
) -> dict[str, list[Measured]]:
    """All runs of one row, by name of the kind; what fails is told and left out."""
    found: dict[str, list[Measured]] = {}
    kinds = [kind for kind in kinds if not row.kinds or kind.name in row.kinds]
    for _ in range(1 if row.once else runs):
        for kind in kinds:
            begun = time.monotonic()
            try:
                measured = row.measure(bench, kind)
            except Exception:
                print(f"row {row.number}, {kind.name}: {traceback.format_exc()}", file=sys.stderr)
                continue
            found.setdefault(kind.name, []).append(measured)
            took = time.monotonic() - begun
            print(f"{row.number} {kind.name}: {text_of(measured)} [{took:.0f} s]", file=sys.stderr)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", default="", help="numbers, separated by commas; all by default")
    parser.add_argument("--kinds", default="", help="what names have in them; all by default")
    parser.add_argument("--runs", type=int, help="of each row; 3, or 1 with --quick")
    parser.add_argument("--profile", choices=PROFILES, default="near")
    parser.add_argument("--json", type=Path, help="a file for every run's figures")
    given = parser.parse_args(arguments)
    chosen = [number for number in given.rows.split(",") if number]
    rows = [row for row in all_rows() if not chosen or row.number in chosen]
    if len(rows) < len(set(chosen)):
        known = ", ".join(row.number for row in all_rows())
        parser.error(f"--rows: got {given.rows}, expected some of {known}")
    words = [word for word in given.kinds.split(",") if word]
    kinds: list[type[Disk]] = []
    for peer in peers():
        if words and not any(word in peer.kind.name for word in words):
            continue
        if peer.missing is None:
            kinds.append(peer.kind)
        else:
            print(f"{peer.kind.name} is left out: {peer.missing}", file=sys.stderr)
    found: dict[str, dict[str, list[Measured]]] = {}
    runs = given.runs or (1 if given.quick else 3)
    with (
        tempfile.TemporaryDirectory(prefix="peers") as home,
        Bench(Path(home), given.profile, given.quick) as bench,
    ):
        for row in rows:
            found[row.number] = measure(bench, row, kinds, runs)
            if given.json is not None:
                given.json.write_text(json.dumps(found, indent=1))
    medians = {
        number: {name: median(one) for name, one in by_kind.items()}
        for number, by_kind in found.items()
    }
    print(table(rows, [kind.name for kind in kinds], medians))
    return 0


if __name__ == "__main__":
    sys.exit(main())
