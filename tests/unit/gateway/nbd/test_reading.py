"""Long READs in chunks: covered once, holes where they are, and never more than one chunk held."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from backends.memory import MemoryExport
from gateway.errors import Unavailable
from gateway.nbd.limits import READ_CHUNK
from gateway.nbd.outbox import Outbox
from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.reading import send_chunks, send_data
from gateway.nbd.replies import framing
from gateway.nbd.requests import Request
from tests.wire_format import EINVAL, OFFSET_DATA, OFFSET_HOLE, READ, NothingMore
from tests.wire_replies import Answer, Replies
from tests.wire_replies import Request as Expected

SIZE = 2 << 20


class Taken:
    """A connection over what an outbox gave."""

    def __init__(self) -> None:
        self.data = bytearray()

    def receive(self, count: int) -> bytes:
        if len(self.data) < count:
            raise NothingMore
        data = bytes(self.data[:count])
        del self.data[:count]
        return data


class Reading:
    """One READ in progress, with a client that takes when told."""

    def __init__(self, export: Any, name: str, offset: int, length: int) -> None:
        self.outbox = Outbox(PayloadMemory())
        self.taken = Taken()
        self.waiting: list[Deferred[None]] = []
        self.most = 0
        request = Request(READ, 0, 7, offset, length, None)
        self.client = Replies(self.taken)
        self.client.framing = name
        self.client.expect(Expected(READ, 0, 7, offset, length))
        replies = framing(name, self.outbox)
        self.result = Deferred.fromCoroutine(
            send_chunks(request, export, self.outbox, replies, lambda: None, self._room)
        )

    def _room(self) -> Deferred[None]:
        room: Deferred[None] = Deferred()
        self.waiting.append(room)
        return room

    def finish(self) -> Answer:
        """Take until the answer is complete."""
        while True:
            self.most = max(self.most, self.outbox.pending)
            while self.outbox.pending:
                for piece in self.outbox.head():
                    self.taken.data += piece
                    self.outbox.taken(len(piece))
            if not self.waiting:
                return self.client.answer()
            self.waiting.pop().callback(None)


_writes = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 300_000)), max_size=8)


@given(
    st.sampled_from(["structured", "extended"]),
    _writes,
    st.integers(0, SIZE - 1),
    st.integers(1, SIZE),
)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_chunks_are_the_data(
    name: str, writes: list[tuple[int, int]], offset: int, length: int
) -> None:
    """
    C14, C21, C25: any range of any sparse disk, byte by byte, holding about one chunk at a time.
    """
    export = MemoryExport(SIZE)
    model = bytearray(SIZE)
    for number, (start, count) in enumerate(writes):
        count = min(count, SIZE - start)
        export.write(start, bytes([number + 1]) * count, False)
        model[start : start + count] = bytes([number + 1]) * count
    length = min(length, SIZE - offset)
    reading = Reading(export, name, offset, length)
    answer = reading.finish()
    assert answer.data == model[offset : offset + length]
    assert reading.most <= 2 * READ_CHUNK + 4096
    for kind, _, payload in answer.chunks:
        if kind == OFFSET_HOLE:
            start = int.from_bytes(payload[:8], "big")
            end = start + int.from_bytes(payload[8:], "big")
            assert start % 512 == 0 or start == offset
            assert end % 512 == 0 or end == offset + length


def test_a_hole_is_one_chunk() -> None:
    """
    C25: a range without data is named, not sent.
    """
    answer = Reading(MemoryExport(SIZE), "structured", 0, SIZE).finish()
    assert answer.kinds == [OFFSET_HOLE]


def test_short_holes_are_sent_as_data() -> None:
    """
    C25: holes below 4 KiB cost more as chunks than as zeroes.
    """
    export = MemoryExport(SIZE)
    export.write(0, b"x" * 512, False)
    export.write(2048, b"y" * 512, False)
    export.write(70000, b"z", False)
    answer = Reading(export, "structured", 0, 100_000).finish()
    assert answer.kinds == [OFFSET_DATA, OFFSET_HOLE, OFFSET_DATA, OFFSET_HOLE]


def test_data_of_the_wrong_length_is_not_sent() -> None:
    """
    C13, B30: a short read is a failure, with nothing sent.
    """
    outbox = Outbox(PayloadMemory())
    request = Request(READ, 0, 7, 0, 512, None)
    for data in (b"", bytes(511), bytes(513)):
        with pytest.raises(Unavailable):
            send_data(request, outbox, framing("simple", outbox), data, 0, 512, True)
    assert outbox.pending == 0
    assert EINVAL


def test_failure_in_the_middle_leaves_whole_chunks() -> None:
    """
    C22, C23, C24: chunks sent before a failure are complete and none of them is the last.
    """

    class Torn(MemoryExport):
        def read_into(self, offset: int, buffer: memoryview) -> bool:
            if offset >= READ_CHUNK:
                raise Unavailable("bad sector")
            return super().read_into(offset, buffer)

    export = Torn(SIZE)
    export.write(0, b"x" * SIZE, False)
    reading = Reading(export, "structured", 0, SIZE)
    with pytest.raises(NothingMore):
        reading.finish()
    failure = reading.result
    failed: list[Any] = []
    failure.addErrback(failed.append)
    assert failed[0].check(Unavailable)
    (_, answer), *_ = reading.client.pending[7]
    assert [flags for _, flags, _ in answer.chunks] == [0]
    assert answer.covered == [(0, READ_CHUNK)]
