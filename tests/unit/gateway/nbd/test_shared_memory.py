"""All sessions of a process together: what payloads hold is bounded, and nobody waits for it."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gateway.errors import NoSpace, Unavailable
from gateway.info import MIB, Abilities, ExportInfo, Extent
from gateway.nbd.inbox import ProtocolViolation
from gateway.nbd.limits import FEW_IN_FLIGHT, READ_CHUNK, SMALL_PAYLOAD, Limits
from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.session import Session
from gateway.nbd.shared import Shared
from gateway.nbd.terms import SIMPLE, STRUCTURED, Terms, transmission_flags

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
READ, WRITE = 0, 1
DF = 4
SIZE = 64 * MIB
LIMIT = 8 * MIB


class Disk:
    """
    A disk that answers when told to.

    Attributes:
        pending: the answers that it owes; None means that it answers at once.
        refuses: the offset of a write that fails.
        unreadable: the offset of a byte that cannot be read.
        reads: offset and length of each.
    """

    def __init__(self, slow: bool) -> None:
        self.info = ExportInfo(size=SIZE, abilities=Abilities())
        self.bytes = bytearray(SIZE)
        self.pending: list[tuple[Deferred[Any], Any]] | None = [] if slow else None
        self.refuses = -1
        self.unreadable = -1
        self.reads: list[tuple[int, int]] = []
        self.durable: list[bool] = []

    def write(self, offset: int, data: Any, fua: bool) -> Any:
        self.durable.append(fua)
        if offset == self.refuses:
            raise NoSpace("full")
        self.bytes[offset : offset + len(data)] = data
        return self._later(None)

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        return [Extent(length, False, False)]

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        return False

    def read(self, offset: int, length: int) -> Any:
        self.reads.append((offset, length))
        if offset <= self.unreadable < offset + length:
            raise Unavailable("lost")
        return self._later(bytes(self.bytes[offset : offset + length]))

    def _later(self, result: Any) -> Any:
        if self.pending is None:
            return result
        answer: Deferred[Any] = Deferred()
        self.pending.append((answer, result))
        return answer

    def answer(self) -> None:
        """Give every answer that is owed."""
        while self.pending:
            answer, result = self.pending.pop(0)
            answer.callback(result)


class Client:
    """One session, and what its client has to send."""

    def __init__(self, disk: Disk, shared: Shared, framing: str = STRUCTURED) -> None:
        self.disk = disk
        self.unsent = bytearray()
        self.replies = bytearray()
        info: Any = disk.info
        terms = Terms(info, framing, (), transmission_flags(info, framing, False))
        export: Any = disk
        self.session = Session(
            terms, export, b"", Limits(), shared, Clock(), lambda: self.session.serve()
        )

    def ask(self, kind: int, offset: int, length: int, cookie: int = 1, flags: int = 0) -> None:
        self.unsent += _REQUEST.pack(0x25609513, flags, kind, cookie, offset, length)

    def write(self, offset: int, data: bytes, cookie: int = 1, flags: int = 0) -> None:
        self.ask(WRITE, offset, len(data), cookie, flags)
        self.unsent += data

    def send(self, most: int = 1 << 60) -> int:
        """As a link does: nothing is received while the session is stalled."""
        sent = 0
        self.session.serve()
        while self.unsent and sent < most and not self.session.stalled:
            space = self.session.inbox.space()
            count = min(len(space), len(self.unsent), most - sent)
            space[:count] = self.unsent[:count]
            del self.unsent[:count]
            self.session.inbox.received(count)
            self.session.serve()
            sent += count
        return sent

    def receive(self) -> None:
        while pieces := self.session.outbox.head():
            self.replies += pieces[0]
            self.session.outbox.taken(len(pieces[0]))
            self.session.serve()

    def cookies(self) -> list[tuple[int, int]]:
        """Error number and cookie of each reply, which must all be simple ones."""
        return [(error, cookie) for _, error, cookie in _REPLY.iter_unpack(self.replies)]


@pytest.fixture
def shared() -> Shared:
    """Memory for eight payloads of 1 MiB."""
    return Shared(clock=lambda: 0.0, payload_memory=PayloadMemory(LIMIT))


def test_writers_hold_no_more_than_the_limit_and_all_finish(shared: Shared) -> None:
    """
    C14: 64 clients send 32 WRITEs of 1 MiB each, in pieces and in any order.
    What is lent never exceeds the limit, whoever has sent half of a payload and
    then sends nothing for long, and every byte lands.
    """
    rng = random.Random(1)
    disks = [Disk(slow=False) for _ in range(4)]
    clients = [Client(disks[n % 4], shared) for n in range(64)]
    memory = shared.payload_memory
    for number, client in enumerate(clients):
        for turn in range(2):
            offset = (number // 4 * 2 + turn) * MIB
            client.write(offset, bytes([number + 64 * turn]) * MIB, cookie=turn)
    highest = 0
    busy = list(clients)
    while busy:
        client = rng.choice(busy)
        client.send(rng.choice([1000, 100_000, 700_000]))
        highest = max(highest, memory.held)
        if not client.unsent:
            client.receive()
            busy.remove(client)
    assert LIMIT // 2 < highest <= LIMIT
    assert memory.held == 0
    for number, client in enumerate(clients):
        assert client.cookies() == [(0, 0), (0, 1)]
        for turn in range(2):
            offset = (number // 4 * 2 + turn) * MIB
            assert client.disk.bytes[offset : offset + MIB] == bytes([number + 64 * turn]) * MIB


@pytest.mark.parametrize("kind", [READ, WRITE])
def test_a_storage_that_hangs_holds_little_and_leaves_the_others_going(
    shared: Shared, kind: int
) -> None:
    """
    C14: many clients of a disk that does not answer reach the limit, and then hold
    little each; a client of another disk writes on, and gets all its answers.
    """
    hung, healthy = Disk(slow=True), Disk(slow=False)
    memory = shared.payload_memory
    stuck = [Client(hung, shared) for _ in range(64)]
    for client in stuck:
        for turn in range(16):
            if kind == WRITE:
                client.write(turn * MIB, bytes(100_000))
            else:
                client.ask(READ, turn * MIB, SMALL_PAYLOAD)
        client.send()
        client.receive()
    assert memory.short
    assert memory.held <= LIMIT + len(stuck) * (FEW_IN_FLIGHT + SMALL_PAYLOAD)
    other = Client(healthy, shared)
    for turn in range(16):
        other.write(turn * 2 * MIB, b"x" * 2 * MIB, cookie=turn)
    other.send()
    other.receive()
    assert other.cookies() == [(0, turn) for turn in range(16)]
    while any(client.unsent for client in stuck) or hung.pending:
        hung.answer()
        for client in stuck:
            client.send()
            client.receive()
    assert memory.held == 0


def test_a_write_in_parts_gets_one_answer(shared: Shared) -> None:
    """
    2.3: when all of it is written, each part of it durably if that was asked for.
    """
    disk = Disk(slow=True)
    client = Client(disk, shared)
    shared.payload_memory.hold(LIMIT)
    client.write(100, b"y" * 150_000, cookie=5, flags=1)
    while client.unsent or disk.pending:
        assert not client.replies
        client.send()
        disk.answer()
        client.receive()
    assert disk.durable == [True] * 3
    assert client.cookies() == [(0, 5)]
    assert disk.bytes[99:150_101] == b"\0" + b"y" * 150_000 + b"\0"
    shared.payload_memory.hold(-LIMIT)
    assert shared.payload_memory.held == 0


def test_a_write_that_fails_in_one_part_fails(shared: Shared) -> None:
    """
    2.3: with that part's error, once; the rest of its payload is no request.
    """
    disk = Disk(slow=False)
    disk.refuses = SMALL_PAYLOAD
    client = Client(disk, shared)
    shared.payload_memory.hold(LIMIT)
    client.write(0, b"y" * 3 * SMALL_PAYLOAD, cookie=5)
    client.write(MIB, b"z" * 10, cookie=6)
    client.send()
    client.receive()
    kind, length = struct.unpack_from(">4xHHQI", client.replies)[1::2]
    assert (kind, struct.unpack_from(">I", client.replies, 20)[0]) == (0x8001, 28)
    assert struct.unpack_from(">Q", client.replies, 8)[0] == 5
    assert _REPLY.unpack(client.replies[20 + length :])[1:] == (0, 6)


@pytest.mark.parametrize("framing", [SIMPLE, STRUCTURED])
def test_readers_of_single_replies_hold_no_more_than_the_limit(
    shared: Shared, framing: str
) -> None:
    """
    C14: 64 clients ask for 6 MiB in one reply each and take nothing of it; what is held
    is bounded, another client gets all that it asks for, and then each of them does.
    """
    disk, memory = Disk(slow=False), shared.payload_memory
    disk.bytes[:] = random.Random(2).randbytes(MIB) * (SIZE // MIB)
    flags, header = (DF, 28) if framing == STRUCTURED else (0, 16)
    stuck = [Client(disk, shared, framing) for _ in range(64)]
    for number, client in enumerate(stuck):
        client.ask(READ, number, 6 * MIB, flags=flags)
        client.ask(READ, 0, 6 * MIB, flags=flags)
        client.send()
    assert LIMIT // 2 < memory.held <= LIMIT + len(stuck) * 2 * READ_CHUNK
    other = Client(disk, shared, framing)
    for _ in range(4):
        other.ask(READ, MIB, 2 * MIB, flags=flags)
    for number, client in [(MIB, other), *enumerate(stuck)]:
        client.send()
        client.receive()
        length = 2 * MIB if client is other else 6 * MIB
        assert client.replies[header : header + length] == disk.bytes[number : number + length]
    assert memory.held == 0


def test_a_read_that_fits_is_one_read(shared: Shared) -> None:
    """One that is longer than all the memory there is fits when it is the only one."""
    disk = Disk(slow=True)
    for length in (2 * MIB, LIMIT + MIB):
        client = Client(disk, shared, SIMPLE)
        client.ask(READ, 0, length)
        client.send()
        assert disk.reads.pop() == (0, length)
        disk.answer()
        client.receive()
        assert client.replies[16:] == bytes(length)


def test_nothing_comes_between_the_pieces_of_a_reply(shared: Shared) -> None:
    """
    2.1: what was asked for before is answered before, and what was asked for behind
    it waits, although all of them take their time.
    """
    disk = Disk(slow=True)
    disk.bytes[:] = random.Random(3).randbytes(MIB) * (SIZE // MIB)
    client = Client(disk, shared, SIMPLE)
    shared.payload_memory.hold(LIMIT)
    client.ask(READ, 7, 100, cookie=1)
    client.ask(READ, 5, 800_000, cookie=2)
    client.write(0, b"z" * 50, cookie=3)
    client.send()
    assert disk.reads == [(7, 100)]
    for _ in range(9):
        disk.answer()
        client.receive()
        client.send()
    assert disk.reads[1] == (5, READ_CHUNK - 5)
    assert all(length <= READ_CHUNK for _, length in disk.reads)
    old = random.Random(3).randbytes(MIB)
    assert client.replies == b"".join(
        [
            _REPLY.pack(0x67446698, 0, 1) + old[7:107],
            _REPLY.pack(0x67446698, 0, 2) + old[5:800_005],
            _REPLY.pack(0x67446698, 0, 3),
        ]
    )


@pytest.mark.parametrize("framing", [SIMPLE, STRUCTURED])
def test_a_read_in_pieces_that_fails_at_once_is_an_error(shared: Shared, framing: str) -> None:
    """2.1: nothing was promised yet, and the connection goes on."""
    disk = Disk(slow=False)
    disk.unreadable = 100
    client = Client(disk, shared, framing)
    shared.payload_memory.hold(LIMIT)
    client.ask(READ, 0, MIB, cookie=4, flags=DF if framing == STRUCTURED else 0)
    client.write(0, b"z", cookie=5)
    client.send()
    client.receive()
    assert client.replies[-16:] == _REPLY.pack(0x67446698, 0, 5)
    if framing == SIMPLE:
        assert client.cookies() == [(5, 4), (0, 5)]
    else:
        assert struct.unpack_from(">HHQ", client.replies, 4) == (1, 0x8001, 4)


def test_a_chunk_that_cannot_be_read_to_its_end_is_filled_and_void(shared: Shared) -> None:
    """C24, C27: all bytes that were announced, then one error; the connection goes on."""
    disk = Disk(slow=False)
    disk.bytes[:] = b"d" * SIZE
    disk.unreadable = 2 * READ_CHUNK
    client = Client(disk, shared)
    shared.payload_memory.hold(LIMIT)
    client.ask(READ, 0, MIB, cookie=4, flags=DF)
    client.write(0, b"z", cookie=5)
    client.send()
    client.receive()
    flags, kind, cookie, length = struct.unpack_from(">HHQI", client.replies, 4)
    assert (flags, kind, cookie, length) == (0, 1, 4, 8 + MIB)
    assert client.replies[28 : 28 + MIB] == b"d" * 2 * READ_CHUNK + bytes(2 * READ_CHUNK)
    assert struct.unpack_from(">HHQ", client.replies, 28 + MIB + 4) == (1, 0x8001, 4)
    assert client.replies[-16:] == _REPLY.pack(0x67446698, 0, 5)


@pytest.mark.parametrize("slow", [False, True])
def test_a_simple_reply_that_cannot_be_finished_ends_the_connection(
    shared: Shared, slow: bool
) -> None:
    """
    2.1: its header said that all is well. Nothing behind it is begun, and nothing that
    is not data is sent as data.
    """
    disk = Disk(slow)
    disk.bytes[:] = b"d" * SIZE
    disk.unreadable = 2 * READ_CHUNK
    client = Client(disk, shared, SIMPLE)
    shared.payload_memory.hold(LIMIT)
    client.ask(READ, 0, MIB, cookie=4)
    client.write(0, b"z", cookie=5)
    with pytest.raises(ProtocolViolation, match="READ of 1048576 bytes at 0 failed"):
        for _ in range(9):
            client.send()
            disk.answer()
            client.receive()
    assert client.replies == _REPLY.pack(0x67446698, 0, 4) + b"d" * 2 * READ_CHUNK
    assert not disk.durable
    client.session.connection_lost()
    assert shared.payload_memory.held == LIMIT


@pytest.mark.parametrize("when", ["waiting", "reading", "untaken"])
def test_a_read_in_pieces_ends_with_its_client(shared: Shared, when: str) -> None:
    """C14: no piece is read for one that left, and nothing stays held."""
    disk = Disk(slow=True)
    client = Client(disk, shared, SIMPLE)
    shared.payload_memory.hold(LIMIT)
    if when == "waiting":
        client.ask(READ, 0, 10)
    client.ask(READ, 0, MIB)
    client.send()
    if when == "untaken":
        disk.answer()
    assert len(disk.reads) == 1
    client.session.connection_lost()
    disk.answer()
    assert len(disk.reads) == 1
    assert shared.payload_memory.held == LIMIT


@pytest.mark.parametrize("when", ["coming", "failed", "in storage", "untaken", "a chunk"])
def test_nothing_stays_held_for_a_client_that_left(shared: Shared, when: str) -> None:
    """C14: however far its request had come."""
    disk = Disk(slow=when in ("in storage", "untaken", "a chunk"))
    client = Client(disk, shared)
    memory = shared.payload_memory
    if when in ("untaken", "a chunk"):
        client.ask(READ, 0, SMALL_PAYLOAD if when == "untaken" else MIB)
    else:
        client.write(0, bytes(MIB))
    if when == "coming":
        del client.unsent[500_000:]
    if when == "failed":
        disk.refuses = 0
    client.send()
    if when == "untaken":
        disk.answer()
    assert (memory.held > 0) is (when != "failed")
    client.session.connection_lost()
    disk.answer()
    assert memory.held == 0
