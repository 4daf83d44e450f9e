"""Ordering and durability (D rows): what an answer promises to whom."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from backends.memory import MemoryExport
from gateway.errors import Unavailable
from tests.doubles.recording_export import RecordingExport
from tests.protocol.exports import SIZE
from tests.protocol.servers import InMemory, Process, fresh
from tests.wire_format import (
    EIO,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    compact,
)

Server = InMemory | Process
MIB = 1 << 20


class Held(MemoryExport):
    """Answers writes and flushes when the test says so; they take effect then."""

    def __init__(self) -> None:
        super().__init__(SIZE)
        self.held: list[tuple[Deferred[None], Any]] = []

    def write(self, offset: int, data: Any, fua: bool) -> Deferred[None]:  # type: ignore[override]
        return self._hold(lambda: MemoryExport.write(self, offset, data, fua))

    def flush(self) -> Deferred[None]:  # type: ignore[override]
        return self._hold(lambda: None)

    def _hold(self, work: Any) -> Deferred[None]:
        self.held.append((Deferred(), work))
        return self.held[-1][0]

    def answer(self, index: int = 0) -> None:
        done, work = self.held.pop(index)
        work()
        done.callback(None)


@pytest.mark.parametrize(
    ("command", "call"),
    [
        (WRITE, ("write", 0, bytes(512), True)),
        (TRIM, ("trim", 0, 512, True)),
        (WRITE_ZEROES, ("write_zeroes", 0, 512, True, True, False)),
    ],
)
def test_fua_reaches_storage(memory: InMemory, framing: str, command: int, call: Any) -> None:
    """
    D2, C31: FUA is asked of storage with the command itself, and only where it was set.
    """
    export = RecordingExport(MemoryExport(SIZE))
    memory.source.add("recorded", export)
    client = memory.client(framing).go("recorded")
    data = bytes(512) if command == WRITE else None
    client.done(command, 0, 512, FUA, data)
    client.done(command, 0, 512, 0, data)
    fua = -2 if command == WRITE_ZEROES else -1
    assert export.calls[0] == call
    assert [one[fua] for one in export.calls] == [True, False]


def test_flush_reaches_storage_once_asked(memory: InMemory, framing: str) -> None:
    """
    D1: each FLUSH is one flush of the export, after the writes answered before it.
    """
    export = RecordingExport(MemoryExport(SIZE))
    memory.source.add("recorded", export)
    client = memory.client(framing).go("recorded")
    client.write(0, b"x")
    client.done(FLUSH)
    client.done(FLUSH, flags=FUA)
    assert [call[0] for call in export.calls] == ["write", "flush", "flush"]


def test_write_is_not_answered_before_storage_answers(memory: InMemory, framing: str) -> None:
    """
    C28, D5: the reply comes when readers see the data, on every connection.
    """
    export = Held()
    memory.source.add("held", export)
    writer, reader = (memory.client(framing).go("held") for _ in "wr")
    writer.submit(WRITE, 0, data=b"new")
    assert reader.read(0, 3) == bytes(3)
    assert not writer.connection.transport.unread
    export.answer()
    assert writer.answer().error == 0
    assert reader.read(0, 3) == b"new"


def test_slow_flush_does_not_block_reads(memory: InMemory, framing: str) -> None:
    """
    D4, D6: replies come as requests complete.
    """
    export = Held()
    memory.source.add("held", export)
    client = memory.client(framing).go("held")
    flush = client.submit(FLUSH)
    client.submit(WRITE, 0, data=b"a")
    client.submit(WRITE, 1, data=b"b")
    read = client.submit(READ, 4096, 1)
    assert client.answer().request is read
    export.answer(2)
    assert client.answer().request.offset == 1
    export.answer(1)
    assert client.answer().request.offset == 0
    export.answer(0)
    assert client.answer().request is flush


def test_failed_flush_is_an_error_each_time(memory: InMemory, framing: str) -> None:
    """
    D3: what storage says is passed on, every time it says so.
    """

    class Lost(MemoryExport):
        def flush(self) -> None:
            raise Unavailable("writes were lost")

    memory.source.add("lost", Lost(SIZE))
    client = memory.client(framing).go("lost")
    assert [client.call(FLUSH).error for _ in range(3)] == [EIO] * 3


def test_all_connections_see_one_disk(server: Server, framing: str) -> None:
    """
    D5, D10, D11: same size, same flags, and what one writes all others read at once.
    """
    name = fresh("later")
    clients = [server.client(framing, name) for _ in range(4)]
    assert len({(client.size, client.flags) for client in clients}) == 1
    assert clients[0].flags & 1 << 8
    for number, client in enumerate(clients):
        client.write(0, bytes([number]) * 4096)
        assert {other.read(0, 4096) for other in clients} == {bytes([number]) * 4096}
    clients[0].done(FLUSH)


def test_writes_of_a_dead_connection_do_not_land_late(memory: InMemory, framing: str) -> None:
    """
    D7, D8: a request that was not begun when its client vanished is never begun.
    """
    export = Held()
    memory.source.add("held", export)
    client = memory.client(framing).go("held")
    for number in range(200):
        client.submit(WRITE, number * 512, data=b"o" * 512)
    begun = len(export.held)
    assert begun == 64
    client.connection.close()
    for _ in range(begun):
        export.answer()
    assert export.held == []
    assert export.read(begun * 512, 512) == bytes(512)


def test_zeroing_stops_with_its_connection(memory: InMemory) -> None:
    """
    D8: zeroing by writing, cut off in the middle, writes nothing more over a new client's data.
    """
    old = memory.client("simple").go("writes-zeroes")
    old.write(0, b"x" * SIZE)
    old.submit(WRITE_ZEROES, 0, SIZE, NO_HOLE)
    old.connection.close()
    new = memory.client("simple").go("writes-zeroes")
    new.write(0, b"n" * SIZE)
    for _ in range(20):
        memory.clock.advance(0)
    assert new.read(0, SIZE) == b"n" * SIZE


def test_replies_die_with_their_connection(memory: InMemory, framing: str) -> None:
    """
    B31, D7: answers that come after the client has gone are nobody's.
    """
    export = Held()
    memory.source.add("held", export)
    client = memory.client(framing).go("held")
    client.submit(WRITE, 0, data=b"x")
    transport = client.connection.transport
    client.connection.close()
    assert memory.source.made["held"].users == 0
    export.answer()
    assert transport.unread == b""


def test_shutdown_finishes_what_was_begun(memory: InMemory, framing: str) -> None:
    """
    D9: begun requests are answered, later ones are not; then idle clients are closed.
    """
    export = Held()
    memory.source.add("held", export)
    client, idle = memory.client(framing).go("held"), memory.client(framing, "disk")
    haggling = memory.connect().greet()
    begun = client.submit(WRITE, 0, data=b"x")
    gone = memory.factory.shut_down()
    assert client.call.__name__ == "call"
    client.submit(READ, 0, 1)
    memory.clock.advance(1)
    idle.expect_end()
    haggling.expect_end()
    memory.clock.advance(5)
    assert not gone.called
    export.answer()
    answer = client.answer()
    assert (answer.request, answer.error) == (begun, 0)
    memory.clock.advance(0.05)
    client.expect_end()
    assert gone.called
    assert memory.clock.getDelayedCalls() == []


def test_shutdown_waits_for_a_bounded_time(memory: InMemory) -> None:
    """
    D9, B8: storage that never answers, and clients that never read, do not hold it up for ever.
    """
    memory.source.add("held", Held())
    client = memory.client("simple").go("held")
    client.submit(WRITE, 0, data=b"x")
    greedy = memory.client("simple", "disk")
    greedy.connection.send(compact(READ, 0, MIB) * 100)
    gone = memory.factory.shut_down()
    for _ in range(31 * 20):
        memory.clock.advance(0.05)
    client.expect_end()
    greedy.rest()
    assert gone.called
    assert memory.clock.getDelayedCalls() == []


def test_shutdown_of_a_process_that_clients_hold_on_to(sockets: Any) -> None:
    """
    D9, B8: idle, haggling, silent and never-reading clients; the process ends all the same.
    """
    limits = {"shutdown_timeout": 1.0, "disconnect_grace": 0.1}
    server = Process(sockets, limits=limits)
    server.client("simple", "disk")
    server.connect()
    server.connect().greet()
    greedy = server.client("simple", "disk")
    greedy.connection.send(compact(READ, 0, MIB) * 100)
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.process.wait(20) == 0
    assert server.errors() == ""
    server.close()


def test_random_traffic_on_many_connections(server: Server, framing: str) -> None:
    """
    D4, D5, C6: interleaved clients on one disk, each in its own region, all out of order.
    """
    name = fresh("later")
    chance = random.Random(5)
    clients = [server.client(framing, name) for _ in range(4)]
    models = [bytearray(MIB) for _ in clients]
    for _ in range(15):
        for number, client in enumerate(clients):
            base = number * MIB
            for slot in range(8):
                start = slot * 131072 + chance.randrange(1000)
                data = chance.randbytes(chance.randrange(1, 70_000))
                models[number][start : start + len(data)] = data
                client.submit(WRITE, base + start, data=data)
        for client in clients:
            while client.pending:
                assert client.answer().error == 0
    for number, client in enumerate(clients):
        assert client.read(number * MIB, MIB) == models[number]
