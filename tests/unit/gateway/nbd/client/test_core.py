"""What the client's core makes of a server's bytes, right and wrong ones."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nbd.client.core import Answered, ClientCore, Connected, Misspoken, Refused, Secure
from tests import wire_format as w

GREETING = struct.pack(">QQH", w.MAGIC, w.IHAVEOPT, 3)
READ, BLOCK_STATUS, WRITE = w.READ, w.BLOCK_STATUS, w.WRITE


def reply(option, kind, data=b""):
    """To an option."""
    return struct.pack(">QIII", w.REPLY_MAGIC, option, kind, len(data)) + data


def export(size=1 << 20, flags=0xFFF):
    """The answers to GO."""
    return reply(w.GO, w.REP_INFO, struct.pack(">HQH", 0, size, flags)) + reply(w.GO, w.ACK)


def context(number=7):
    """The answers to SET_META_CONTEXT."""
    data = struct.pack(">I", number) + b"base:allocation"
    return reply(w.SET_META, w.META, data) + reply(w.SET_META, w.ACK)


HANDSHAKE = GREETING + reply(w.STRUCTURED_REPLY, w.ACK) + context() + export()


def chunk(cookie, kind, data=b"", done=True):
    """A structured reply."""
    return struct.pack(">IHHQI", w.STRUCTURED_CHUNK, done, kind, cookie, len(data)) + data


def simple(cookie, error=0, data=b""):
    """A simple reply."""
    return struct.pack(">IIQ", w.SIMPLE_REPLY, error, cookie) + data


@pytest.fixture
def core():
    """One that is connected."""
    core = ClientCore("disk")
    assert core.receive(HANDSHAKE) == [Connected(1 << 20, 0xFFF, True, True)]
    core.out.clear()
    return core


def test_it_asks_for_structured_replies_and_block_status_then_for_the_export():
    """In that order, as contexts need structured replies and GO ends the handshake."""
    core = ClientCore("disk")
    core.receive(HANDSHAKE)
    query = struct.pack(">I", 4) + b"disk" + struct.pack(">II", 1, 15) + b"base:allocation"
    assert core.out == b"".join(
        (
            struct.pack(">I", 3),
            w.option(w.STRUCTURED_REPLY),
            w.option(w.SET_META, query),
            w.option(w.GO, struct.pack(">I", 4) + b"disk" + bytes(2)),
        )
    )


def test_a_plain_server_does():
    """One without structured replies: nothing of holes, all the same a disk."""
    core = ClientCore("")
    events = core.receive(GREETING + reply(w.STRUCTURED_REPLY, w.UNSUP) + export())
    assert events == [Connected(1 << 20, 0xFFF, False, False)]
    cookie = core.request(READ, 0, 4)
    assert core.receive(simple(cookie, 0, b"abcd")) == [Answered(cookie, 0, "", b"abcd", [])]


@given(st.lists(st.integers(1, 40), max_size=30))
def test_it_does_not_matter_how_bytes_are_cut(sizes):
    """The same events, as of one piece."""
    core = ClientCore("disk")
    cookie = core.request(READ, 0, 8)
    stream = HANDSHAKE + chunk(cookie, 1, bytes(8) + b"12345678")
    events, at = [], 0
    for size in [*sizes, len(stream)]:
        events += core.receive(stream[at : at + size])
        at += size
    assert events == [
        Connected(1 << 20, 0xFFF, True, True),
        Answered(cookie, 0, "", b"12345678", []),
    ]


def test_a_read_comes_in_pieces_and_holes_in_any_order(core):
    """Each where it belongs; holes are zeroes."""
    cookie = core.request(READ, 100, 12)
    pieces = [
        chunk(cookie, 1, struct.pack(">Q", 108) + b"IJKL", done=False),
        chunk(cookie, 2, struct.pack(">QI", 104, 4), done=False),
        chunk(cookie, 1, struct.pack(">Q", 100) + b"ABCD"),
    ]
    (answer,) = core.receive(b"".join(pieces))
    assert bytes(answer.data) == b"ABCD\0\0\0\0IJKL"


def test_an_error_has_the_servers_words(core):
    """Control characters in them do not reach a terminal."""
    cookie = core.request(WRITE, 0, 4)
    text = b"no\x1b[2J space"
    body = struct.pack(">IH", 28, len(text)) + text
    assert core.receive(chunk(cookie, 0x8001, body)) == [
        Answered(cookie, 28, "no?[2J space", None, [])
    ]


def test_block_status_is_that_of_its_context(core):
    """Other contexts of a server that sends more are passed over."""
    cookie = core.request(BLOCK_STATUS, 0, 4096)
    other = chunk(cookie, 5, struct.pack(">III", 8, 4096, 1), done=False)
    ours = chunk(cookie, 5, struct.pack(">IIIII", 7, 1024, 3, 3072, 0))
    (answer,) = core.receive(other + ours)
    assert answer.extents == [(1024, 3), (3072, 0)]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "no greeting of an NBD server"),
        (GREETING + b"x" * 20, "something else than an answer to STRUCTURED_REPLY"),
        (
            GREETING + reply(w.STRUCTURED_REPLY, w.UNSUP) + reply(w.GO, w.ACK),
            "without the export's size",
        ),
        (HANDSHAKE + b"abcd", "expected the start of a reply"),
        (HANDSHAKE + simple(99), "an answer to what was not asked"),
    ],
)
def test_nonsense_ends_the_connection(stream, said):
    """With what was wrong about it."""
    with pytest.raises(Misspoken, match=said):
        ClientCore("disk").receive(stream)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (1, struct.pack(">Q", 4) + b"12345"),  # beyond the end of what was asked
        (1, struct.pack(">Q", 0) + b"123456789"),
        (2, struct.pack(">QI", 0, 9)),
        (1, b"short"),
        (99, b"what is this"),
    ],
)
def test_data_that_was_not_asked_for_is_refused(core, kind, body):
    """It would land on other bytes."""
    cookie = core.request(READ, 0, 8)
    with pytest.raises(Misspoken):
        core.receive(chunk(cookie, kind, body))


def test_a_read_that_stops_short_is_no_answer(core):
    """Zeroes would be taken for data."""
    cookie = core.request(READ, 0, 8)
    with pytest.raises(Misspoken, match="4 bytes short"):
        core.receive(chunk(cookie, 1, bytes(8) + b"1234"))


def test_a_refusal_has_the_servers_reason():
    """And the name that was asked for."""
    refused = reply(w.GO, w.UNKNOWN, b"no such disk")
    with pytest.raises(Refused, match='export "disk".*0x80000006, no such disk'):
        ClientCore("disk").receive(GREETING + reply(w.STRUCTURED_REPLY, w.UNSUP) + refused)


def test_nothing_is_said_in_clear_before_tls():
    """But the wish for it."""
    core = ClientCore("disk", tls=True)
    assert core.receive(GREETING + reply(w.STARTTLS, w.ACK)) == [Secure()]
    assert core.out == struct.pack(">I", 3) + w.option(w.STARTTLS)
    core.out.clear()
    core.secured()
    assert core.out == w.option(w.STRUCTURED_REPLY)
    assert core.receive(HANDSHAKE[len(GREETING) :]) == [Connected(1 << 20, 0xFFF, True, True)]


def test_bytes_slipped_in_before_tls_are_noticed():
    """CVE-2021-3716, seen from the other end."""
    core = ClientCore("disk", tls=True)
    core.receive(GREETING + reply(w.STARTTLS, w.ACK) + reply(w.STRUCTURED_REPLY, w.ACK)[:5])
    with pytest.raises(Misspoken, match="in clear behind"):
        core.secured()


def test_a_server_without_tls_is_left():
    """Rather than told anything in clear."""
    with pytest.raises(Refused, match="does not offer TLS"):
        ClientCore("disk", tls=True).receive(GREETING + reply(w.STARTTLS, w.UNSUP))
