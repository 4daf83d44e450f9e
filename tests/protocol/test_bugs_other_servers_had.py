"""Each bug that another NBD server had, as a test of its name (section 7 of the checklist)."""

from __future__ import annotations

import struct

import pytest

from gateway.nbd.limits import MAX_STRING
from tests.protocol.exports import SIZE
from tests.protocol.servers import InMemory, Process, fresh
from tests.wire_format import (
    BLOCK_STATUS,
    DF,
    DISC,
    EINVAL,
    EIO,
    ENOSPC,
    EPERM,
    ERROR,
    EXPORT_NAME,
    FLUSH,
    FUA,
    GO,
    INFO,
    INVALID,
    LIST,
    OFFSET_DATA,
    READ,
    REQ_ONE,
    SET_META,
    STARTTLS,
    STRUCTURED_REPLY,
    TOO_BIG,
    TRIM,
    UNKNOWN,
    UNSUP,
    WRITE,
    WRITE_ZEROES,
    EndOfStream,
    compact,
    info_data,
    meta_data,
    option,
)

Server = InMemory | Process
MIB = 1 << 20
BASE = "base:allocation"


def still_serves(server: Server) -> None:
    assert server.client("simple", "disk").read(0, 1) == b"\0"


@pytest.mark.parametrize("number", [0, 4, 12, 99, 0x7654321])
def test_b01_unknown_options_are_drained(server: Server, number: int) -> None:
    """B1: UNSUP after all data; the next option is answered (H10, H11)."""
    client = server.connect().greet()
    assert client.error(number, option(LIST) * 40) == UNSUP
    client.ack(LIST)


@pytest.mark.parametrize("number", [INFO, GO])
def test_b02_name_length_of_4_gib(server: Server, number: int) -> None:
    """B2, CVE-2022-26495: INVALID for INFO and GO, a drop for EXPORT_NAME."""
    client = server.connect().greet()
    assert client.error(number, struct.pack(">IH", 0xFFFFFFFF, 0)) == INVALID
    client.ack(LIST)
    client.connection.send(option(EXPORT_NAME, b"", 0xFFFFFFFF))
    client.expect_end()
    still_serves(server)


@pytest.mark.parametrize("number", [INFO, GO])
@pytest.mark.parametrize("length", [0, 1, 5, 6, 1025, 4096, 70_000])
def test_b03_name_longer_than_the_option(server: Server, number: int, length: int) -> None:
    """B3, CVE-2022-26496: everything is drained, INVALID, the next option works."""
    client = server.connect().greet()
    data = (struct.pack(">I", length) + bytes(length))[:length]
    assert client.error(number, data) == INVALID
    client.ack(LIST)


@pytest.mark.parametrize("length", [256, 257, 1024, 4095, 4096])
def test_b04_long_names_are_just_unknown(server: Server, length: int) -> None:
    """B4, CVE-2017-15118: a name up to the limit is legal."""
    client = server.connect().greet()
    assert client.error(GO, info_data("x" * length)) == UNKNOWN
    assert client.error(GO, info_data("x" * 4097)) == INVALID
    client.ack(LIST)


def test_b05_long_unknown_name_gets_a_short_text(server: Server) -> None:
    """B5, CVE-2020-10761: the error text does not repeat 4096 bytes."""
    client = server.connect().greet()
    ((kind, text),) = client.option(GO, info_data("é" * 2048))
    assert kind == UNKNOWN
    assert len(text) < 300
    client.ack(LIST)


def test_b06_endless_options(server: Server) -> None:
    """B6, CVE-2017-15119: above 32 MiB a drop at once, below it a drain; others are served."""
    client = server.connect().greet()
    client.connection.send(option(99, b"", (32 << 20) + 1))
    client.expect_end()
    client = server.connect().greet()
    assert client.error(LIST, bytes(1 << 20)) == INVALID
    client.agree("structured")
    assert client.error(SET_META, bytes((1 << 20) + 1)) == TOO_BIG
    assert client.error(99, bytes(2 << 20)) == UNSUP
    still_serves(server)


def test_b07_junk_at_every_byte_of_the_handshake(server: Server) -> None:
    """B7, CVE-2017-7539, CVE-2013-7441: only the connection concerned ends."""
    data = struct.pack(">I", 3) + option(LIST) + option(GO, info_data("nothing"))
    for cut in range(0, len(data), 3):
        client = server.connect()
        client.connection.send(data[:cut] + b"\xff" * 99)
        client.connection.close()
    still_serves(server)


