"""A gateway with two disks and its HTTP listener, in memory."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from backends.memory import MemoryExport
from gateway.addresses import endpoint
from gateway.config import ListenerSpec
from gateway.exports import ExportTable
from gateway.listener_table import ListenerTable
from gateway.listeners import HTTPFactories, Opener
from gateway.standing import GatewayStanding
from gateway.traffic import Connections
from tests.doubles.volume import Volume
from tests.unit.gateway.fakes import FakeProvider, resources, spec

SIZE = 1 << 20
TOKEN = b"0123456789abcdef0123456789abcdef"


class Transport(StringTransport):
    """Remembers how it ended."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Web:
    """
    Args:
        token: of the listener.
        local: whether it is a Unix socket.

    Attributes:
        volume: the export ``vm``.
        disk: what stands for the export ``disk``.
    """

    def __init__(self, token: bytes | None = None, local: bool = False, disk: Any = None) -> None:
        self.clock = Clock()
        self.volume = Volume(SIZE)
        self.disk = disk or MemoryExport(SIZE)
        self.clients = Connections(lambda: 1000.0)
        self.standing = GatewayStanding(self.clients, lambda: 1000.0)
        self.table = ExportTable(resources())
        self.listeners = ListenerTable(Opener(self.clock))
        self.standing.start(self.table, self.listeners)
        self.table.apply(
            [
                spec("vm", FakeProvider("volumes", now=self.volume)),
                spec("disk", FakeProvider("plain", now=self.disk)),
            ],
            None,
        )
        self.standing.in_use(())
        address = "unix:/run/x" if local else "tcp:1:interface=127.0.0.1"
        self.host: Any = UNIXAddress(b"/run/x") if local else IPv4Address("TCP", "127.0.0.1", 1)
        listener = ListenerSpec("admin", "http", endpoint(address), token=token)
        made = HTTPFactories(self.clients, self.standing, execute)
        self.factory: Any = made(listener, self.table, self.clock, 5.0)
        self.factory.doStart()

    def connect(self) -> tuple[Any, Transport]:
        protocol = self.factory.buildProtocol(None)
        transport = Transport(self.host, self.host)
        if protocol is not None:
            protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own."""
        protocol, transport = self.connect()
        protocol.dataReceived(wire(path, method, body, **headers))
        self.clock.pump([0.0] * 5)
        return Answer(transport.value())


def wire(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> bytes:
    """A request."""
    headers = {"host": "127.0.0.1:1", "content_length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


class Answer:
    """What came back."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(": ") for line in lines)
        self.headers = {name.lower(): value for name, _, value in pairs}
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = _without_chunks(self.body)

    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


def _without_chunks(data: bytes) -> bytes:
    parts = []
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            assert data == b"\r\n"
            return b"".join(parts)
        parts.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]


class Held:
    """Passes on to a disk, but for reads, which wait or fail when the test says so."""

    def __init__(self, export: Any) -> None:
        self._export = export
        self.reads: list[tuple[int, int, Deferred[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._export, name)

    def read(self, offset: int, length: int) -> Any:
        done: Deferred[Any] = Deferred()
        self.reads.append((offset, length, done))
        return done
