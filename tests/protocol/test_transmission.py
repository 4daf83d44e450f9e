"""Commands and replies of a whole server (C rows and the table of 2.3)."""

from __future__ import annotations

import random
import struct

import pytest

from gateway.errors import Unavailable
from tests.protocol.exports import SIZE
from tests.protocol.in_memory import MemoryConnection
from tests.protocol.servers import InMemory, Process, fresh
from tests.wire_format import (
    BLOCK_STATUS,
    CACHE,
    DF,
    DISC,
    EINVAL,
    EIO,
    ENOSPC,
    EOVERFLOW,
    EPERM,
    ERROR,
    EXTENDED_MAGIC,
    FAST_ZERO,
    FLUSH,
    FUA,
    NO_HOLE,
    NONE,
    OFFSET_DATA,
    OFFSET_HOLE,
    PAYLOAD_LEN,
    READ,
    RESIZE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    compact,
    extended,
)

Server = InMemory | Process
MIB = 1 << 20
SIMPLE_COMMANDS = [WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES]


@pytest.mark.parametrize("kind", ["disk", "later", "fired"])
def test_every_command_succeeds(server: Server, framing: str, kind: str) -> None:
    """
    C2, C5, C21, C28, C30-C33: each command, answered now, later and by fired Deferreds.
    """
    client = server.client(framing, kind)
    data = random.Random(1).randbytes(100_000)
    client.write(1000, data)
    assert client.read(500, 101_000) == bytes(500) + data + bytes(500)
    client.done(FLUSH)
    client.done(CACHE, 0, SIZE)
    client.done(TRIM, 0, 4096, FUA)
    client.done(WRITE_ZEROES, 1001, 5, FUA | NO_HOLE)
    client.write(1002, b"x", FUA)
    expected = bytearray(bytes(1000) + data)
    expected[:4096] = bytes(4096)
    expected[1002] = ord("x")
    assert client.read(0, 101_000) == expected
    client.disconnect()


@pytest.mark.parametrize("cookie", [0, 1, 2**63, 2**64 - 1, 0x0102030405060708])
def test_cookies_come_back(server: Server, framing: str, cookie: int) -> None:
    """
    C4: all 8 bytes, any value, for every command and for errors.
    """
    client = server.client(framing, "disk")
    for command in (READ, FLUSH, TRIM, RESIZE):
        answer = client.call(command, 0, 0 if command == FLUSH else 512, cookie=cookie)
        assert answer.error == (EINVAL if command == RESIZE else 0)


def test_equal_cookies_in_flight(server: Server, framing: str) -> None:
    """
    C4: duplicates are the client's own business; each gets an answer.
    """
    client = server.client(framing, "later")
    for _ in range(5):
        client.submit(FLUSH, cookie=7)
    assert [client.answer().error for _ in range(5)] == [0] * 5


@pytest.mark.parametrize("kind", ["disk", "later"])
def test_reads_of_every_size(server: Server, framing: str, kind: str) -> None:
    """
    C20, C21, C27: up to the maximum, with and without DF.
    """
    client = server.client(framing, kind)
    data = random.Random(2).randbytes(SIZE)
    client.write(0, data)
    flags = [0] if framing == "simple" else [0, DF]
    for length in (1, 511, 4096, 65535, 65536, 65537, 262144, 262145, MIB + 1, SIZE - 3):
        for flag in flags:
            assert client.read(3, length, flag) == data[3 : 3 + length]


def test_sparse_reads(server: Server, chunks: str) -> None:
    """
    C25, C27: holes are named without DF; with DF there is one chunk, zeroes and all.
    """
    client = server.client(chunks, "disk")
    client.write(MIB, b"x" * 65536)
    answer = client.call(READ, 0, 2 * MIB)
    assert answer.kinds == [OFFSET_HOLE, OFFSET_DATA, OFFSET_HOLE]
    whole = client.call(READ, 0, 2 * MIB, DF)
    assert [kind for kind in whole.kinds if kind != NONE] == [OFFSET_DATA]
    assert answer.data == whole.data == bytes(MIB) + b"x" * 65536 + bytes(MIB - 65536)


