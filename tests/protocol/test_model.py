"""Random commands against a bytearray, through a real connection, for each export and framing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.exports import SIZE
from tests.protocol.servers import InMemory, Process, fresh
from tests.wire import Client
from tests.wire_format import (
    BLOCK_STATUS,
    DF,
    ENOTSUP,
    FAST_ZERO,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    REQ_ONE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
)

CONTEXTS = ("base:allocation", "qemu:allocation-depth")

#: Bytes that are compared at once, as most are what they were.
PIECE = 4096


class Model:
    """A disk as a bytearray, beside a map of bytes that may be anything."""

    def __init__(self, client: Client, chance: random.Random, align: int = 1) -> None:
        self.client = client
        self.size = client.size
        self.chance = chance
        self.align = align
        self.bytes = bytearray(self.size)
        self.unsure = bytearray(self.size)

    def range(self, longest: int) -> tuple[int, int]:
        """A random range, often at the edges of blocks and of the disk."""
        pick = self.chance
        offset = pick.choice([0, pick.randrange(self.size), pick.randrange(self.size) & ~65535])
        length = pick.choice([1, 512, 4096, 65536, pick.randrange(1, longest), longest])
        offset -= offset % self.align
        length = min(length, self.size - offset)
        return offset, max(length - length % self.align, self.align)

    def step(self) -> None:
        act = self.chance.choice(
            [self.write] * 4
            + [self.read] * 3
            + [self.zero] * 3
            + [self.trim, self.status, self.flush]
        )
        act()

    def flags(self, *flags: int) -> int:
        return sum(flag for flag in flags if self.chance.random() < 0.4)

    def write(self) -> None:
        offset, length = self.range(300_000)
        data = self.chance.choice([self.chance.randbytes(length), bytes(length)])
        assert self.client.call(WRITE, offset, flags=self.flags(FUA), data=data).error == 0
        self._put(offset, data)

    def zero(self) -> None:
        offset, length = self.range(self.size // 2)
        flags = self.flags(FUA, NO_HOLE, FAST_ZERO)
        error = self.client.call(WRITE_ZEROES, offset, length, flags).error
        if error:
            assert (error, flags & FAST_ZERO) == (ENOTSUP, FAST_ZERO)
        else:
            self._put(offset, bytes(length))

    def trim(self) -> None:
        offset, length = self.range(self.size // 2)
        assert self.client.call(TRIM, offset, length, self.flags(FUA)).error == 0
        self.unsure[offset : offset + length] = b"\1" * length

    def read(self) -> None:
        offset, length = self.range(2_000_000)
        flags = 0 if self.client.framing == "simple" else self.flags(DF)
        answer = self.client.call(READ, offset, length, flags)
        assert answer.error == 0
        self._compare(offset, answer.data)

    def flush(self) -> None:
        assert self.client.call(FLUSH).error == 0

    def status(self) -> None:
        if not self.client.contexts:
            return
        offset, length = self.range(self.size)
        answer = self.client.call(BLOCK_STATUS, offset, length, self.flags(REQ_ONE))
        assert answer.error == 0
        position = offset
        for run, word in answer.extents["base:allocation"]:
            if word & 2:
                assert not any(self.client.read(position, run)), "ZERO, but not zeroes"
            position += run

    def _put(self, offset: int, data: bytes) -> None:
        self.bytes[offset : offset + len(data)] = data
        self.unsure[offset : offset + len(data)] = bytes(len(data))

    def _compare(self, offset: int, data: bytearray) -> None:
        for start in range(0, len(data), PIECE):
            got = data[start : start + PIECE]
            where = slice(offset + start, offset + start + len(got))
            if got == self.bytes[where]:
                continue
            if not any(got) and all(self.unsure[where]):
                self.bytes[where] = got
                continue
            self._compare_bytes(where.start, got)

    def _compare_bytes(self, offset: int, data: bytearray) -> None:
        for position, got in enumerate(data, offset):
            if got != self.bytes[position]:
                # Trimmed bytes are the old ones or zeroes, and stay what they are.
                assert self.unsure[position], f"wrong byte at {position}"
                assert got == 0, f"stray byte at {position}"
                self.bytes[position] = got


def run(client: Client, seed: int, steps: int, align: int = 1) -> None:
    model = Model(client, random.Random(seed), align)
    for _ in range(steps):
        model.step()
    for offset in range(0, client.size, 1 << 20):
        model._compare(offset, bytearray(client.read(offset, min(1 << 20, client.size - offset))))


def selected(server: InMemory | Process, framing: str, name: str) -> Client:
    client = server.connect().greet().agree(framing)
    if framing != "simple":
        client.set_contexts(name, *CONTEXTS)
    return client.go(name)


@pytest.mark.parametrize(
    "kind", ["disk", "later", "fired", "writes-zeroes", "never-fast", "aligned", "odd"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_disk_is_a_bytearray(
    server: InMemory | Process, framing: str, kind: str, seed: int
) -> None:
    """
    B34, Z4, M20, C31, fast-zero 5.7: reads are what was written; TRIM leaves old bytes or zeroes.
    """
    client = selected(server, framing, fresh(kind))
    run(client, seed, 60, align=4096 if kind == "aligned" else 1)


@pytest.fixture(scope="module")
def files(sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of files."""
    server = Process(sockets, files=str(tmp_path_factory.mktemp("files")))
    yield server
    server.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_file_is_a_bytearray(files: Process, framing: str, seed: int) -> None:
    """
    B34, Z4, M20, C31, fast-zero 5.7: the same for files, whose answers come now or later.
    """
    client = selected(files, framing, fresh("file"))
    assert client.size == SIZE
    run(client, seed, 60)
    assert not files.errors()
