"""Other projects' clients as commands: found, started with a limit, and their outcome checked."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Seconds that a client may take before the test fails.
PATIENCE = 120.0

Done = subprocess.CompletedProcess[str]


def find(name: str) -> str:
    """Where a program is; skips the test without it, or fails where CI demands it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        assert not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return found


class Clients:
    """
    Runs clients in one directory.

    Args:
        directory: where they run, and where relative paths lead.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def attempt(self, tool: str, *arguments: str | Path, **options: Any) -> Done:
        """Run a program to its end, whatever comes of it."""
        return subprocess.run(
            [find(tool), *map(str, arguments)],
            cwd=self.directory,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            **options,
        )

    def run(self, tool: str, *arguments: str | Path, **options: Any) -> str:
        """Run a program that has to succeed; returns what it printed."""
        done = self.attempt(tool, *arguments, **options)
        assert done.returncode == 0, f"{done.args}: {done.stderr}{done.stdout}"
        return done.stdout

    def refused(self, tool: str, *arguments: str | Path, **options: Any) -> str:
        """Run a program that has to fail by itself; returns what it complained about."""
        done = self.attempt(tool, *arguments, **options)
        assert done.returncode > 0, f"{done.args} succeeded or was killed: {done.returncode}"
        return done.stderr + done.stdout

    def start(self, tool: str, *arguments: str | Path) -> None:
        """Run a server that returns when it serves, and goes on in the background."""
        command = [find(tool), *map(str, arguments)]
        # No pipes: the server would keep them open.
        nowhere = subprocess.DEVNULL
        subprocess.run(
            command,
            cwd=self.directory,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            check=True,
            timeout=PATIENCE,
        )

    def qemu_io(self, uri: str, *commands: str, cache: str = "writeback") -> str:
        """Run qemu-io commands on one connection; each has to succeed. Returns their output."""
        text = self._qemu_io(uri, commands, cache)
        assert "failed" not in text, text
        return text

    def qemu_io_fails(self, uri: str, command: str, cache: str = "writeback") -> str:
        """Run a qemu-io command that the server has to refuse; returns the complaint."""
        text = self._qemu_io(uri, (command,), cache)
        assert "failed" in text, text
        return text

    def _qemu_io(self, uri: str, commands: tuple[str, ...], cache: str) -> str:
        options = [part for command in commands for part in ("-c", command)]
        done = self.attempt("qemu-io", "-f", "raw", "-t", cache, *options, uri)
        # What became of reads and writes is in its text alone.
        text = done.stderr + done.stdout
        assert "open device" not in text, text
        assert len(text.splitlines()) >= len(commands) or not commands
        return text

    def nbdsh(self, uri: str | None, body: Callable[..., None], *arguments: object) -> str:
        """
        Run a function in nbdsh.

        Args:
            uri: connected to before; None leaves the handle as it is made.
            body: gets the handle and ``arguments``. It is sent as source, so
                it may use nothing from outside itself but ``nbd``.
            arguments: texts and numbers.
        """
        process = self.start_nbdsh(body, *arguments, uri=uri)
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 0, errors + output
        return output

    def start_nbdsh(
        self, body: Callable[..., None], *arguments: object, uri: str | None = None
    ) -> subprocess.Popen[str]:
        """Start what `nbdsh` runs, with pipes for what it prints."""
        source = textwrap.dedent(inspect.getsource(body))
        call = ", ".join(["h", *map(repr, arguments)])
        script = f"from __future__ import annotations\n{source}\n{body.__name__}({call})\n"
        connect = [] if uri is None else ["-u", uri]
        # It runs the first python3 it finds, but its module is the distribution's.
        plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        path = os.pathsep.join(["/usr/bin", plain.get("PATH", os.defpath)])
        return subprocess.Popen(
            [find("nbdsh"), *connect, "-c", script],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**plain, "PATH": path},
        )
