"""The exact bytes of every reply in all three framings."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest

from gateway.nbd.limits import READ_CHUNK
from gateway.nbd.outbox import CAPACITY, FIRST, Outbox
from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.replies import SimpleReplies, framing
from gateway.nbd.requests import Request
from tests import wire_format as w

COOKIE = 0xFEDC_BA98_7654_3210
OFFSET = 0x1122_3344_5566_7788


def request(type: int = w.READ) -> Request:
    return Request(type, 0, COOKIE, OFFSET, 512, None)


def chunk(name: str, kind: int, payload: bytes, done: bool) -> bytes:
    if name == "structured":
        return struct.pack(">IHHQI", 0x668E33EF, done, kind, COOKIE, len(payload)) + payload
    header = struct.pack(">IHHQQQ", 0x6E8A278C, done, kind, COOKIE, OFFSET, len(payload))
    return header + payload


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(PayloadMemory())


def sent(outbox: Outbox) -> bytes:
    data = b"".join(bytes(piece) for piece in outbox.head())
    outbox.taken(len(data))
    return data


@pytest.mark.parametrize("type", [w.READ, w.WRITE, w.FLUSH])
def test_success_without_data(outbox: Outbox, type: int) -> None:
    """
    C2, C4, C5, 2.3 step 14: simple where that is allowed, else NONE with DONE.
    """
    simple = struct.pack(">IIQ", 0x67446698, 0, COOKIE)
    framing("simple", outbox).done(request(type))
    assert sent(outbox) == simple
    framing("structured", outbox).done(request(type))
    assert sent(outbox) == (chunk("structured", 0, b"", True) if type == w.READ else simple)
    framing("extended", outbox).done(request(type))
    assert sent(outbox) == chunk("extended", 0, b"", True)


@pytest.mark.parametrize("name", ["structured", "extended"])
def test_failure_in_chunks_has_a_text(outbox: Outbox, name: str) -> None:
    """
    C2, C3, C8, B25: an ERROR chunk with DONE, number and length big-endian, no NUL.
    """
    framing(name, outbox).failed(request(), w.EINVAL, "no größe")
    text = "no größe".encode()
    payload = b"\0\0\0\x16\0" + bytes([len(text)]) + text
    assert sent(outbox) == chunk(name, 0x8001, payload, True)


@pytest.mark.parametrize("name", ["structured", "extended"])
def test_failure_text_is_cut_to_a_legal_string(outbox: Outbox, name: str) -> None:
    """
    C8: at most 4096 bytes, whole characters.
    """
    framing(name, outbox).failed(request(), w.EIO, "x" + "é" * 3000)
    payload = struct.pack(">IH", 5, 4095) + ("x" + "é" * 2047).encode()
    assert sent(outbox) == chunk(name, 0x8001, payload, True)


def test_failure_in_simple_framing(outbox: Outbox) -> None:
    """
    C20: number and cookie, no data.
    """
    framing("simple", outbox).failed(request(), w.EIO, "lost")
    assert sent(outbox) == struct.pack(">IIQ", 0x67446698, 5, COOKIE)


@pytest.mark.parametrize("name", w.FRAMINGS)
@pytest.mark.parametrize("last", [False, True])
def test_data_headers(outbox: Outbox, name: str, last: bool) -> None:
    """
    C4, C5, C21: the header in front of READ data; the inner offset is the data's own.
    """
    replies = framing(name, outbox)
    buffer = bytearray(b"\xee" * 50)
    replies.pack_data(buffer, 3, request(), OFFSET + 512, 100, last)
    packed = bytes(buffer[3 : 3 + replies.data_header])
    assert buffer == b"\xee" * 3 + packed + b"\xee" * (50 - 3 - len(packed))
    if name == "simple":
        assert packed == struct.pack(">IIQ", 0x67446698, 0, COOKIE)
    else:
        full = chunk(name, 1, struct.pack(">Q", OFFSET + 512) + bytes(100), last)
        assert packed == full[:-100]


@pytest.mark.parametrize("name", ["structured", "extended"])
def test_holes(outbox: Outbox, name: str) -> None:
    """
    C25: offset and a length of 32 bits, under extended headers too.
    """
    framing(name, outbox).hole(request(), OFFSET, 4096, False)
    assert sent(outbox) == chunk(name, 2, struct.pack(">QI", OFFSET, 4096), False)


def test_status_in_32_bits(outbox: Outbox) -> None:
    """
    M10: context, then length and word of each extent.
    """
    framing("structured", outbox).status(request(7), 17, [(512, 3), (1024, 0)], True)
    payload = struct.pack(">IIIII", 17, 512, 3, 1024, 0)
    assert sent(outbox) == chunk("structured", 5, payload, True)


def test_status_in_64_bits(outbox: Outbox) -> None:
    """
    E5, M10: context, count, then 64-bit pairs.
    """
    framing("extended", outbox).status(request(7), 18, [(1 << 40, 3)], False)
    payload = struct.pack(">IIQQ", 18, 1, 1 << 40, 3)
    assert sent(outbox) == chunk("extended", 6, payload, False)


def test_simple_framing_has_no_chunks(outbox: Outbox) -> None:
    """
    C2: holes and status cannot be said in simple replies; asking for it is a bug.
    """
    replies = framing("simple", outbox)
    assert isinstance(replies, SimpleReplies)
    with pytest.raises(AssertionError):
        replies.hole(request(), 0, 1, True)
    with pytest.raises(AssertionError):
        replies.status(request(), 17, [(1, 0)], True)


@pytest.mark.parametrize("name", w.FRAMINGS)
@pytest.mark.parametrize("left", [0, 1, 15, 16, 40])
def test_replies_without_room_are_queued_in_order(outbox: Outbox, name: str, left: int) -> None:
    """
    C6: a reply that finds the buffer full comes whole, behind what was there.
    """
    filler = CAPACITY - left
    assert outbox.reserve(filler) == FIRST
    outbox.commit(filler)
    replies = framing(name, outbox)
    for _ in range(3):
        replies.done(request(w.FLUSH))
        replies.failed(request(w.FLUSH), 22, "x")
    data = bytearray()
    while outbox.pending:
        data += sent(outbox)
    alone = Outbox(PayloadMemory())
    other = framing(name, alone)
    for _ in range(3):
        other.done(request(w.FLUSH))
        other.failed(request(w.FLUSH), 22, "x")
    assert data[filler:] == sent(alone)


@pytest.mark.parametrize("name", ["structured", "extended"])
def test_longest_status_is_a_multiple_of_every_block(outbox: Outbox, name: str) -> None:
    """
    M15: descriptors that are cut stay aligned to the largest minimum block.
    """
    longest = framing(name, outbox).longest_status
    assert longest % 65536 == 0
    assert longest < 1 << (32 if name == "structured" else 64)


@pytest.mark.parametrize("name", ["simple", "structured", "extended"])
def test_data_lies_clear_of_the_start_of_a_page(outbox: Outbox, name: str) -> None:
    """
    The first READ's data, before and after the outbox drained, is neither 1 to
    31 bytes behind a page's start nor so in front of it: there it is copied slowly.
    """
    replies = framing(name, outbox)
    page = ctypes.addressof(ctypes.c_char.from_buffer(outbox.buffer))
    for length in (4096, READ_CHUNK):
        position = outbox.reserve(replies.data_header + length)
        place = (page + position + replies.data_header) % mmap.PAGESIZE
        assert 32 <= place <= mmap.PAGESIZE - 32
        outbox.commit(replies.data_header + length)
        sent(outbox)
