"""Requests out of bytes: every fragmentation, long payloads in place, refused ones read past."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.info import Abilities, ExportInfo
from gateway.nbd.contexts import CONTEXTS
from gateway.nbd.inbox import Inbox, ProtocolViolation
from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.requests import Refusal
from gateway.nbd.terms import Terms, transmission_flags
from tests import wire_format as w
from tests.wire_format import compact, extended

MIB = 1 << 20
SIZE = 64 * MIB


def inbox(
    framing: str = "simple",
    unparsed: bytes = b"",
    contexts: bool = True,
    memory: PayloadMemory | None = None,
    **changes: Any,
) -> Inbox:
    info = ExportInfo(**{"size": SIZE, "abilities": Abilities(cache=True), **changes})
    chosen = CONTEXTS if contexts and framing != "simple" else ()
    flags = transmission_flags(info, framing, bool(chosen))
    return Inbox(
        Terms(info, framing, chosen, flags), unparsed, PayloadMemory() if memory is None else memory
    )


def feed(box: Inbox, data: bytes, step: int = 1 << 30) -> list[tuple[Any, ...]]:
    """Deliver bytes, at most ``step`` at a time, and collect requests."""
    found = []
    position = 0
    while True:
        while (request := box.next_request()) is not None:
            error = 0 if request.refusal is None else request.refusal.errno
            payload = bytes(request.payload)
            found.append(
                (
                    request.type,
                    request.flags,
                    request.cookie,
                    request.offset,
                    request.length,
                    payload,
                    error,
                )
            )
        if position == len(data):
            return found
        space = box.space()
        assert len(space) > 0
        count = min(len(space), step, len(data) - position)
        space[:count] = data[position : position + count]
        box.received(count)
        position += count


STREAM = (
    compact(w.READ, 0, 512, cookie=2**64 - 1)
    + compact(w.WRITE, 512, 5, cookie=1, data=b"hello")
    + compact(w.FLUSH)
    + compact(w.WRITE, 0, 0)
    + compact(w.WRITE, SIZE, 600, cookie=5, data=b"\x25\x60\x95\x13" * 150)
    + compact(w.TRIM, 0, SIZE)
    + compact(w.WRITE, 0, 70000, cookie=6, data=bytes(range(250)) * 280)
    + compact(w.WRITE, 0, 65536, cookie=7, data=b"x" * 65536)
    + compact(w.RESIZE, 1, 2, cookie=8)
)
REQUESTS = [
    (w.READ, 0, 2**64 - 1, 0, 512, b"", 0),
    (w.WRITE, 0, 1, 512, 5, b"hello", 0),
    (w.FLUSH, 0, 0, 0, 0, b"", 0),
    (w.WRITE, 0, 0, 0, 0, b"", 0),
    (w.WRITE, 0, 5, SIZE, 600, b"", w.ENOSPC),
    (w.TRIM, 0, 0, 0, SIZE, b"", 0),
    (w.WRITE, 0, 6, 0, 70000, bytes(range(250)) * 280, 0),
    (w.WRITE, 0, 7, 0, 65536, b"x" * 65536, 0),
    (w.RESIZE, 0, 8, 1, 2, b"", w.EINVAL),
]


@pytest.mark.parametrize("step", [1, 27, 28, 29, 511, 4096, 65536, 1 << 30])
def test_requests_are_the_same_in_any_segments(step: int) -> None:
    """
    2.1, C12: headers, short, long and refused payloads; one byte at a time or all at once.
    """
    assert feed(inbox(), STREAM, step) == REQUESTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=10).map(sorted))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_requests_are_the_same_however_segments_are_cut(cuts: list[int]) -> None:
    """
    2.1: where segments end changes nothing.
    """
    box = inbox()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
        found += feed(box, STREAM[start:end])
    assert found == REQUESTS


@pytest.mark.parametrize("cut", [0, 1, 28, 100, 70_000, len(STREAM)])
def test_bytes_behind_the_handshake_come_first(cut: int) -> None:
    """
    H15: what the handshake had received already is parsed before what is received now.
    """
    assert feed(inbox(unparsed=STREAM[:cut]), STREAM[cut:]) == REQUESTS


def test_much_more_than_the_buffer_behind_the_handshake() -> None:
    """
    H15: any amount of bytes may have come behind the handshake.
    """
    assert feed(inbox(unparsed=STREAM * 5 + STREAM[:99]), STREAM[99:]) == REQUESTS * 6


def test_behind_a_long_payload_little_more_than_the_next_header_is_received() -> None:
    """
    What comes with a header into the buffer of requests is copied once more. A
    short WRITE, or one that is refused, makes an end of that.
    """
    box = inbox()
    whole = len(box.space())
    feed(box, compact(w.WRITE, 0, MIB, data=bytes(MIB)))
    assert len(box.space()) <= 4096
    feed(box, compact(w.READ, 0, 512) + compact(w.WRITE, 0, MIB, data=bytes(MIB)))
    assert len(box.space()) <= 4096
    feed(box, compact(w.WRITE, 0, 512, data=bytes(512)))
    assert len(box.space()) == whole
    feed(box, compact(w.WRITE, 0, MIB, data=bytes(MIB)))
    feed(box, compact(w.WRITE, SIZE, MIB, data=bytes(MIB)))
    assert len(box.space()) == whole


def test_long_payload_is_received_in_place() -> None:
    """
    2.3 step 3: a long payload has room of exactly its own rest, where it stays.
    """
    box = inbox()
    box.space()[:28] = compact(w.WRITE, 0, MIB)
    box.received(28)
    assert box.next_request() is None
    space = box.space()
    assert len(space) == MIB
    space[:] = b"p" * MIB
    box.received(MIB - 1)
    assert box.next_request() is None
    assert len(box.space()) == 1
    box.received(1)
    request = box.next_request()
    assert request is not None
    assert request.payload == b"p" * MIB
    assert box.next_request() is None


def test_payloads_of_several_requests_are_apart() -> None:
    """
    2.3 step 3: a payload handed out is not overwritten by later bytes.
    """
    box = inbox()
    stream = b"".join(compact(w.WRITE, 0, 3000, data=bytes([i]) * 3000) for i in range(200))
    payloads = [request[5] for request in feed(box, stream, 9999)]
    assert payloads == [bytes([i]) * 3000 for i in range(200)]


@pytest.mark.parametrize("magic", [w.EXTENDED_MAGIC, 0x12560953, 0x25609514, 0])
@pytest.mark.parametrize("step", [1, 1000])
def test_wrong_magic_is_a_violation(magic: int, step: int) -> None:
    """
    C1: also the magic of the other kind of header, and reserved ones.
    """
    with pytest.raises(ProtocolViolation):
        feed(inbox(), struct.pack(">I", magic) + bytes(24), step)


def test_compact_magic_under_extended_headers_is_a_violation() -> None:
    """
    C1: under extended headers only those.
    """
    with pytest.raises(ProtocolViolation):
        feed(inbox("extended"), compact(w.FLUSH) + bytes(4))


@pytest.mark.parametrize("length", [(64 << 20) + 1, 0xFFFFFFFF])
def test_write_of_absurd_length_is_a_violation(length: int) -> None:
    """
    2.3 step 3, B21: above 64 MiB nothing is read any more.
    """
    with pytest.raises(ProtocolViolation):
        feed(inbox(size=1 << 40), compact(w.WRITE, 0, length))


@pytest.mark.parametrize("length", [(32 << 20) + 1, 64 << 20])
def test_write_above_the_maximum_is_read_past(length: int) -> None:
    """
    2.3 step 12, C10, C12: the payload is drained in bounded memory, then answered EINVAL.
    """
    box = inbox(size=1 << 40)
    assert feed(box, compact(w.WRITE, 0, length)) == []
    piece = b"\x25\x60\x95\x13" * 4096
    left = length
    while left > len(piece):
        assert feed(box, piece) == []
        left -= len(piece)
    found = feed(box, piece[:left] + compact(w.FLUSH))
    assert [(request[0], request[6]) for request in found] == [(w.WRITE, w.EINVAL), (w.FLUSH, 0)]
    assert len(box.space()) < MIB


@pytest.mark.parametrize(
    "changes", [{"read_only": True}, {"size": 100}, {"minimum_block": 4096}], ids=repr
)
@pytest.mark.parametrize("length", [200, 100_000])
@pytest.mark.parametrize("step", [1, 4096, 1 << 30])
def test_payload_of_a_refused_write_is_never_parsed(
    changes: dict[str, Any], length: int, step: int
) -> None:
    """
    C12: guest data that looks like requests does not become one.
    """
    if step == 1 and length > 1000:
        length = 3000
    trap = (compact(w.WRITE_ZEROES, 0, 512) * 4000)[:length]
    found = feed(inbox(**changes), compact(w.WRITE, 1, length, data=trap) + compact(w.FLUSH), step)
    assert [request[0] for request in found] == [w.WRITE, w.FLUSH]
    assert found[0][6] in (w.EPERM, w.ENOSPC, w.EINVAL)
    assert found[0][5] == b""


@pytest.mark.parametrize("flags", [0, 0xFFFF])
@pytest.mark.parametrize("framing", ["simple", "extended"])
def test_disconnect_ends_the_stream(framing: str, flags: int) -> None:
    """
    2.3 step 2, C29, E3, B27: DISC with any flags, offset and length; what follows is ignored.
    """
    pack = extended if framing == "extended" else compact
    box = inbox(framing)
    assert feed(box, pack(w.DISC, 7, 999, flags) + pack(w.FLUSH) + b"noise" * 99) == []
    assert box.disconnecting
    assert feed(box, pack(w.FLUSH) * 9000) == []


def test_payload_len_is_only_an_unknown_flag_of_compact_requests() -> None:
    """
    E3: under compact headers no payload is read for it.
    """
    stream = compact(w.TRIM, 0, 512, w.PAYLOAD_LEN) + compact(w.FLUSH)
    found = feed(inbox("structured"), stream)
    assert [(request[0], request[6]) for request in found] == [(w.TRIM, w.EINVAL), (w.FLUSH, 0)]


@pytest.mark.parametrize("command", [w.READ, w.FLUSH, w.TRIM, w.CACHE, w.WRITE_ZEROES, 8, 99])
@pytest.mark.parametrize("length", [0, 1, 512, 100_000])
@pytest.mark.parametrize("step", [999, 1 << 30])
def test_payload_of_a_command_that_takes_none_is_drained(
    command: int, length: int, step: int
) -> None:
    """
    E2, E3: EINVAL after the announced bytes, and the next request is parsed.
    """
    stream = extended(command, 0, length, w.PAYLOAD_LEN, data=bytes(length)) + extended(w.FLUSH)
    found = feed(inbox("extended"), stream, step)
    assert [(request[0], request[6]) for request in found] == [(command, w.EINVAL), (w.FLUSH, 0)]


@pytest.mark.parametrize("command", [w.READ, w.WRITE, w.BLOCK_STATUS])
def test_payload_above_the_maximum_is_a_violation(command: int) -> None:
    """
    E2: under extended headers a payload above 32 MiB ends the connection.
    """
    with pytest.raises(ProtocolViolation):
        feed(inbox("extended"), extended(command, 0, (32 << 20) + 1, w.PAYLOAD_LEN))


def test_write_without_payload_len_is_a_violation() -> None:
    """
    C28: under extended headers nobody can tell what follows a WRITE without the flag.
    """
    with pytest.raises(ProtocolViolation):
        feed(inbox("extended"), extended(w.WRITE, 0, 512))


A, B = (context.id for context in CONTEXTS)


def status_payload(effect: int, *ids: int) -> bytes:
    return struct.pack(f">Q{len(ids)}I", effect, *ids)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (status_payload(SIZE, A), 0),
        (status_payload(SIZE, B, A), 0),
        (status_payload(1, B), 0),
        (status_payload(SIZE + 1, A), w.EINVAL),
        (status_payload(2**64 - 1, A), w.EINVAL),
        (status_payload(0, A), w.EINVAL),
        (status_payload(512), w.EINVAL),
        (status_payload(512, A, A), w.EINVAL),
        (status_payload(512, 99), w.EINVAL),
        (status_payload(512, A, B, 99), w.EINVAL),
        (status_payload(512, A)[:-1], w.EINVAL),
        (status_payload(512, A, B)[:-1], w.EINVAL),
        (b"", w.EINVAL),
        (bytes(7), w.EINVAL),
        (bytes(100_000), w.EINVAL),
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 30])
def test_block_status_payloads(payload: bytes, error: int, step: int) -> None:
    """
    E4: effect length and ids; anything else is drained and answered EINVAL.
    """
    if len(payload) > 1000 and step == 1:
        step = 777
    box = inbox("extended")
    data = extended(w.BLOCK_STATUS, 0, len(payload), w.PAYLOAD_LEN, 9, payload)
    found = feed(box, data + extended(w.FLUSH), step)
    assert [(request[0], request[6]) for request in found] == [
        (w.BLOCK_STATUS, error),
        (w.FLUSH, 0),
    ]
    if not error:
        assert found[0][4] == int.from_bytes(payload[:8], "big")


def test_block_status_payload_needs_a_context() -> None:
    """
    E4: without a selected context the form is not advertised.
    """
    payload = status_payload(512, A)
    data = extended(w.BLOCK_STATUS, 0, len(payload), w.PAYLOAD_LEN, data=payload)
    found = feed(inbox("extended", contexts=False), data + extended(w.FLUSH))
    assert [request[6] for request in found] == [w.EINVAL, 0]


@pytest.mark.parametrize("framing", ["simple", "extended"])
def test_everything_is_refused_when_shutting_down(framing: str) -> None:
    """
    2.3 step 4, D9: as such before any other fault, with payloads drained; DISC still is DISC.
    """
    box = inbox(framing, read_only=True)
    box.shutting_down = True
    if framing == "simple":
        pack, flag = compact, 0
    else:
        pack, flag = extended, w.PAYLOAD_LEN
    stream = pack(w.READ, 0, 512) + pack(w.WRITE, 0, 9, flag, data=bytes(9)) + pack(99)
    stream += pack(w.FLUSH, 1, 1)
    if framing == "extended":
        for payload in (status_payload(512, A), b"", bytes(99)):
            stream += extended(w.BLOCK_STATUS, 0, len(payload), flag, data=payload)
    errors = {request[6] for request in feed(box, stream)}
    assert errors == {w.ESHUTDOWN}
    feed(box, pack(w.DISC))
    assert box.disconnecting


_commands = st.sampled_from([*range(9), 99])
_numbers = st.sampled_from([0, 1, 512, 70_000, SIZE, 2**32 - 1]) | st.integers(0, 2**32 - 1)
_noise = st.lists(
    st.builds(compact, _commands, _numbers, _numbers, st.integers(0, 65535) | st.just(0))
    | st.builds(extended, _commands, _numbers, _numbers, st.integers(0, 65535) | st.just(32))
    | st.binary(max_size=100),
    max_size=30,
)


@given(st.sampled_from(["simple", "structured", "extended"]), _noise, st.integers(1, 3000))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_noise_is_requests_or_a_violation(framing: str, noise: list[bytes], step: int) -> None:
    """
    C9, B38: whatever arrives, only `ProtocolViolation` leaves the core.
    """
    box = inbox(framing)
    try:
        for request in feed(box, b"".join(noise), step):
            assert len(request[5]) <= 32 << 20
    except ProtocolViolation:
        pass


@given(
    offset=st.integers(0, 300_000),
    length=st.integers(64 * 1024 + 1, 300_000),
    step=st.integers(1_000, 400_000),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_write_without_memory_comes_in_parts(offset: int, length: int, step: int) -> None:
    """
    C14: they are short, cover it once and in order, end where no block does, and
    are one request's; what follows is not touched. Nothing was lent for it.
    """
    memory = PayloadMemory(64 * 1024)
    box = inbox(memory=memory)
    data = bytes(range(251)) * (length // 251 + 1)
    stream = compact(w.WRITE, offset, length, cookie=7, data=data[:length])
    found = feed(box, stream + compact(w.READ, 0, 512, cookie=8), step)
    *parts, last = found
    assert (last[0], last[2]) == (w.READ, 8)
    position = offset
    for type, _, cookie, start, count, payload, error in parts:
        assert (type, cookie, start, error) == (w.WRITE, 7, position, 0)
        assert count == len(payload) <= 64 * 1024
        assert payload == data[start - offset : start - offset + count]
        position += count
        assert position % (64 * 1024) == 0 or position == offset + length
    assert position == offset + length
    assert memory.held == 0


def test_the_parts_of_a_write_know_when_all_are_answered() -> None:
    """The first refusal is the one that counts, and the last answer is the one to send."""
    box = inbox(memory=PayloadMemory(0))
    box.space()[: 28 + 100_000] = compact(w.WRITE, 60_000, 100_000, data=bytes(100_000))
    box.received(28 + 100_000)
    first, second, third = box.next_request(), box.next_request(), box.next_request()
    assert first is not None and second is not None and third is not None
    parts = first.parts
    assert parts is not None and second.parts is parts and third.parts is parts
    assert (parts.whole.offset, parts.whole.length) == (60_000, 100_000)
    refusal = Refusal(w.EINVAL, "no")
    assert not parts.answered(None)
    assert not parts.answered(refusal)
    assert parts.answered(Refusal(w.EINVAL, "later"))
    assert parts.refusal is refusal


def test_an_incomplete_payload_is_given_back() -> None:
    """Once, when the connection is gone."""
    memory = PayloadMemory()
    box = inbox(memory=memory)
    feed(box, compact(w.WRITE, 0, MIB, data=bytes(MIB))[: MIB // 2])
    assert memory.held == MIB
    box.abandon()
    box.abandon()
    assert memory.held == 0
