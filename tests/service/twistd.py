"""A real ``twistd nbdgateway`` process, for tests to start, watch and stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The twistd script, without asking where it is installed.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

#: Seconds that anything may take before a test fails.
PATIENCE = 120.0


def environment() -> dict[str, str]:
    """The plugin is found in the source tree, installed or not."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def until(condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
    """Wait for ``condition``; fail with ``what``, or what it says then, when patience ends."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


class Twistd:
    """
    One process in the foreground.

    Attributes:
        directory: it runs in.
        output: a file with all it printed.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.output = directory / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*TWISTD, "--nodaemon", "--pidfile=", "nbdgateway", *arguments],
                cwd=directory,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        """Everything printed so far."""
        return self.output.read_text()

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The match of a regular expression in the output, once it is there ``count`` times."""

        def is_there() -> bool:
            # In this order: what a process says last it has said when it has ended.
            has_ended = self.process.poll() is not None
            found = len(re.findall(pattern, self.text())) >= count
            assert found or not has_ended, f"twistd has ended:\n{self.text()}"
            return found

        until(is_there, lambda: f"{pattern} in\n{self.text()}")
        found = re.search(pattern, self.text())
        assert found is not None
        return found

    def stop(self) -> float:
        """Send SIGTERM; returns the seconds until the process has ended."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return time.monotonic() - start

    def hang_up(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``twistd ARGUMENTS`` to its end."""
    return subprocess.run(
        [*TWISTD, *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
