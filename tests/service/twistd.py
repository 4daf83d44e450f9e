"""A real ``twistd nbdgateway`` process, for tests to start, watch and stop."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.programs import running
from tests.programs.environment import ROOT, environment
from tests.programs.running import COMMANDS, PATIENCE

__all__ = ["PATIENCE", "ROOT", "TWISTD", "Twistd", "environment", "run", "until"]

#: The twistd script, without asking where it is installed.
TWISTD = COMMANDS["twistd"]


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
            self.process = running.start(
                *("twistd", "--nodaemon", "--pidfile=", "nbdgateway", *arguments),
                directory=directory,
                output=output,
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
    return running.run("twistd", *arguments, directory=directory)
