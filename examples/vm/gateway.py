"""A gateway for the example: its configuration, its process, and its operator's commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]

#: Seconds until a gateway has opened its volumes; a new store is tried before its first use.
PATIENCE = 90.0

HEAD = """\
[gateway]
state_dir = state

[listen:local]
endpoint = unix:nbd.sock
"""


class GatewayFailed(Exception):
    """The gateway, or a command to it, did not succeed; the text has what it said."""


class Gateway:
    """
    A gateway process with volumes in one store; as a context it is stopped at the end.

    Args:
        directory: for its configuration, socket, log and state; it exists.
        keys: of each volume's section: provider and place.
        size: of each volume.
    """

    def __init__(self, directory: Path, keys: str, size: str) -> None:
        self._directory = directory
        self._keys = keys
        self._size = size
        self._volumes: list[str] = []
        self._log = directory / "gateway.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *volumes: str) -> None:
        """Serve these volumes; those that do not exist are created."""
        self._configure(*volumes)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from twisted.scripts.twistd import run; run()",
                 "--nodaemon", "--pidfile=", "nbdgateway", "--config", "gw.ini"],
                cwd=self._directory, env=_environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        for volume in volumes:
            self._wait_for(f"export {volume} is open")

    def add(self, volume: str) -> None:
        """Serve one more, which exists."""
        assert self.process is not None
        self._configure(*self._volumes, volume)
        self.process.send_signal(signal.SIGHUP)
        self._wait_for(f"export {volume} is open")

    def operate(self, *arguments: str) -> str:
        """``nbdgateway ARGUMENTS``; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "--config", "gw.ini", *arguments],
            cwd=self._directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise GatewayFailed(f"nbdgateway {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _configure(self, *volumes: str) -> None:
        self._volumes = list(volumes)
        sections = [f"\n[export:{name}]\nsize = {self._size}\n{self._keys}" for name in volumes]
        (self._directory / "gw.ini").write_text(HEAD + "".join(sections))

    def _wait_for(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in (said := self._log.read_text()):
            if self.process is None or self.process.poll() is not None or time.monotonic() > end:
                raise GatewayFailed(f"waited in vain for {text!r} in\n{said}")
            time.sleep(0.05)


def _environment() -> dict[str, str]:
    """In which Twisted finds the gateway in a checkout, installed or not."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
