"""Fast zeroes in full (Z rows), and what was learnt from others' mistakes with them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from backends.memory import MemoryExport
from gateway.errors import NotFast
from tests.doubles.recording_export import RecordingExport
from tests.protocol.exports import HUGE, SIZE
from tests.protocol.servers import InMemory, Process
from tests.wire import Client
from tests.wire_format import (
    CACHE,
    EINVAL,
    ENOSPC,
    ENOTSUP,
    EPERM,
    FAST_ZERO,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    TRIM,
    WRITE,
    WRITE_ZEROES,
)

Server = InMemory | Process
SEND_WRITE_ZEROES, SEND_FAST_ZERO = 1 << 6, 1 << 11
#: Kinds that answer every fast zero with ENOTSUP.
REFUSING = ["never-fast", "writes-zeroes"]


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("disk", SEND_WRITE_ZEROES | SEND_FAST_ZERO),
        ("never-fast", SEND_WRITE_ZEROES | SEND_FAST_ZERO),
        ("no-fast-zero", SEND_WRITE_ZEROES),
        ("read-only", 0),
    ],
)
def test_advertisement(server: Server, framing: str, kind: str, bits: int) -> None:
    """
    Z1, Z2: the bit promises a fast answer, not fast zeroes; never without WRITE_ZEROES.
    """
    client = server.client(framing, kind)
    assert client.flags & (SEND_WRITE_ZEROES | SEND_FAST_ZERO) == bits


@pytest.mark.parametrize("flags", [0, NO_HOLE, FUA, NO_HOLE | FUA])
def test_fast_zero_that_is_fast(server: Server, framing: str, flags: int) -> None:
    """
    Z9, Z10, Z11, Z12: done, whatever its alignment.
    """
    client = server.client(framing, "disk")
    client.write(0, b"x" * 200_000)
    client.done(WRITE_ZEROES, 1, 199_998, FAST_ZERO | flags)
    assert client.read(0, 200_000) == b"x" + bytes(199_998) + b"x"


@pytest.mark.parametrize("kind", REFUSING)
@pytest.mark.parametrize("flags", [0, NO_HOLE, FUA, NO_HOLE | FUA])
def test_fast_zero_that_is_refused_changes_nothing(
    server: Server, framing: str, kind: str, flags: int
) -> None:
    """
    Z3, Z4: ENOTSUP, and every byte is as it was; a plain one then does it.
    """
    client = server.client(framing, kind)
    client.write(0, b"x" * SIZE)
    assert client.call(WRITE_ZEROES, 0, SIZE, FAST_ZERO | flags).error == ENOTSUP
    assert client.read(0, SIZE) == b"x" * SIZE
    client.done(WRITE_ZEROES, 1, SIZE - 2, flags)
    assert client.read(0, SIZE) == b"x" + bytes(SIZE - 2) + b"x"


@pytest.mark.parametrize("kind", REFUSING)
def test_enotsup_is_for_fast_zeroes_only(server: Server, framing: str, kind: str) -> None:
    """
    Z5: no other command, and no plain zero, is ever answered so.
    """
    client = server.client(framing, kind)
    client.write(0, b"x")
    for command in (TRIM, CACHE, READ, WRITE_ZEROES):
        client.done(command, 0, 4096)


@pytest.mark.parametrize("command", [READ, WRITE, FLUSH, TRIM, CACHE])
def test_fast_zero_flag_on_other_commands(server: Server, framing: str, command: int) -> None:
    """
    Z6, fast-zero 3.5.3: EINVAL, and the server lives.
    """
    client = server.client(framing, "disk")
    data = b"x" if command == WRITE else None
    assert client.call(command, 0, 0, FAST_ZERO, data).error == EINVAL
    assert client.read(0, 1) == b"\0"


def test_fast_zero_not_advertised(server: Server, framing: str) -> None:
    """
    Z6, fast-zero 3.5.3: EINVAL where the bit is clear; nothing is zeroed.
    """
    client = server.client(framing, "no-fast-zero")
    client.write(0, b"x")
    assert client.call(WRITE_ZEROES, 0, 512, FAST_ZERO).error == EINVAL
    assert client.read(0, 1) == b"x"


@pytest.mark.parametrize(
    ("kind", "offset", "length", "flags", "error"),
    [
        ("read-only", SIZE, 1, FAST_ZERO, EPERM),
        ("never-fast", SIZE, 1, FAST_ZERO, ENOSPC),
        ("never-fast", 0, 512, FAST_ZERO | 0x20, EINVAL),
        ("aligned", 1, 4096, FAST_ZERO, EINVAL),
        ("never-fast", 0, 0, FAST_ZERO, 0),
    ],
)
def test_other_errors_come_first(
    server: Server, kind: str, offset: int, length: int, flags: int, error: int
) -> None:
    """
    Z8: a bad request is told from one that is not fast.
    """
    client = server.client("structured", kind)
    assert client.call(WRITE_ZEROES, offset, length, flags).error == error


def test_longest_requests_are_judged_by_speed_alone(server: Server) -> None:
    """
    Z7: never EOVERFLOW; 2^32 - 1 in compact form, the whole of a huge export in extended form.
    """
    client = server.client("simple", "big")
    client.done(WRITE_ZEROES, 0, 2**32 - 1, FAST_ZERO)
    client = server.client("extended", "huge")
    client.done(WRITE_ZEROES, 0, HUGE, FAST_ZERO)
    client = server.client("extended", "big-writes-zeroes")
    assert client.call(WRITE_ZEROES, 0, client.size, FAST_ZERO).error == ENOTSUP


def test_refusal_is_quick(memory: InMemory, framing: str) -> None:
    """
    Z3, Z15: ENOTSUP comes while every read and write of data is stuck, without one of them.
    """

    class Stuck(MemoryExport):
        def write(self, *arguments: Any) -> Deferred[None]:  # type: ignore[override]
            return Deferred()

        def write_zeroes(self, *arguments: Any) -> None:
            raise NotFast

    export = RecordingExport(Stuck(SIZE))
    memory.source.add("stuck", export)
    client = memory.client(framing).go("stuck")
    stuck = client.submit(WRITE, 0, data=b"x")
    fast = client.submit(WRITE_ZEROES, 0, SIZE, FAST_ZERO)
    answer = client.answer()
    assert (answer.request, answer.error) == (fast, ENOTSUP)
    assert [call[0] for call in export.calls] == ["write", "write_zeroes"]
    assert list(client.pending) == [stuck.cookie]


def test_zero_after_trim(server: Server, framing: str) -> None:
    """
    Z13: trimmed ranges read as zeroes here, so zeroing them is nothing to do.
    """
    client = server.client(framing, "disk")
    client.write(0, b"x" * 65536)
    client.done(TRIM, 0, 65536)
    client.done(WRITE_ZEROES, 0, 65536, FAST_ZERO)
    assert client.read(0, 65536) == bytes(65536)


def test_write_after_zero_wins(server: Server, framing: str) -> None:
    """
    Z14, D5: zeroes are there when answered, and never land on a later write.
    """
    for kind in ("disk", "later", "writes-zeroes"):
        client = server.client(framing, kind)
        client.write(0, b"a" * (3 << 20))
        client.done(WRITE_ZEROES, 0, 3 << 20)
        client.write(1 << 20, b"b" * 512)
        client.done(FLUSH)
        assert client.read(1 << 20, 1024) == b"b" * 512 + bytes(512)


def test_fua_on_zeroes_reaches_storage(memory: InMemory, framing: str) -> None:
    """
    Z12, D2: durable before the reply, by the export's own way or by a flush at the end.
    """
    export = RecordingExport(MemoryExport(SIZE))
    memory.source.add("recorded", export)
    client = memory.client(framing).go("recorded")
    client.done(WRITE_ZEROES, 0, 4096, FUA | FAST_ZERO)
    assert export.calls == [("write_zeroes", 0, 4096, True, True, True)]
    export.calls.clear()
    export.info = dataclasses.replace(
        export.info, abilities=dataclasses.replace(export.info.abilities, write_zeroes=False)
    )
    client = memory.client(framing).go("recorded")
    client.done(WRITE_ZEROES, 0, 4096, FUA | NO_HOLE)
    assert [call[0] for call in export.calls] == ["write", "flush"]


@pytest.mark.parametrize("length", [65 << 20, 128 << 20])
def test_fallback_advances(memory: InMemory, length: int) -> None:
    """
    Z5, fast-zero 3.5.1, 3.5.2, 5.7: 65 and 128 MiB over data by writing: no byte is left behind.
    """
    export = MemoryExport(130 << 20)
    block = b"\xaa" * (1 << 20)
    for offset in range(0, 130 << 20, 1 << 20):
        export.write(offset, block, False)
    can = dataclasses.replace(export.info.abilities, write_zeroes=False)
    export.info = dataclasses.replace(export.info, abilities=can)
    memory.source.add("full-of-data", export)
    client = memory.client("simple").go("full-of-data")
    client.done(WRITE_ZEROES, 512, length)
    assert client.read(0, 512) == b"\xaa" * 512
    for offset in range(512, 512 + length, 13 << 20):
        run = min(13 << 20, 512 + length - offset)
        assert client.read(offset, run) == bytes(run)
    assert client.read(512 + length, 512) == b"\xaa" * 512


def test_shifted_requests_over_an_empty_disk_store_nothing(memory: InMemory) -> None:
    """
    Fast-zero 5.7: zeroes in steps of 2 GiB - 512 leave an empty disk empty.
    """
    export = MemoryExport(16 << 30)
    memory.source.add("empty-16g", export)
    client: Client = memory.client("simple").go("empty-16g")
    step = (2 << 30) - 512
    for offset in range(0, (16 << 30) - step, step):
        client.done(WRITE_ZEROES, offset, step, FAST_ZERO)
    assert export.resident == 0
