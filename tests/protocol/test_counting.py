"""What a server counts of its clients."""

from __future__ import annotations

from twisted.logger import capturedLogs

from tests.protocol.in_memory import MemoryConnection
from tests.protocol.servers import InMemory
from tests.wire import Client
from tests.wire_format import GO, info_data


def test_a_client_is_listed_while_it_uses_an_export(memory: InMemory) -> None:
    """And what it did counts on when it is gone; its end is one line of the log."""
    clients = memory.factory.shared.clients
    client = memory.connect().greet()
    assert (clients.accepted, [*clients.current]) == ({"nbd": 1}, [])
    client.go("disk")
    client.write(0, b"x" * 4096)
    client.read(0, 512)
    (listed,) = clients.current
    assert (listed.export, listed.tls, listed.traffic.bytes_written) == ("disk", False, 4096)
    with capturedLogs() as logs:
        client.disconnect()
    assert not clients.current
    total = clients.totals()["disk", "nbd"]
    assert (total.bytes_read, total.bytes_written) == (512, 4096)
    (line,) = [log for log in logs if "bytes_written" in log]
    found = [line[key] for key in ("requests", "bytes_read", "bytes_written", "errors", "tls")]
    assert found == [2, 512, 4096, 0, "off"]


def test_handshakes_that_come_to_nothing_are_counted_by_reason(memory: InMemory) -> None:
    """In words from a list; names and texts of clients are none of them."""
    client = memory.connect().greet()
    client.option(GO, info_data("nothing"))
    broken = MemoryConnection(memory.factory, memory.clock, 65536)
    Client(broken).greet()
    memory.clock.advance(memory.factory.limits.handshake_timeout)
    failures = memory.factory.shared.clients.failures
    assert failures["nbd", "unknown_export"] == 1
    assert failures["nbd", "timeout"] == 2


def test_clients_that_are_too_many_are_counted(memory: InMemory) -> None:
    """They got no further."""
    memory.factory.limits = type(memory.factory.limits)(max_connections=1)
    memory.connect()
    memory.connect()
    clients = memory.factory.shared.clients
    assert (clients.accepted, clients.turned_away) == ({"nbd": 1}, {"nbd": 1})
