"""
Breaks a copy of the program on purpose, and looks whether the tests notice.

    python -m tests.mutations.run                   # all of them, each in a minute or less
    python -m tests.mutations.run flush-before-put

A mutation that no test notices makes it fail. It is no part of CI.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutations.changes import MUTATIONS

_ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("backends", "gateway", "twisted", "tests")

#: Seconds; a test that hangs has noticed as well.
_PATIENCE = 600


def main(arguments=None):
    """0 if every mutation was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations.run", description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    names = parser.parse_args(arguments).names
    chosen = [one for one in MUTATIONS if not names or one.name in names]
    if unknown := set(names) - {one.name for one in chosen}:
        parser.error(f"got {sorted(unknown)}, expected names from tests/mutations/changes.py")
    missed = 0
    for mutation in chosen:
        noticed = _notice(mutation)
        missed += noticed is None
        print(  # noqa: T201
            f"{mutation.promise} {mutation.name}: {noticed or 'NOT NOTICED'}", flush=True
        )
    return int(missed > 0)


def _notice(mutation):
    """What the test says; None if it passes."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in _COPIED:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(_ROOT / name, copy / name, ignore=ignored)
        for name in ("setup.cfg", "pyproject.toml"):
            shutil.copy(_ROOT / name, copy / name)
        path = copy / mutation.path
        text = path.read_text()
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.name}: {mutation.path} has no such text, or twice")
        path.write_text(text.replace(mutation.old, mutation.new))
        try:
            done = subprocess.run(
                _command(mutation.check),
                cwd=copy,
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return "does not end"
        if done.returncode == 0:
            return None
        return _said(done.stdout)


def _command(check):
    if isinstance(check, str):
        return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", check]
    profile, seeds = check
    return [
        *(sys.executable, "-m", "tests.simulation.run", "--profile", profile),
        *("--seeds", f"0:{seeds}", "--jobs", "2", "--keep-going", "1"),
    ]


def _said(output):
    """The line that matters."""
    for start in ("seed ", "FAILED ", "ERROR "):
        for line in output.splitlines():
            if line.startswith(start):
                return line[:200]
    return output.strip().splitlines()[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
