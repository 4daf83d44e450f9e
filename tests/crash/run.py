"""
Many deaths, as a command:

    python -m tests.crash.run --kills 100
    python -m tests.crash.run --kills 100 --store s3 --durability journal --seed 7

The kills are shared out evenly among the combinations of stores and
durabilities. What is random follows the seed, except for what the machine
does at the same time: the same seed does not die at the same instruction.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from tests.crash.kills import Kills
from tests.crash.places import InBucket, InDirectory, Place
from tests.crash.s3_server import s3_server

STORES = ("directory", "s3")
DURABILITIES = ("store", "journal")


def main() -> int:
    """0 if nothing was lost; else the failure is raised."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=STORES, help="default: both")
    parser.add_argument("--durability", choices=DURABILITIES, help="default: both")
    options = parser.parse_args()
    stores = [options.store] if options.store else STORES
    durabilities = [options.durability] if options.durability else DURABILITIES
    combinations = list(product(stores, durabilities))
    total: Counter[str] = Counter()
    for number, (store, durability) in enumerate(combinations):
        first = options.kills * number // len(combinations)
        behind = options.kills * (number + 1) // len(combinations)
        total += run(store, durability, behind - first, options.seed)
    tell("all", total)
    return 0


def run(store: str, durability: str, kills: int, seed: int) -> Counter[str]:
    """Kill one volume's gateway so often; returns what was counted."""
    started = time.monotonic()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw")))
        place: Place = InDirectory(directory)
        if store == "s3":
            place = InBucket(stack.enter_context(s3_server()), "disks", directory)
        volume = Kills(directory, place, durability, seed)
        stack.callback(volume.stop)
        for _ in range(kills):
            volume.round()
        volume.finish()
    tell(f"{store}, {durability}, seed {seed}", volume.counts, time.monotonic() - started)
    return volume.counts


def tell(what: str, counts: Counter[str], seconds: float | None = None) -> None:
    """One line."""
    text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    passed = "" if seconds is None else f" in {seconds:.0f} s"
    print(f"{what}: {text}{passed}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
