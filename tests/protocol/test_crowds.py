"""Many bad clients at once, one good one among them, and memory that stays bounded."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocol.servers import InMemory, Process, fresh
from tests.wire_format import (
    BLOCK_STATUS,
    GO,
    LIST,
    READ,
    STRUCTURED_REPLY,
    WRITE,
    WRITE_ZEROES,
    compact,
    extended,
    info_data,
    option,
)

MIB = 1 << 20
MOST = 100 * MIB


@pytest.fixture
def own(sockets: Path) -> Iterator[Process]:
    """A server of this test's own: its memory is measured."""
    server = Process(sockets)
    yield server
    assert server.process.poll() is None
    assert server.errors() == ""
    server.close()


def test_hundreds_of_bad_clients_and_a_good_one(own: Process, framing: str) -> None:
    """
    0 (HANDSHAKE_TIMEOUT), B7, B8, C15, issue 6: idle, half-open, slow and vanishing clients.
    """
    good = own.client(framing, "disk")
    hello = struct.pack(">I", 3)
    beginnings = [
        b"",
        b"\0",
        hello,
        hello + option(GO, info_data("disk"))[:-1],
        hello + option(STRUCTURED_REPLY) + option(99, b"", 1 << 20) + b"x" * 100,
        hello + option(LIST) * 20,
        hello + option(GO, info_data("disk")),
        hello + option(GO, info_data("disk")) + compact(WRITE, 0, MIB) + b"x" * 1000,
        hello + option(GO, info_data("disk")) + compact(READ, 0, MIB) * 20,
        hello + option(GO, info_data("never-opens")),
        b"GET / HTTP/1.0\r\n\r\n",
    ]
    crowd: list[socket.socket] = []
    try:
        for number in range(330):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(own.path)
            client.sendall(beginnings[number % len(beginnings)])
            if number % 3 == 0:
                client.close()
            else:
                crowd.append(client)
            if number % 10 == 0:
                data = bytes([number % 251]) * 4096
                good.write(number * 4096, data)
                assert good.read(number * 4096, 4096) == data
        for client in crowd[::2]:
            client.close()
        assert good.read(0, 4096) == bytes(4096)
        assert own.client(framing, "disk").read(0, 1) == b"\0"
        assert own.resident() < 2 * MOST
    finally:
        for client in crowd:
            client.close()


def test_64_connections_at_depth_32(own: Process, framing: str) -> None:
    """
    0 (MAX_INFLIGHT), C14, issue 5: less than 100 MB with 64 connections, 32 requests each.
    """
    name = fresh("later")
    clients = [own.client(framing, name) for _ in range(64)]
    for _ in range(3):
        for number, client in enumerate(clients):
            for slot in range(16):
                offset = (number * 16 + slot) * 4096
                client.submit(WRITE, offset, data=bytes([number + 1]) * 4096)
                client.submit(READ, offset, 4096)
        for client in clients:
            while client.pending:
                assert client.answer().error == 0
    assert own.resident() < MOST


def test_large_reply_behind_a_pipelined_go(own: Process) -> None:
    """
    H15, C14: everything sent at once, before the greeting was read; no reply is forgotten.
    """
    client = own.connect()
    flags = struct.pack(">I", 3)
    client.connection.send(
        flags
        + option(GO, info_data("disk"))
        + b"".join(compact(READ, 0, MIB, cookie=cookie) for cookie in range(20))
    )
    client.connection.receive(18 + 20 + 12 + 20 + 14 + 20)
    for cookie in range(20):
        client.remember(READ, 0, MIB, cookie=cookie)
    assert [len(client.answer().data) for _ in range(20)] == [MIB] * 20


@pytest.mark.parametrize("length", [4096, MIB, 32 * MIB])
def test_client_that_never_reads(own: Process, framing: str, length: int) -> None:
    """
    C14, issue 5: its replies stay bounded, and others are served.
    """
    good = own.client(framing, "disk")
    name = fresh("big")
    pack = extended if framing == "extended" else compact
    greedy = [own.client(framing, name) for _ in range(2)]
    greedy[0].write(0, b"x" * 32 * MIB)
    for client in greedy:
        sock = client.connection.socket
        sock.setblocking(False)
        requests = pack(READ, 0, length) * 2000
        sent = 0
        while sent < len(requests):
            try:
                sent += sock.send(requests[sent:])
            except BlockingIOError:
                break
        for number in range(20):
            good.write(number * 4096, b"g" * 4096)
            assert good.read(number * 4096, 4096) == b"g" * 4096
    disk = 32 * MIB  # the export itself lives in the server's memory
    replies = 2 * 32 * MIB if framing == "simple" and length == 32 * MIB else 0
    assert own.resident() < MOST + disk + replies


