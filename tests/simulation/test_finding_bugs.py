"""The simulation finds bugs: a toy that is right passes, and each way of breaking it is seen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.run import command, run_seed
from tests.simulation.toy import BUGS

#: Within so many seeds every bug is found.
MOST_SEEDS = 300

#: Runs whose traces are compared.
_TRACED = range(6)

_FINGERPRINTS = f"""
from tests.simulation.run import run_seed
for seed in {list(_TRACED)}:
    print(run_seed(seed, subject="toy").fingerprint)
"""


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_is_found(bug):
    """
    Whatever is broken, some seed shows it, and says how to run it again.
    """
    subject = f"toy:{bug}"
    for seed in range(MOST_SEEDS):
        report = run_seed(seed, subject=subject)
        if report.failure is not None:
            assert "Traceback" not in report.failure
            assert f"--seed {seed} " in command(report, subject)
            return
    pytest.fail(f"{MOST_SEEDS} seeds did not show that {BUGS[bug]}")


def test_what_is_right_passes():
    """
    The same seeds find nothing in the toy as it should be.
    """
    failures = {}
    for seed in range(100):
        report = run_seed(seed, subject="toy")
        if report.failure is not None:
            failures[seed] = report.failure
    assert not failures


def test_a_seed_is_a_run():
    """
    Twice the same seed, twice the same trace: in this process, and in one that hashes otherwise.
    """
    here = [run_seed(seed, subject="toy").fingerprint for seed in _TRACED]
    again = [run_seed(seed, subject="toy").fingerprint for seed in _TRACED]
    elsewhere = subprocess.run(
        [sys.executable, "-c", _FINGERPRINTS],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout.split()
    assert here == again == elsewhere
    assert len(set(here)) == len(here)
