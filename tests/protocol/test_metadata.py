"""Metadata contexts and block status (M rows), and what only extended headers have (E rows)."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from backends.memory import MemoryExport
from gateway.info import Extent
from tests.protocol.exports import BIG, HUGE, SIZE
from tests.protocol.servers import InMemory, Process, fresh
from tests.wire import Client
from tests.wire_format import (
    BLOCK_STATUS,
    CACHE,
    EINVAL,
    EIO,
    EOVERFLOW,
    FLUSH,
    GO,
    INFO,
    INVALID,
    LIST,
    LIST_META,
    NO_HOLE,
    PAYLOAD_LEN,
    READ,
    REQ_ONE,
    SET_META,
    TOO_BIG,
    TRIM,
    UNKNOWN,
    WRITE,
    WRITE_ZEROES,
    extended,
    info_data,
    meta_data,
)

Server = InMemory | Process
BASE, DEPTH = "base:allocation", "qemu:allocation-depth"
MIB = 1 << 20


def mapped(server: Server, framing: str, kind: str, *contexts: str) -> Client:
    """A client in transmission that has selected contexts."""
    name = fresh(kind)
    client = server.connect().greet().agree(framing)
    client.set_contexts(name, *(contexts or (BASE,)))
    return client.go(name)


@pytest.mark.parametrize(
    ("queries", "found"),
    [
        ([], [BASE, DEPTH]),
        (["base:"], [BASE]),
        (["qemu:"], [DEPTH]),
        (["base:", "qemu:", "base:"], [BASE, DEPTH]),
        ([BASE], [BASE]),
        (["", "base", "base:unknown", "x-a:b", "qemu:dirty-bitmap:"], []),
    ],
)
def test_list_meta_context(
    server: Server, framing: str, queries: list[str], found: list[str]
) -> None:
    """
    M3, M5, M6, M22, M24, M25: answered before any negotiation too; the ids are 0.
    """
    client = server.connect().greet().agree(framing)
    replies = client.ack(LIST_META, meta_data("disk", *queries))
    assert replies == [bytes(4) + name.encode() for name in found]


def test_listing_contexts_leaves_the_selection_alone(server: Server, chunks: str) -> None:
    """
    M5: LIST_META between SET_META and GO changes nothing.
    """
    client = server.connect().greet().agree(chunks)
    client.set_contexts("disk", BASE)
    client.ack(LIST_META, meta_data("disk", DEPTH))
    assert set(client.go("disk").status(0, 512)) == {BASE}


def test_selected_contexts_have_unique_ids(server: Server, chunks: str) -> None:
    """
    M6, M7, M10: each context once, wildcards select nothing; one chunk per context.
    """
    client = server.connect().greet().agree(chunks)
    chosen = client.set_contexts("disk", DEPTH, BASE, BASE, "base:", "qemu:", "", "nonsense:x")
    assert sorted(chosen.values()) == [BASE, DEPTH]
    assert 0 not in chosen
    assert set(client.go("disk").status(0, 512)) == {BASE, DEPTH}


def test_set_meta_context_needs_chunks(server: Server) -> None:
    """
    M3: before structured replies or extended headers it is out of order.
    """
    client = server.connect().greet()
    assert client.error(SET_META, meta_data("disk", BASE)) == INVALID
    assert client.go(fresh("disk")).call(BLOCK_STATUS, 0, 512).error == EINVAL


@pytest.mark.parametrize("number", [LIST_META, SET_META])
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (meta_data("nothing", BASE), UNKNOWN),
        (meta_data("unavailable", BASE), UNKNOWN),
        (meta_data("disk", BASE) + b"\0", INVALID),
        (meta_data("disk", BASE)[:-1], INVALID),
        (meta_data("disk", "x" * 4097), INVALID),
        (struct.pack(">II", 0, 0xFFFFFFFF), INVALID),
        (b"", INVALID),
        (meta_data("disk", *["q:"] * 1025), TOO_BIG),
    ],
)
def test_context_option_that_fails(
    server: Server, chunks: str, number: int, data: bytes, error: int
) -> None:
    """
    M1, M2, M9, H11, B17: refused, drained, and the next option is answered.
    """
    client = server.connect().greet().agree(chunks)
    assert client.error(number, data) == error
    assert client.error(number, data) == error
    client.ack(LIST)


@pytest.mark.parametrize(
    "last",
    [
        meta_data("disk"),
        meta_data("disk", "base:unknown"),
        meta_data("nothing", BASE),
        meta_data("disk", BASE) + b"trailing",
        b"",
        meta_data("disk", *["q:"] * 1025),
        meta_data("read-only", BASE),
    ],
)
def test_every_set_replaces_the_selection(server: Server, chunks: str, last: bytes) -> None:
    """
    M4, M8, M16, B12: also one that fails, selects nothing, or names another export.
    """
    client = server.connect().greet().agree(chunks)
    client.set_contexts("disk", BASE)
    client.option(SET_META, last)
    client.go("disk")
    assert client.call(BLOCK_STATUS, 0, 512).error == EINVAL
    assert client.read(0, 1) == b"\0"


def test_selection_for_another_export_is_not_used(server: Server, chunks: str) -> None:
    """
    M8, B12: SET(x), then GO(y); but the default's name and no name are the same export.
    """
    client = server.connect().greet().agree(chunks)
    client.set_contexts("read-only", BASE)
    assert client.go("disk").call(BLOCK_STATUS, 0, 512).error == EINVAL
    client = server.connect().greet().agree(chunks)
    client.set_contexts("", BASE)
    assert client.go("disk").status(0, 512)


def test_status_of_an_empty_disk(server: Server, chunks: str) -> None:
    """
    M11, M17, M23: one hole up to what was asked; depth 0.
    """
    client = mapped(server, chunks, "disk", BASE, DEPTH)
    assert client.status(0, SIZE) == {BASE: [(SIZE, 3)], DEPTH: [(SIZE, 0)]}


@pytest.mark.parametrize("kind", ["disk", "later", "fired"])
def test_status_after_each_command(server: Server, chunks: str, kind: str) -> None:
    """
    M14, M17, M18, M20, M21: data 0, provisioned zeroes 2, holes 3; neighbours merged.
    """
    client = mapped(server, chunks, kind, BASE, DEPTH)
    client.write(0, b"x" * 3 * MIB)
    client.done(WRITE_ZEROES, MIB, MIB, NO_HOLE)
    client.done(TRIM, 2 * MIB, MIB // 2)
    client.done(WRITE_ZEROES, 2 * MIB + MIB // 2, MIB // 2)
    found = client.status(0, SIZE)
    assert found[BASE] == [(MIB, 0), (MIB, 2), (SIZE - 2 * MIB, 3)]
    assert found[DEPTH] == [(2 * MIB, 1), (SIZE - 2 * MIB, 0)]
    assert client.read(MIB, SIZE - MIB) == bytes(SIZE - MIB)


def test_status_of_one_extent(server: Server, chunks: str) -> None:
    """
    M12, B32: REQ_ONE gives one extent within the range; without it there are all.
    """
    client = mapped(server, chunks, "disk", BASE, DEPTH)
    client.write(MIB, b"x" * MIB)
    assert client.status(0, SIZE, REQ_ONE) == {BASE: [(MIB, 3)], DEPTH: [(MIB, 0)]}
    assert client.status(MIB + 512, 512, REQ_ONE) == {BASE: [(512, 0)], DEPTH: [(512, 1)]}
    assert len(client.status(0, SIZE)[BASE]) == 3


def test_status_from_any_byte(server: Server, chunks: str) -> None:
    """
    M11, M15: any offset and length where the minimum block is 1, up to the very end.
    """
    client = mapped(server, chunks, "disk")
    client.write(1000, b"x")
    for offset, length in [(0, 1), (1000, 1), (999, 3), (SIZE - 1, 1), (1, SIZE - 1)]:
        assert sum(run for run, _ in client.status(offset, length)[BASE]) >= 1
    assert client.status(SIZE - 7, 7)[BASE] == [(7, 3)]


def test_status_of_a_large_disk_in_32_bits(server: Server) -> None:
    """
    M15, B13: what qemu and libnbd ask; extents are clipped, aligned, and make progress.
    """
    client = mapped(server, "structured", "big")
    for offset, length in [(0, 2**31 - 1), (2**31 - 1, 2**31), (0, 2**32 - 1), (BIG - 512, 512)]:
        ((run, word), *_) = client.status(offset, length)[BASE]
        assert word == 3
        assert run >= min(length, 2**32 - 65536)


def test_status_of_a_huge_disk_in_64_bits(server: Server) -> None:
    """
    E1, E5, M11: one extent of the whole export.
    """
    client = mapped(server, "extended", "huge", BASE, DEPTH)
    assert client.status(0, HUGE) == {BASE: [(HUGE, 3)], DEPTH: [(HUGE, 0)]}


@pytest.mark.parametrize(("offset", "length"), [(SIZE, 1), (0, SIZE + 1), (0, 0), (2**63, 512)])
def test_status_beyond_the_end(server: Server, chunks: str, offset: int, length: int) -> None:
    """
    M16, 2.3 steps 10 and 14.
    """
    client = mapped(server, chunks, "disk")
    assert client.call(BLOCK_STATUS, offset, length).error == EINVAL


def test_status_that_storage_cannot_tell(server: Server, chunks: str) -> None:
    """
    M16: an error chunk, nothing made up.
    """
    client = mapped(server, chunks, "broken")
    assert client.call(BLOCK_STATUS, 0, 512).error == EIO
    assert client.call(FLUSH).error == EIO


def test_many_extents(memory: InMemory, chunks: str) -> None:
    """
    0 (EXTENT_CAP), M13: a fragmented disk is told in parts, each of which makes progress.
    """
    export = MemoryExport(SIZE)
    for offset in range(0, SIZE, 1024):
        export.write(offset, b"x" * 512, False)
    memory.source.add("fragmented", export)
    client = memory.connect().greet().agree(chunks)
    client.set_contexts("fragmented", BASE)
    client.go("fragmented")
    position, words = 0, []
    while position < SIZE:
        got = client.status(position, SIZE - position)[BASE]
        assert len(got) <= 1 << 20
        position += sum(run for run, _ in got)
        words += [word for run, word in got for _ in range(run // 512)]
    assert words == [0, 3] * (SIZE // 1024)


def test_hole_without_zero_is_never_said(memory: InMemory, chunks: str) -> None:
    """
    M18: storage that says so is not believed: 0 is always safe.
    """

    class Odd(MemoryExport):
        def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
            return [Extent(length, hole=True, zero=False)]

    memory.source.add("odd-holes", Odd(SIZE))
    client = memory.connect().greet().agree(chunks)
    client.set_contexts("odd-holes", BASE)
    assert client.go("odd-holes").status(0, 512)[BASE] == [(512, 0)]


def test_overwriting_provisioned_zeroes_finds_space(server: Server, chunks: str) -> None:
    """
    M19, C33: after NO_HOLE no write in the range fails for lack of space.
    """
    client = mapped(server, chunks, "full")
    client.done(WRITE_ZEROES, 0, 2 * 65536, NO_HOLE)
    assert client.status(0, 2 * 65536)[BASE] == [(2 * 65536, 2)]
    assert client.call(WRITE, 4 * 65536, data=b"x").error == 28
    client.write(0, b"x" * 2 * 65536)


# Extended headers.


@pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES, CACHE])
def test_whole_of_a_huge_export_in_one_request(server: Server, command: int) -> None:
    """
    E1, 2.3 step 13.
    """
    client = server.client("extended", "huge")
    client.write(HUGE - 5, b"x" * 5)
    client.done(command, 0, HUGE)
    assert client.read(HUGE - 5, 5) == (b"x" * 5 if command == CACHE else bytes(5))


@pytest.mark.parametrize("length", [(32 << 20) + 1, 2**32, 2**62])
def test_reads_too_long_overflow(server: Server, length: int) -> None:
    """
    E7: EOVERFLOW, whatever the length.
    """
    client = server.client("extended", "huge")
    assert client.call(READ, 0, length).error == EOVERFLOW


@pytest.mark.parametrize("command", [READ, FLUSH, TRIM, CACHE, WRITE_ZEROES, 8, 99])
@pytest.mark.parametrize("length", [0, 512, 100_000])
def test_payload_where_none_belongs(server: Server, command: int, length: int) -> None:
    """
    E2, E3: drained, EINVAL, and the next request is served.
    """
    client = server.client("extended", "disk")
    trap = (extended(WRITE_ZEROES, 0, 512) * 4000)[:length]
    assert client.call(command, 0, data=trap).error == EINVAL
    assert client.read(0, 1) == b"\0"


@pytest.mark.parametrize("command", [WRITE, READ, BLOCK_STATUS])
def test_payload_above_the_maximum_drops(server: Server, command: int) -> None:
    """
    E2: announced under extended headers, it ends the connection.
    """
    client = server.client("extended", "huge")
    client.connection.send(extended(command, 0, (32 << 20) + 1, PAYLOAD_LEN))
    client.expect_end()


def test_write_without_the_payload_flag_drops(server: Server) -> None:
    """
    C28: nobody can tell what follows.
    """
    client = server.client("extended", "disk")
    client.connection.send(extended(WRITE, 0, 512, data=bytes(512)))
    client.expect_end()


def status_payload(client: Client, length: int, *names: str, raw: bytes | None = None) -> Any:
    """BLOCK_STATUS for some contexts; returns the answer."""
    ids = [key for name in names for key, value in client.contexts.items() if value == name]
    data = struct.pack(f">Q{len(ids)}I", length, *ids) if raw is None else raw
    request = client.remember(BLOCK_STATUS, 0, length)
    request.contexts = tuple(ids)
    client.connection.send(extended(BLOCK_STATUS, 0, len(data), PAYLOAD_LEN, request.cookie, data))
    return client.answer()


def test_status_of_some_contexts(server: Server) -> None:
    """
    E4, 2.2 bit 12: only the contexts named are answered, for the effect length.
    """
    client = mapped(server, "extended", "disk", BASE, DEPTH)
    assert client.flags & 1 << 12
    assert status_payload(client, SIZE, DEPTH).extents == {DEPTH: [(SIZE, 0)]}
    assert status_payload(client, 512, BASE).extents == {BASE: [(512, 3)]}
    assert set(status_payload(client, 512, DEPTH, BASE).extents) == {BASE, DEPTH}


@pytest.mark.parametrize("names", [[], [BASE, BASE]])
def test_status_payload_of_bad_ids(server: Server, names: list[str]) -> None:
    """
    E4: no id, or one twice.
    """
    client = mapped(server, "extended", "disk", BASE, DEPTH)
    assert status_payload(client, 512, *names).error == EINVAL
    assert client.status(0, 512)


@pytest.mark.parametrize("raw", [b"", bytes(8), bytes(11), bytes(12), bytes(13), bytes(99_999)])
def test_status_payload_of_bad_length(server: Server, raw: bytes) -> None:
    """
    E4: drained and refused.
    """
    client = mapped(server, "extended", "disk", BASE, DEPTH)
    assert status_payload(client, 512, BASE, raw=raw).error == EINVAL
    assert client.status(0, 512)


def test_status_payload_without_a_context(server: Server) -> None:
    """
    E4, 2.2 bit 12: without a selection the form is neither advertised nor taken.
    """
    client = server.client("extended", "disk")
    assert not client.flags & 1 << 12
    raw = struct.pack(">QI", 512, 17)
    assert status_payload(client, 512, raw=raw).error == EINVAL


def test_compact_clients_are_served(server: Server) -> None:
    """
    E6: nobody is forced to use extended headers.
    """
    for framing in ("simple", "structured"):
        assert server.client(framing, "huge").read(HUGE - 1, 1) == b"\0"


@pytest.mark.parametrize(
    ("framing", "bits"), [("simple", 0), ("structured", 1 << 7), ("extended", 1 << 7)]
)
def test_flags_depend_on_the_framing(server: Server, framing: str, bits: int) -> None:
    """
    2.2 bit 7: DF exactly with chunks, at the moment of the reply.
    """
    client = server.connect().greet()
    assert not int.from_bytes(client.info(INFO, "disk")[0][8:], "big") & 0x1080
    client.agree(framing)
    assert int.from_bytes(client.info(INFO, "disk")[0][8:], "big") & 0x1080 == bits
    assert client.option(GO, info_data("disk"))[-1][0] == 1
