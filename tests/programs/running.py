"""
Our programs as processes of their own, for tests to start.

Importing them is most of what a start takes. So, as a rule, a process that has imported them forks
one that carries on as if it had just been executed; see `tests.programs.forking`. Where a test has
the mark ``executes``, and everywhere with NBDGATEWAY_EXECUTE=1, the programs are executed, as their
users do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

from tests.programs.environment import environment
from tests.programs.forked import Forked

#: Seconds that anything may take before a test fails.
PATIENCE = 120.0

#: What executes each program, without asking where its script is installed.
COMMANDS = {
    "twistd": [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"],
    "nbdgateway": [sys.executable, "-m", "gateway.cli"],
}

_everywhere = bool(os.environ.get("NBDGATEWAY_EXECUTE"))
_path = environment()["PYTHONPATH"]
_executes = _everywhere


class Running(Protocol):
    """
    A process; what `subprocess.Popen` and `Forked` have in common.

    Attributes:
        pid: its number.
        returncode: None before `poll` or `wait` saw its end; then its exit status, or a signal
            as a negative number.
    """

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, at its end; ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""

    def send_signal(self, sig: int) -> None:
        """Nothing happens if it has ended."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def execute(whether: bool) -> None:
    """Whether programs are executed from now on."""
    global _executes
    _executes = _everywhere or whether


def start(
    program: str,
    *arguments: str,
    directory: Path,
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    variables: Mapping[str, str] = {},
) -> Running:
    """
    A process of its own, with nothing to read.

    Args:
        program: a name in `COMMANDS`.
        directory: where it runs.
        output: takes what it prints; a file.
        errors: takes what it prints to standard error, if that goes elsewhere.
        variables: more of its environment.
    """
    errors = output if errors is None else errors
    environ = {**environment(), **variables}
    # Whoever is to find modules elsewhere has to look for them himself.
    if not _executes and environ["PYTHONPATH"] == _path:
        return Forked(program, arguments, directory, environ, output.fileno(), errors.fileno())
    return subprocess.Popen(
        [*COMMANDS[program], *arguments],
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
    )


def run(program: str, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """
    A program to its end, and what it printed.

    Raises:
        subprocess.TimeoutExpired: it takes too long, and is ended.
    """
    # Not pipes: who waits for the process need not read meanwhile.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(program, *arguments, directory=directory, output=output, errors=errors)
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
        for file in (output, errors):
            file.seek(0)
        texts = output.read().decode(), errors.read().decode()
    return subprocess.CompletedProcess([program, *arguments], status, *texts)