def test_b08_clients_that_never_negotiate(sockets: object, memory: InMemory) -> None:
    """B8, CVE-2024-7409: a timeout frees the place; stopping does not hang on them."""
    clients = [memory.connect() for _ in range(100)]
    memory.clock.advance(5)
    gone = memory.factory.shut_down()
    memory.clock.advance(1)
    for client in clients:
        client.rest()
    assert gone.called
    assert memory.clock.getDelayedCalls() == []


def test_b09_connecting_opens_nothing(memory: InMemory) -> None:
    """B9, CVE-2019-14850: a mere connection costs storage nothing."""
    memory.connect().greet()
    assert memory.source.made == {}


def test_b10_info_before_go(server: Server) -> None:
    """B10, CVE-2019-14851: INFO for this and other exports, then GO."""
    client = server.connect().greet()
    for name in ("disk", "read-only", "disk", "disk"):
        client.info(INFO, name)
    client.go("disk").read(0, 1)


def test_b12_contexts_of_another_export(server: Server, chunks: str) -> None:
    """B12: SET(a), SET(b) keeps b only; SET(x), GO(y) keeps nothing."""
    client = server.connect().greet().agree(chunks)
    client.set_contexts("disk", BASE)
    client.set_contexts("disk", "qemu:allocation-depth")
    assert set(client.go("disk").status(0, 512)) == {"qemu:allocation-depth"}
    client = server.connect().greet().agree(chunks)
    client.set_contexts("read-only", BASE)
    assert client.go("disk").call(BLOCK_STATUS, 0, 512).error == EINVAL


def test_b13_block_status_near_4_gib(server: Server, chunks: str) -> None:
    """B13, CVE-2025-47711, CVE-2025-47712: clipped, aligned extents, and no crash."""
    name = fresh("big")
    client = server.connect().greet().agree(chunks)
    client.set_contexts(name, BASE)
    client.go(name)
    for length in (2**32 - 1, 2**32 - 512, 2**31, 2**32 - 65536):
        for flags in (0, REQ_ONE):
            extents = client.status(512, length, flags)[BASE]
            assert extents[0][0] % 512 == 0 or extents[0][0] == length


def test_b15_refused_go_with_an_info_list(server: Server) -> None:
    """B15: the list is consumed with the refusal; the next option works."""
    client = server.connect().greet()
    assert client.error(GO, info_data("nothing", 0, 1, 2, 3)) == UNKNOWN
    assert client.error(GO, info_data("unavailable", 0, 1, 2, 3)) == UNKNOWN
    client.ack(LIST)


@pytest.mark.parametrize("number", [LIST, STARTTLS, STRUCTURED_REPLY])
def test_b16_data_where_none_belongs(server: Server, number: int) -> None:
    """B16: one INVALID, everything drained, the next option works."""
    client = server.connect().greet()
    assert client.error(number, option(LIST)) == INVALID
    client.ack(LIST)


def test_b17_set_meta_context_with_trailing_bytes(server: Server, chunks: str) -> None:
    """B17: INVALID, and LIST behind it is understood."""
    client = server.connect().greet().agree(chunks)
    assert client.error(SET_META, meta_data("disk", BASE) + option(LIST)) == INVALID
    client.ack(LIST)


def test_b18_export_name_padding_is_exact(server: Server) -> None:
    """B18: 134 bytes, and the first reply follows at once."""
    client = server.connect().greet(1).export_name("disk", no_zeroes=False)
    assert client.read(0, 1) == b"\0"


def test_b19_requests_as_long_as_the_buffers(server: Server, framing: str) -> None:
    """B19, CVE-2005-3534, CVE-2011-0530: lengths around every buffer, header included."""
    client = server.client(framing, "big")
    for size in (65536, 262144, 32 << 20):
        for length in (size - 28, size - 16, size - 1, size):
            client.write(1, b"\xa5" * length)
            assert client.read(1, length) == b"\xa5" * length


