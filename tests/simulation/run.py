"""
The simulation as a command: one seed again, or very many.

    python -m tests.simulation.run --seed 1234 --profile flaky --trace
    python -m tests.simulation.run --seeds 0:100000 --jobs 2
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from multiprocessing import get_context

from tests.simulation.profiles import PROFILES
from tests.simulation.simulation import Simulation
from tests.simulation.subjects import subject_named

#: Seconds between two lines of progress.
_PROGRESS = 10.0


def main(arguments=None):
    """0 if all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--seeds", help="FIRST:BEHIND_LAST")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--profile", choices=sorted(PROFILES), help="default: the seeds take turns")
    parser.add_argument("--subject", default="volume", help="volume, or toy with bugs: toy:BUG,BUG")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    parser.add_argument(
        "--audit-every", type=int, default=1, help="of so many seeds of a profile, audit the first"
    )
    parser.add_argument("--keep-going", type=int, default=20, help="failures after which to stop")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        report = run_seed(options.seed, options.profile, options.subject)
        if options.trace:
            for line in report.trace:
                print(*line)  # noqa: T201
        _tell(report, options.subject)
        return int(report.failure is not None)
    first, last = (int(number) for number in (options.seeds or "0:1000").split(":"))
    return _run_many(range(first, last), options)


def run_seed(seed, profile=None, subject="volume", audited=True):
    """
    Args:
        profile: a name; None for that which is the seed's turn.
        audited: whether an audit follows, where the subject has one; up to there it is one course.

    Returns:
        A `Report`.
    """
    names = [name for name, one in PROFILES.items() if subject == "volume" or not one.for_volumes]
    chosen = PROFILES[profile or names[seed % len(names)]]
    simulated = subject_named(subject, seed, chosen.large)
    # A collector that comes in between would run the ``finally`` of processes that were killed.
    gc.collect(0)
    gc.disable()
    try:
        report = Simulation(simulated, chosen, seed, audited).run()
    finally:
        gc.enable()
    return report


def command(report, subject="volume"):
    """What runs it again."""
    what = "" if subject == "volume" else f" --subject {subject}"
    return (
        f"python -m tests.simulation.run --seed {report.seed} --profile {report.profile}"
        f"{what} --trace"
    )


def _tell(report, subject):
    if report.failure is None:
        print(f"seed {report.seed}, {report.profile}: well; {report.fingerprint}")  # noqa: T201
    else:
        print(f"seed {report.seed}, {report.profile}: {report.failure}")  # noqa: T201
        print(f"  again: {command(report, subject)}")  # noqa: T201


def _one(job):
    report = run_seed(*job)
    report.trace.clear()
    return report


def _run_many(seeds, options):
    started = told = time.monotonic()
    done = failures = 0
    counts = Counter()
    turns = 1 if options.profile else len(PROFILES)
    jobs = (
        (seed, options.profile, options.subject, seed // turns % options.audit_every == 0)
        for seed in seeds
    )
    with get_context("fork").Pool(options.jobs) as pool:
        for report in pool.imap(_one, jobs, chunksize=8):
            done += 1
            counts.update(report.counts)
            if report.failure is not None:
                failures += 1
                _tell(report, options.subject)
                if failures >= options.keep_going:
                    break
            if time.monotonic() > told + _PROGRESS:
                told = time.monotonic()
                _progress(done, len(seeds), failures, started)
    _progress(done, len(seeds), failures, started)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))  # noqa: T201
    return int(failures > 0)


def _progress(done, total, failures, started):
    passed = time.monotonic() - started
    print(  # noqa: T201
        f"{done} of {total} seeds, {failures} failed, {passed:.0f} s,"
        f" {1000 * passed / max(done, 1):.0f} ms each",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