def test_the_largest_payload_both_ways(server: Server, framing: str) -> None:
    """
    0 (MAX_PAYLOAD), C11, C26, E7: 32 MiB is served, a byte more is refused.
    """
    client = server.client(framing, "big")
    data = random.Random(3).randbytes(MIB) * 32
    client.write(12345, data)
    assert client.read(12345, 32 * MIB) == data
    expected = EOVERFLOW if framing == "extended" else EINVAL
    assert client.call(READ, 0, 32 * MIB + 1).error == expected
    assert client.read(12345, 9) == data[:9]


@pytest.mark.parametrize("length", [32 * MIB + 1, 64 * MIB])
def test_write_above_the_maximum_is_drained(server: Server, length: int) -> None:
    """
    0 (WRITE_DRAIN_MAX), C10, C12, 2.3 step 12: up to 64 MiB are read past and answered EINVAL.
    """
    client = server.client("simple", "big")
    assert client.call(WRITE, 0, data=bytes(length)).error == EINVAL
    assert client.read(0, 512) == bytes(512)


def test_write_above_the_drain_limit_drops(server: Server) -> None:
    """
    0 (WRITE_DRAIN_MAX), B21: more is not read.
    """
    client = server.client("simple", "big")
    client.connection.send(compact(WRITE, 0, 64 * MIB + 1))
    client.expect_end()


@pytest.mark.parametrize("command", SIMPLE_COMMANDS + [READ])
def test_requests_for_nothing(server: Server, framing: str, command: int) -> None:
    """
    2.3 step 14, B29: success; a READ of nothing is a bare header, or NONE with DONE.
    """
    client = server.client(framing, "disk")
    answer = client.call(command, 0, 0, data=b"" if command == WRITE else None)
    assert answer.error == 0
    if framing == "extended" or (framing == "structured" and command == READ):
        assert answer.chunks == [(NONE, 1, b"")]


TABLE = [
    ("read-only", WRITE, 0, 512, 0, EPERM),
    ("read-only", TRIM, 0, 512, 0, EPERM),
    ("read-only", WRITE_ZEROES, 0, 512, FAST_ZERO, EPERM),
    ("read-only", TRIM, 2**64 - 1, 512, 0, EPERM),
    ("read-only", READ, 0, 512, 0, 0),
    ("disk", READ, SIZE, 1, 0, EINVAL),
    ("disk", READ, 2**64 - 1, 2, 0, EINVAL),
    ("disk", WRITE, SIZE - 1, 2, 0, ENOSPC),
    ("disk", WRITE_ZEROES, SIZE - 1, 2, 0, ENOSPC),
    ("disk", TRIM, 2**64 - 512, 512, 0, EINVAL),
    ("disk", CACHE, SIZE, 1, 0, EINVAL),
    ("disk", FLUSH, 0, 1, 0, EINVAL),
    ("disk", FLUSH, 1, 0, 0, EINVAL),
    ("disk", FLUSH, 0, 0, FUA, 0),
    ("disk", READ, 0, 512, FUA, 0),
    ("disk", READ, 0, 512, FAST_ZERO, EINVAL),
    ("disk", WRITE, 0, 512, NO_HOLE, EINVAL),
    ("disk", WRITE, 0, 512, 0x8000, EINVAL),
    ("disk", CACHE, 0, 512, 0x40, EINVAL),
    ("disk", BLOCK_STATUS, 0, 512, 0, EINVAL),
    ("disk", RESIZE, 512, 0, 0, EINVAL),
    ("disk", 9, 0, 0, 0, EINVAL),
    ("disk", 65535, 0, 512, 0, EINVAL),
    ("aligned", READ, 512, 4096, 0, EINVAL),
    ("aligned", WRITE, 0, 512, 0, EINVAL),
    ("aligned", READ, 4096, 8192, 0, 0),
    ("no-cache", CACHE, 0, 512, 0, EINVAL),
    ("bare", FLUSH, 0, 0, 0, EINVAL),
    ("bare", TRIM, 0, 512, 0, EINVAL),
    ("bare", WRITE, 0, 512, FUA, EINVAL),
    ("bare", WRITE_ZEROES, 0, 512, FAST_ZERO, EINVAL),
    ("bare", WRITE_ZEROES, 0, 512, NO_HOLE, 0),
    ("empty", READ, 0, 0, 0, 0),
    ("empty", READ, 0, 1, 0, EINVAL),
    ("empty", WRITE, 0, 1, 0, ENOSPC),
    ("odd", READ, 0, 1000, 0, 0),
    ("odd", READ, 999, 2, 0, EINVAL),
    ("broken", READ, 0, 512, 0, EIO),
    ("broken", WRITE, 0, 512, 0, EIO),
    ("broken", FLUSH, 0, 0, 0, EIO),
    ("broken", TRIM, 0, 512, 0, EIO),
    ("broken", WRITE_ZEROES, 0, 512, 0, EIO),
    ("short", READ, 0, 512, 0, EIO),
    ("short", READ, 0, 100_000, 0, EIO),
    ("full", WRITE, 0, 65536 * 3, 0, ENOSPC),
    ("full", WRITE_ZEROES, 0, 65536 * 3, NO_HOLE, ENOSPC),
]