def test_b20_trim_near_2_64(server: Server, framing: str) -> None:
    """B20: no wrap, EINVAL; on a read-only export EPERM."""
    client = server.client(framing, "disk")
    client.write(0, b"x" * 512)
    for offset, length in [(2**64 - 1, 2), (2**64 - 512, 1024), (2**63, 2**31)]:
        assert client.call(TRIM, offset, length).error == EINVAL
    assert client.read(0, 512) == b"x" * 512
    assert server.client(framing, "read-only").call(TRIM, 2**64 - 1, 2).error == EPERM


def test_b21_write_of_4_gib(server: Server) -> None:
    """B21: dropped, nothing allocated."""
    client = server.client("simple", "big")
    client.connection.send(compact(WRITE, 0, 0xFFFFFFFF))
    client.expect_end()
    still_serves(server)


def test_b25_structured_errors(server: Server, chunks: str) -> None:
    """B25: bad ranges get chunks, big-endian fields, no NUL; DF reads carry their data."""
    client = server.client(chunks, "disk")
    answer = client.call(READ, SIZE, 512)
    assert (answer.error, answer.kinds) == (EINVAL, [ERROR])
    client.write(0, b"x" * 70_000)
    answer = client.call(READ, 0, 70_000, DF)
    assert (bytes(answer.data), answer.kinds) == (b"x" * 70_000, [OFFSET_DATA])


def test_b26_fua_on_every_command(server: Server, framing: str) -> None:
    """B26: FUA is let pass on commands to which it means nothing."""
    client = server.client(framing, "disk")
    client.done(FLUSH, flags=FUA)
    for command in (READ, TRIM, WRITE_ZEROES, 5):
        client.done(command, 0, 512, FUA)


def test_b27_odd_goodbyes(server: Server) -> None:
    """B27: DISC with flags is DISC, ABORT is ACKed, unknown client flags are not accepted."""
    client = server.client("simple", "disk")
    client.connection.send(compact(DISC, 1, 1, 0xFFFF))
    client.expect_end()
    client = server.connect().greet()
    client.ack(2)
    client.expect_end()
    server.connect().greet(0x13).expect_end()


def test_b28_errors_tell_what_is_wrong(server: Server, framing: str) -> None:
    """B28: EPERM for read-only, ENOSPC past the end, not EINVAL for all."""
    client = server.client(framing, "read-only")
    assert client.call(WRITE, 0, data=b"x").error == EPERM
    client = server.client(framing, "disk")
    assert client.call(WRITE, SIZE, data=b"x").error == ENOSPC
    assert client.call(WRITE_ZEROES, SIZE - 1, 2).error == ENOSPC


def test_b29_writes_of_nothing_and_reads_of_too_much(server: Server, framing: str) -> None:
    """B29: WRITE of length 0 succeeds; READ above the limit is not ENOMEM."""
    client = server.client(framing, "big")
    assert client.call(WRITE, 0, data=b"").error == 0
    assert client.call(READ, 0, (32 << 20) + 512).error in (EINVAL, 75)


def test_b30_short_reads_leak_nothing(server: Server, framing: str) -> None:
    """B30: a short read of storage is EIO; no stale byte is sent."""
    client = server.client(framing, "short")
    for length in (1, 512, 65536, 65537, MIB):
        answer = client.call(READ, 0, length)
        assert answer.error == EIO
        assert not answer.data


@pytest.mark.parametrize("length", [512, 70_000, MIB])
@pytest.mark.parametrize("kind", ["disk", "later"])
def test_b31_client_queues_reads_and_vanishes(
    server: Server, framing: str, kind: str, length: int
) -> None:
    """B31: with READs of every kind in flight; the server lives and serves others."""
    name = fresh(kind)
    other = server.client(framing, name)
    other.write(0, b"x" * 2 * MIB)
    for reads in (1, 40, 200):
        client = server.client(framing, name)
        for number in range(reads):
            if number % 50 == 0 and server.link == "socket" and number:
                break  # the pipe holds no more while nobody reads
            client.submit(READ, number, length)
        client.connection.close()
        if isinstance(server, InMemory):
            for _ in range(40):
                server.clock.advance(0.1)
        assert other.read(0, MIB) == b"x" * MIB


