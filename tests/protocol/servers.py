"""Servers to talk to: one in memory, and one in a process of its own."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from gateway.nbd.limits import Limits
from gateway.nbd.server import NBDFactory
from tests.conftest import LoggedFailures
from tests.protocol.exports import TestSource
from tests.protocol.in_memory import MemoryConnection
from tests.wire import Client, SocketConnection

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count(1)
#: Every process that was started.
RUNNING: list[Process] = []


def fresh(kind: str) -> str:
    """The name of a disk that no other test has seen."""
    return f"{kind}:{next(_numbers)}"


class InMemory:
    """
    A server in this process; time passes when the test says so.

    Attributes:
        clock, source, factory: what it is made of.
    """

    link = "memory"

    def __init__(
        self, logged: LoggedFailures, tls_mode: str = "off", tls: Any = None, **limits: Any
    ) -> None:
        self._logged = logged
        self.clock = Clock()
        self.source = TestSource(self.clock)
        self.factory = NBDFactory(
            self.source,
            reactor=self.clock,
            tls=tls or (object() if tls_mode != "off" else None),  # type: ignore[arg-type]
            tls_mode=tls_mode,
            limits=Limits(**limits),
        )

    def connect(self, segment: int = 65536) -> Client:
        """A client that has sent nothing yet."""
        return Client(MemoryConnection(self.factory, self.clock, segment))

    def client(self, framing: str = "simple", kind: str | None = None) -> Client:
        """A client that has agreed on a framing and, given a kind, is in transmission."""
        return _negotiated(self.connect(), framing, kind)

    def take_failures(self) -> str:
        """The failures logged so far; they no longer fail the test."""
        return " ".join(repr(error) for error in self._logged.take())


class Process:
    """
    A server in a process of its own.

    Args:
        directory: for its socket; short, since paths of sockets are.
        settings: see `tests.protocol.serve.main`.

    Attributes:
        path, port: where it listens.
    """

    link = "socket"

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.path = str(directory / f"{next(_numbers)}.sock")
        self._seen = 0
        self._errors = open(f"{self.path}.log", "w+b")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.protocol.serve",
                json.dumps({"unix": self.path, **settings}),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        assert self.process.stdout is not None
        self._connections: list[SocketConnection] = []
        line = self.process.stdout.readline()
        assert line, "the server did not start:\n" + self.errors()
        self.port = int(line)
        RUNNING.append(self)

    def connect(self) -> Client:
        return self._kept(SocketConnection.unix(self.path))

    def connect_tcp(self) -> Client:
        return self._kept(SocketConnection.tcp(self.port))

    def _kept(self, connection: SocketConnection) -> Client:
        self._connections.append(connection)
        return Client(connection)

    def client(self, framing: str = "simple", kind: str | None = None) -> Client:
        return _negotiated(self.connect(), framing, kind)

    def resident(self) -> int:
        """Bytes of memory that the process holds."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def errors(self) -> str:
        """The failures it has logged since they were last asked for."""
        self._errors.seek(self._seen)
        errors = self._errors.read().decode()
        self._seen = self._errors.tell()
        return errors

    def take_failures(self) -> str:
        """The failures logged so far; they no longer fail the test."""
        return self.errors()

    def hang_up(self) -> None:
        """Close every client."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def close(self) -> None:
        """Order it to stop and wait until it has."""
        self.hang_up()
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._errors.close()


def _negotiated(client: Client, framing: str, kind: str | None) -> Client:
    client.greet().agree(framing)
    if kind is not None:
        name = kind if ":" in kind or not kind else fresh(kind)
        client.go(name)
    return client