@pytest.mark.parametrize(
    ("kind", "command", "offset", "length", "flags", "error"),
    TABLE,
    ids=[
        f"{kind}-{command}-{offset}-{length}-{flags}"
        for kind, command, offset, length, flags, _ in TABLE
    ],
)
def test_refusals(
    server: Server,
    framing: str,
    kind: str,
    command: int,
    offset: int,
    length: int,
    flags: int,
    error: int,
) -> None:
    """
    C2, C3, C12, C13, C35, 2.3, B19, B20, B28, B30: the error, and the next request is served.
    """
    client = server.client(framing, kind)
    trap = (compact(WRITE_ZEROES, 0, 512) * (length // 28 + 1))[:length]
    data = trap if command == WRITE else None
    answer = client.call(command, offset, length, flags, data)
    assert answer.error == error
    if error and framing != "simple":
        assert answer.kinds == [ERROR]
        assert answer.text
    assert client.call(READ, 0, 0).error == 0
    client.disconnect()


def test_fault_of_an_export_is_an_io_error_and_in_the_log(server: Server, framing: str) -> None:
    """
    C9: an exception nobody declared costs one request EIO, and leaves a traceback.
    """
    client = server.client(framing, "buggy")
    other = server.client(framing, "disk")
    for command in (READ, WRITE, FLUSH, TRIM, WRITE_ZEROES):
        length = 0 if command == FLUSH else 512
        answer = client.call(command, 0, length, data=bytes(512) if command == WRITE else None)
        assert answer.error == EIO
        assert other.read(0, 1) == b"\0"
    assert server.take_failures().count("ZeroDivisionError") >= 5


def test_failure_in_the_middle_of_a_read(server: Server, chunks: str) -> None:
    """
    C22, C23, C24: whole chunks, then one ERROR with DONE; the client goes on.
    """
    client = server.client(chunks, "torn")
    client.write(0, b"x" * 2 * MIB)
    answer = client.call(READ, 0, 2 * MIB)
    assert answer.error == EIO
    assert answer.kinds == [OFFSET_DATA] * 4 + [ERROR]
    assert client.read(0, MIB) == b"x" * MIB


def test_failure_in_the_middle_of_a_simple_read(server: Server) -> None:
    """
    C20: nothing of a simple reply is sent before all data is there.
    """
    client = server.client("simple", "torn")
    client.write(0, b"x" * 2 * MIB)
    assert client.call(READ, 0, 2 * MIB).error == EIO
    assert client.read(0, MIB) == b"x" * MIB


@pytest.mark.parametrize("magic", [EXTENDED_MAGIC, 0x12560953, 0x25609514, 0x96744668, 0])
def test_wrong_request_magic_drops(server: Server, framing: str, magic: int) -> None:
    """
    C1: no reply, whichever other magic it is.
    """
    client = server.client(framing, "disk")
    if framing == "extended" and magic == EXTENDED_MAGIC:
        magic = 0x25609513
    client.connection.send(struct.pack(">I", magic) + bytes(28))
    client.expect_end()


@pytest.mark.parametrize("flags", [0, 1, 0xFFFF])
def test_disconnect_with_anything_in_it(server: Server, framing: str, flags: int) -> None:
    """
    C29, B27: DISC is DISC whatever its flags, offset and length; what follows is ignored.
    """
    client = server.client(framing, "disk")
    pack = extended if framing == "extended" else compact
    client.connection.send(pack(DISC, 5, 77, flags) + pack(FLUSH) + b"noise")
    client.expect_end()


def test_disconnect_waits_for_answers(server: Server, framing: str) -> None:
    """
    C29, D7: requests before DISC are answered before the connection is closed.
    """
    client = server.client(framing, "later")
    for number in range(20):
        client.submit(WRITE, number * 512, data=bytes([number]) * 512)
    pack = extended if framing == "extended" else compact
    client.connection.send(pack(DISC))
    assert [client.answer().error for _ in range(20)] == [0] * 20
    client.expect_end()


@pytest.mark.parametrize("cut", [1, 27, 28, 29, 5000, 100_027])
def test_write_cut_off_is_not_applied(server: Server, cut: int) -> None:
    """
    C7, D7: nothing of a WRITE whose payload is incomplete is stored.
    """
    name = fresh("disk")
    client = server.client("simple", name)
    client.write(0, b"old" * 1000)
    client.connection.send(compact(WRITE, 0, 100_000, data=b"n" * 100_000)[:cut])
    client.connection.close()
    other = server.client("simple", name)
    assert other.read(0, 3000) == b"old" * 1000


def test_requests_one_byte_at_a_time(server: Server, framing: str) -> None:
    """
    C12, B38: a WRITE in segments of one byte is the same WRITE.
    """
    client = server.client(framing, "disk")
    if isinstance(client.connection, MemoryConnection):
        client.connection._segment = 1
        client.write(7, b"0123456789" * 8000)
        assert client.read(7, 80_000) == b"0123456789" * 8000
        return
    request = client.remember(WRITE, 7, 300)
    pack, flag = (extended, PAYLOAD_LEN) if framing == "extended" else (compact, 0)
    raw = pack(WRITE, 7, 300, flag, request.cookie, b"0123456789" * 30)
    for position in range(len(raw)):
        client.connection.send(raw[position : position + 1])
    assert client.answer().error == 0
    assert client.read(7, 300) == b"0123456789" * 30


def test_answers_come_in_order_of_completion(memory: InMemory, framing: str) -> None:
    """
    C6, D4, D6: a slow request holds nobody up.
    """
    from twisted.internet.defer import Deferred

    from backends.memory import MemoryExport

    held: Deferred[None] = Deferred()

    class Slow(MemoryExport):
        def flush(self) -> Deferred[None]:  # type: ignore[override]
            return held

    memory.source.add("slow", Slow(SIZE))
    client = memory.client(framing, None).go("slow")
    flush = client.submit(FLUSH)
    reads = [client.submit(READ, 0, 512) for _ in range(10)]
    assert [client.answer().request for _ in range(10)] == reads
    held.callback(None)
    assert client.answer().request is flush


def test_failures_that_come_later(memory: InMemory, framing: str) -> None:
    """
    C9, 2.3: an errback answers like an exception.
    """
    from twisted.internet.defer import fail

    from backends.memory import MemoryExport

    class Failing(MemoryExport):
        def flush(self):  # type: ignore[no-untyped-def]
            return fail(Unavailable("the disk is gone"))

    memory.source.add("failing", Failing(SIZE))
    client = memory.client(framing, None).go("failing")
    answer = client.call(FLUSH)
    assert answer.error == EIO
    assert answer.text == (None if framing == "simple" else "the disk is gone")


def test_shutdown_leaves_requests_open(memory: InMemory, framing: str) -> None:
    """
    D9, 2.3 step 4: what was begun finishes, what comes later is neither begun nor answered, so
    that a client that reconnects asks again; DISC ends in order.
    """
    client = memory.client(framing, "later")
    begun = client.submit(WRITE, 0, data=b"x" * 512)
    gone = memory.factory.shut_down()
    assert not gone.called
    client.submit(READ, 0, 512)
    client.submit(WRITE, 0, data=b"y" * 70_000)
    client.submit(99)
    answer = client.answer()
    assert (answer.request, answer.error) == (begun, 0)
    client.disconnect()
    assert gone.called


def test_shutdown_closes_on_who_asks_on(memory: InMemory, framing: str) -> None:
    """D9: a client that is left without an answer learns of it by the end of its connection."""
    client = memory.client(framing, "disk")
    gone = memory.factory.shut_down()
    client.submit(READ, 0, 512)
    client.submit(WRITE, 0, data=b"y" * 512)
    memory.clock.advance(1)
    client.expect_end()
    assert gone.called
    assert memory.clock.getDelayedCalls() == []
