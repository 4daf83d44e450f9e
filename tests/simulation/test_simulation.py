"""A volume keeps its promises, whatever the store does and whenever its process dies."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.profiles import PROFILES
from tests.simulation.run import command, run_seed

#: Runs of each profile. Each is a volume's life of some seconds to hours, in about 60 ms.
SEEDS = int(os.environ.get("NBDGATEWAY_SEEDS", "300")) // len(PROFILES)

_TRACED = range(len(PROFILES))

_FINGERPRINTS = f"""
from tests.simulation.run import run_seed
for seed in {list(_TRACED)}:
    print(run_seed(seed).fingerprint)
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_volume_keeps_its_promises(profile):
    """
    Reads are right, what was flushed is there after a crash, what is there is a prefix, a writer
    that was taken over promises nothing, snapshots and clones stay as they were, and everything
    is answered in the end.
    """
    failed = []
    for seed in range(SEEDS):
        report = run_seed(seed, profile)
        if report.failure is not None:
            failed.append(f"{report.failure}\n  again: {command(report)}")
            if len(failed) == 3:
                break
    assert not failed, "\n\n".join(failed)


def test_a_seed_is_a_run():
    """
    Twice the same seed, twice the same trace: in this process, and in one that hashes otherwise.
    """
    here = [run_seed(seed).fingerprint for seed in _TRACED]
    again = [run_seed(seed).fingerprint for seed in _TRACED]
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
