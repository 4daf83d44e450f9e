"""Option payloads: every way in which lengths can lie, and the exact bytes of replies."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.info import ExportInfo
from gateway.nbd import options
from gateway.nbd.options import ContextRequest, InfoRequest, InvalidOption, TooManyQueries
from gateway.nbd.strings import quoted
from tests import wire_format as w

INVALID_INFO = {
    "empty": b"",
    "name length cut": b"\0\0\0",
    "no count": struct.pack(">I", 0),
    "half a count": struct.pack(">I", 0) + b"\0",
    "name longer than the data": struct.pack(">I", 5) + b"disk",
    "name up to the end, no count": struct.pack(">I", 4) + b"disk",
    "name of 2^32 - 1": struct.pack(">I", 0xFFFFFFFF) + b"disk\0\0",
    "name of 2^31": struct.pack(">I", 1 << 31) + bytes(2000),
    "fewer items than counted": w.info_data("disk", 1, 2)[:-1],
    "bytes behind the items": w.info_data("disk", 1, 2) + b"\0",
    "name of 4097": w.info_data("x" * 4097),
    "NUL in the name": w.info_data("a\0b"),
    "not UTF-8": w.info_data(b"\xff"),
    "a surrogate": w.info_data(b"\xed\xa0\x80"),
}


@pytest.mark.parametrize("case", INVALID_INFO)
def test_info_whose_lengths_or_name_are_wrong_is_invalid(case: str) -> None:
    """
    H19, H27, B2, B3, B37: each malformed INFO or GO is refused as a whole.
    """
    with pytest.raises(InvalidOption):
        options.info_request(INVALID_INFO[case])


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40), st.data())
@settings(derandomize=True)
def test_info_is_read_as_it_was_built(name: str, data: st.DataObject) -> None:
    """
    H27, H29: any name of UTF-8 and any list of items, in any order, repeats included.
    """
    items = data.draw(st.lists(st.integers(0, 65535), max_size=20))
    assert options.info_request(w.info_data(name, *items)) == InfoRequest(name, frozenset(items))


def test_longest_legal_info_is_taken() -> None:
    """
    H27, B4: a name of 4096 bytes and 65,535 items are legal.
    """
    name = "x" * 4096
    data = w.info_data(name, *[3] * 65535)
    assert len(data) == 135_172
    assert options.info_request(data) == InfoRequest(name, frozenset({3}))


INVALID_CONTEXTS = {
    "empty": b"",
    "shorter than 8": struct.pack(">I", 0) + b"\0\0\0",
    "name overruns": struct.pack(">I", 9) + b"disk" + bytes(4),
    "name takes the count": struct.pack(">I", 8) + b"disk" + bytes(4),
    "2^32 - 1 queries": struct.pack(">II", 0, 0xFFFFFFFF),
    "more queries than fit": struct.pack(">II", 0, 2) + bytes(7),
    "query overruns": struct.pack(">III", 0, 1, 5) + b"base",
    "query of 2^32 - 1": struct.pack(">III", 0, 1, 0xFFFFFFFF),
    "query of 4097": w.meta_data("disk", "x" * 4097),
    "name of 4097": w.meta_data("x" * 4097),
    "NUL in a query": w.meta_data("disk", "base:\0"),
    "NUL in the name": w.meta_data("\0", "base:"),
    "query not UTF-8": w.meta_data("disk", b"\xc3"),
    "bytes behind the queries": w.meta_data("disk", "base:") + b"\0",
    "bytes behind no queries": w.meta_data("disk") + b"x",
}


@pytest.mark.parametrize("case", INVALID_CONTEXTS)
def test_context_option_whose_lengths_or_texts_are_wrong_is_invalid(case: str) -> None:
    """
    M1, B17: each overrun, NUL, bad length and trailing byte is refused.
    """
    with pytest.raises(InvalidOption):
        options.context_request(INVALID_CONTEXTS[case])


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)))
@settings(derandomize=True)
def test_context_option_is_read_as_it_was_built(queries: list[str]) -> None:
    """
    M1, M6: queries of any text, empty and without a colon too.
    """
    data = w.meta_data("größe", *queries)
    assert options.context_request(data) == ContextRequest("größe", tuple(queries))


def test_too_many_queries_have_an_error_of_their_own() -> None:
    """
    M9: 1024 queries are looked at, 1025 are too many.
    """
    assert len(options.context_request(w.meta_data("", *["q"] * 1024)).queries) == 1024
    with pytest.raises(TooManyQueries):
        options.context_request(w.meta_data("", *["q"] * 1025))


@given(st.binary(max_size=80))
@settings(max_examples=500, derandomize=True)
def test_noise_is_read_or_refused(data: bytes) -> None:
    """
    B38: no bytes make a parser fail in another way than it says.
    """
    for parse in (options.info_request, options.context_request, options.export_name):
        try:
            parse(data)
        except (InvalidOption, TooManyQueries):
            pass


def test_error_text_is_cut_to_a_legal_string() -> None:
    """
    H12: at most 4096 bytes of whole characters without NUL; the length field says how many.
    """
    raw = options.error(w.GO, w.UNKNOWN, "\0" + "é" * 5000)
    magic, option, kind, length = struct.unpack_from(">QIII", raw)
    assert (magic, option, kind) == (w.REPLY_MAGIC, w.GO, w.UNKNOWN)
    assert length == len(raw) - 20 == 4096
    assert raw[20:].decode() == "é" * 2048
    odd = options.error(w.GO, w.UNKNOWN, "x" + "é" * 5000)
    assert odd[20:].decode() == "x" + "é" * 2047


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1b", "\x7f", "\u202e"])
def test_quoted_names_are_short_and_printable(character: str) -> None:
    """
    H13, B5: at most 80 characters of a name, control characters escaped.
    """
    shown = quoted("a" + character + "b" * 5000)
    assert shown.isprintable()
    assert len(shown) < 100
    assert quoted("disk") == '"disk"'


def test_info_replies_are_exact() -> None:
    """
    H36-H40: EXPORT, NAME, DESCRIPTION and BLOCK_SIZE, byte by byte.
    """
    info = ExportInfo(size=2**63 - 1, minimum_block=512, preferred_block=65536)
    raw = options.info_replies(w.GO, frozenset({0, 1, 2, 3, 77}), "näme", "text", info, 0x1FF)

    def reply(data: bytes) -> bytes:
        return struct.pack(">QIII", w.REPLY_MAGIC, w.GO, w.REP_INFO, len(data)) + data

    assert raw == (
        reply(struct.pack(">HQH", 0, 2**63 - 1, 0x1FF))
        + reply(b"\0\1" + "näme".encode())
        + reply(b"\0\2text")
        + reply(struct.pack(">HIII", 3, 512, 65536, 1 << 25))
    )


def test_info_without_requests_has_size_and_block_sizes() -> None:
    """
    H28, H38, H39: EXPORT and BLOCK_SIZE are sent unasked; no description, no DESCRIPTION.
    """
    info = ExportInfo(size=512)
    bare = options.info_replies(w.INFO, frozenset(), "n", "text", info, 1)
    assert len(bare) == 20 + 12 + 20 + 14
    assert options.info_replies(w.INFO, frozenset({2}), "n", "", info, 1) == bare


@pytest.mark.parametrize(
    ("minimum", "preferred", "shown"),
    [(1, 512, 512), (1, 4096, 4096), (65536, 512, 65536), (1, 1 << 26, 1 << 25)],
)
def test_block_sizes_keep_their_order(minimum: int, preferred: int, shown: int) -> None:
    """
    H40: minimum <= preferred >= 512, and preferred <= the maximum payload.
    """
    info = ExportInfo(size=0, minimum_block=minimum, preferred_block=preferred)
    raw = options.info_replies(w.GO, frozenset(), "", "", info, 1)
    assert struct.unpack(">HIII", raw[-14:]) == (3, minimum, shown, 1 << 25)


@pytest.mark.parametrize("prefix", ["", "x"])
def test_descriptions_are_cut_to_a_legal_string(prefix: str) -> None:
    """
    H24, H38: what the operator wrote is cut between characters at 4096 bytes.
    """
    text = prefix + "é" * 4000
    entry = options.server_reply("disk", text)[20 + 4 + 4 :]
    item = options.info_replies(w.GO, frozenset({2}), "", text, ExportInfo(size=0), 1)
    assert len(entry) <= 4096
    assert text.startswith(entry.decode("utf-8"))
    start = 20 + 12 + 20 + 2
    assert item[start : start + len(entry)] == entry


def test_server_and_context_replies_are_exact() -> None:
    """
    H24, M7: a name with its length and a description; a context with its id.
    """
    assert options.server_reply("a", "bc") == (
        struct.pack(">QIII", w.REPLY_MAGIC, w.LIST, w.SERVER, 7) + b"\0\0\0\1abc"
    )
    assert options.context_reply(w.SET_META, 17, "x:y") == (
        struct.pack(">QIII", w.REPLY_MAGIC, w.SET_META, w.META, 7) + b"\0\0\0\x11x:y"
    )