def test_clients_that_announce_much_and_send_nothing(own: Process) -> None:
    """
    B21, 2.3 step 3: a header costs no memory, whatever payload it announces.
    """
    for _ in range(40):
        client = own.client("simple", "big")
        client.connection.send(compact(WRITE, 0, 32 * MIB) + b"x")
    assert own.client("simple", "disk").read(0, 1) == b"\0"
    assert own.resident() < MOST


def test_4_gib_of_zeroes_by_writing_over_data(own: Process) -> None:
    """
    Fast-zero 5.7, issue 4: 4 GiB - 512 by fallback leaves no byte; memory stays flat.

    That others have their turn in between is a fact about turns, not about
    time; `test_the_reactor_has_a_turn_after_each_piece` shows it.
    """
    name = fresh("big-writes-zeroes")
    big, small = own.client("simple", name), own.client("simple", name)
    marks = [*range(0, 4 << 30, 199 * MIB), (4 << 30) - 1024]
    for mark in marks:
        big.write(mark, b"x" * 512)
    big.write((4 << 30) - 512, b"end")
    big.submit(WRITE_ZEROES, 0, (4 << 30) - 512)
    assert small.read(5 << 30, 4096) == bytes(4096)
    assert big.answer().error == 0
    for mark in marks:
        assert big.read(mark, 512) == bytes(512)
    assert big.read((4 << 30) - 512, 3) == b"end"
    assert own.resident() < MOST


def test_32_mib_read_lets_small_reads_through(own: Process, chunks: str) -> None:
    """
    D6, issue 5: on another connection many small READs end before a 32 MiB one has arrived.
    """
    name = fresh("big")
    big, small = own.client(chunks, name), own.client(chunks, name)
    big.write(0, b"x" * 32 * MIB)
    big.submit(READ, 0, 32 * MIB)
    for _ in range(200):
        assert small.read(0, 4096) == b"x" * 4096
    assert big.answer().data == b"x" * 32 * MIB


def test_small_reads_overtake_a_long_one_on_their_own_connection(
    memory: InMemory, chunks: str
) -> None:
    """
    C6, D6: a long READ in chunks is interrupted by short ones that came later.
    """
    client = memory.client(chunks, "disk")
    client.write(0, b"x" * 8 * MIB)
    long = client.remember(READ, 0, 8 * MIB)
    short = [client.remember(READ, 0, 512) for _ in range(20)]
    pack = extended if chunks == "extended" else compact
    client.connection.send(
        b"".join(pack(READ, 0, one.length, cookie=one.cookie) for one in [long, *short])
    )
    order = [client.answer().request for _ in range(21)]
    assert order[-1] is long


def test_32_mib_write_lets_small_reads_through(own: Process, framing: str) -> None:
    """
    D6, issue 5: while a 32 MiB WRITE is on its way, another connection is served.
    """
    name = fresh("big")
    big, small = own.client(framing, name), own.client(framing, name)
    request = big.remember(WRITE, 0, 32 * MIB)
    pack, flag = (extended, 0x20) if framing == "extended" else (compact, 0)
    big.connection.send(pack(WRITE, 0, 32 * MIB, flag, request.cookie))
    for _ in range(32):
        big.connection.send(b"w" * MIB)
        assert len(small.read(64 * MIB, 4096)) == 4096
    assert big.answer().error == 0
    assert small.read(31 * MIB, 512) == b"w" * 512


def test_status_of_many_extents_is_bounded(memory: InMemory, chunks: str) -> None:
    """
    0 (EXTENT_CAP), C14: a small request for a large map costs a bounded reply.
    """
    name = fresh("disk")
    client = memory.connect().greet().agree(chunks)
    client.set_contexts(name, "base:allocation")
    client.go(name)
    for number in range(0, 2000, 2):
        client.write(number * 4096, b"x")
    client.connection.send(b"")
    for _ in range(50):
        client.submit(BLOCK_STATUS, 0, 8 * MIB)
    assert client.connection.transport.most_unread < 2 * MIB
    assert [client.answer().error for _ in range(50)] == [0] * 50