def test_b32_block_status_without_req_one(server: Server, chunks: str) -> None:
    """B32: several extents in one chunk per context, well-formed."""
    name = fresh("disk")
    client = server.connect().greet().agree(chunks)
    client.set_contexts(name, BASE, "qemu:allocation-depth")
    client.go(name)
    for number in range(0, 64, 2):
        client.write(number * 65536, b"x" * 65536)
    assert len(client.status(0, 64 * 65536)[BASE]) == 64


@pytest.mark.parametrize("kind", ["disk", "later"])
def test_b33_neighbours_in_one_block(server: Server, framing: str, kind: str) -> None:
    """B33: writes in flight together, in the same block but apart, are both there."""
    client = server.client(framing, kind)
    for turn in range(8):
        base = turn * 65536
        client.submit(WRITE, base + 100, data=b"b" * 300)
        client.submit(WRITE, base, data=b"a" * 100)
        client.submit(WRITE, base + 400, data=b"c" * 112)
    while client.pending:
        assert client.answer().error == 0
    for turn in range(8):
        assert client.read(turn * 65536, 512) == b"a" * 100 + b"b" * 300 + b"c" * 112


@pytest.mark.parametrize("name", [b"disk\0x", b"\xff\xfe", b"disk\xc3", b"\0"])
@pytest.mark.parametrize("number", [INFO, GO])
def test_b37_b38_names_that_are_no_names(server: Server, number: int, name: bytes) -> None:
    """B37, B38: NUL and bad UTF-8 are INVALID; nothing is cut off, nothing crashes."""
    client = server.connect().greet()
    assert client.error(number, info_data(name)) == INVALID
    client.ack(LIST)


@pytest.mark.parametrize("name", ["../disk", "/disk", "disk/..", "disk ", "DISK"])
def test_b37_names_are_compared_exactly(server: Server, name: str) -> None:
    """B37: a name is no path."""
    assert server.connect().greet().error(GO, info_data(name)) == UNKNOWN


def test_b38_payload_in_tiny_segments(memory: InMemory) -> None:
    """B38: 2 MiB in segments of 100 bytes: the work grows with the bytes, not with their square."""
    client = memory.connect().greet().agree("structured").go("disk")
    client.connection._segment = 100
    client.write(0, b"s" * (2 << 20))
    assert client.read(0, 2 << 20) == b"s" * (2 << 20)


def test_b38_numbers_at_the_edge_of_64_bits(server: Server) -> None:
    """B38: 2^64 - 1 in every field of an extended request is just a bad request."""
    top = 2**64 - 1
    client = server.client("extended", "huge")
    for command in (READ, TRIM, WRITE_ZEROES, 5, BLOCK_STATUS, FLUSH, 99):
        answer = client.call(command, top, top, cookie=top)
        assert answer.error in (EINVAL, ENOSPC)
    assert MAX_STRING == 4096


# Bugs this server had.


@pytest.mark.parametrize("kind", ["later", "fired", "disk"])
@pytest.mark.parametrize("length", [512, 70_000])
def test_more_requests_than_may_be_in_flight(
    server: Server, framing: str, kind: str, length: int
) -> None:
    """
    C14, 0 (MAX_INFLIGHT): hundreds at once are served in turn, with no turn inside a turn.
    """
    client = server.client(framing, kind)
    requests = [client.remember(READ, 0, length) for _ in range(1000)]
    if framing == "extended":
        header = struct.Struct(">IHHQQQ")
        magic = 0x21E41C71
    else:
        header = struct.Struct(">IHHQQI")
        magic = 0x25609513
    raw = [header.pack(magic, 0, READ, request.cookie, 0, length) for request in requests]
    client.connection.send(b"".join(raw))
    assert [client.answer().error for _ in requests] == [0] * 1000


def test_refused_writes_cannot_smuggle_requests(server: Server, framing: str) -> None:
    """
    C12: data of a refused WRITE that looks like a WRITE to a good place.
    """
    client = server.client(framing, "disk")
    trap = compact(WRITE, 0, 512, data=b"!" * 512) * 200
    assert client.call(WRITE, SIZE, data=trap).error == ENOSPC
    assert client.read(0, 512) == bytes(512)


def test_end_of_stream_is_seen_as_such(server: Server) -> None:
    """
    H8: our own client notices a server that closes in mid-reply.
    """
    client = server.client("simple", "disk")
    client.connection.send(compact(DISC))
    with pytest.raises(EndOfStream):
        client.answer()
