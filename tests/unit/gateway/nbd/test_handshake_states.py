"""Every option in every state of a handshake, and noise in all of them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.info import ExportInfo
from gateway.nbd import handshake as hs
from gateway.nbd.events import (
    Close,
    Drop,
    ExportWanted,
    ListWanted,
    StartTLS,
    TransmissionBegins,
)
from tests import wire_format as w

FLAGS = struct.pack(">I", 3)
INFO = ExportInfo(size=1 << 20)
SET = w.meta_data("disk", "base:allocation")

#: Option to good data for it.
OPTIONS = {
    "EXPORT_NAME": w.option(w.EXPORT_NAME, b"disk"),
    "ABORT": w.option(w.ABORT),
    "LIST": w.option(w.LIST),
    "STARTTLS": w.option(w.STARTTLS),
    "INFO": w.option(w.INFO, w.info_data("disk")),
    "GO": w.option(w.GO, w.info_data("disk")),
    "STRUCTURED_REPLY": w.option(w.STRUCTURED_REPLY),
    "LIST_META": w.option(w.LIST_META, w.meta_data("disk")),
    "SET_META": w.option(w.SET_META, SET),
    "EXTENDED_HEADERS": w.option(w.EXTENDED_HEADERS),
    "unknown": w.option(99, b"data"),
}
DROP, TLS, GOES = "drop", "ack, then TLS", "transmission"
_UP = {
    "EXPORT_NAME": GOES,
    "ABORT": w.ACK,
    "LIST": w.ACK,
    "STARTTLS": w.POLICY,
    "INFO": w.ACK,
    "GO": GOES,
    "STRUCTURED_REPLY": w.ACK,
    "LIST_META": w.ACK,
    "SET_META": w.INVALID,
    "EXTENDED_HEADERS": w.ACK,
    "unknown": w.UNSUP,
}
_STRUCTURED = _UP | {"STRUCTURED_REPLY": w.INVALID, "SET_META": w.ACK}
_EXTENDED = _UP | {
    "EXPORT_NAME": DROP,
    "STRUCTURED_REPLY": w.EXT_HEADER_REQD,
    "EXTENDED_HEADERS": w.INVALID,
    "SET_META": w.ACK,
}
_FORCED = dict.fromkeys(OPTIONS, w.TLS_REQD) | {
    "EXPORT_NAME": DROP,
    "ABORT": w.ACK,
    "STARTTLS": TLS,
}
_GOING = dict.fromkeys(OPTIONS, w.SHUTDOWN) | {"EXPORT_NAME": DROP, "ABORT": w.ACK}
#: State -> option -> answer. H17, H21, H33, H35, T1, T2, T5, M3.
TABLE = {
    "plain": _UP,
    "structured": _STRUCTURED,
    "extended": _EXTENDED,
    "TLS possible": _UP | {"STARTTLS": TLS},
    "TLS possible, structured": _STRUCTURED | {"STARTTLS": TLS},
    "TLS required": _FORCED,
    "in TLS": _UP | {"STARTTLS": w.INVALID},
    "in TLS, extended": _EXTENDED | {"STARTTLS": w.INVALID},
    "shutting down": _GOING,
    "shutting down, TLS required": _GOING,
    "no fixed newstyle": dict.fromkeys(OPTIONS, DROP) | {"EXPORT_NAME": GOES},
}


def in_state(state: str) -> hs.Handshake:
    """A handshake that has come to a state."""
    tls = hs.TLS_REQUIRE if "required" in state or "in TLS" in state else hs.TLS_OFF
    core = hs.Handshake(hs.TLS_ALLOW if "possible" in state else tls)
    core.receive_data(struct.pack(">I", 0) if state == "no fixed newstyle" else FLAGS)
    assert core.next_event() is None
    if "in TLS" in state:
        core.receive_data(OPTIONS["STARTTLS"])
        assert core.next_event() == StartTLS()
        core.tls_established()
    if "structured" in state:
        core.receive_data(OPTIONS["STRUCTURED_REPLY"])
    if "extended" in state:
        core.receive_data(OPTIONS["EXTENDED_HEADERS"])
    assert core.next_event() is None
    if "shutting" in state:
        core.shut_down()
    core.data_to_send()
    return core


def answer(core: hs.Handshake, data: bytes) -> object:
    """What one option comes to: the type of its last reply, or how it ends."""
    core.receive_data(data)
    while (event := core.next_event()) is not None:
        if isinstance(event, ExportWanted):
            core.export_opened("disk", "", INFO)
        elif isinstance(event, ListWanted):
            core.exports_listed([])
        elif isinstance(event, TransmissionBegins):
            return GOES
        elif isinstance(event, Drop):
            assert core.data_to_send() == b""
            return DROP
        elif isinstance(event, StartTLS):
            assert core.data_to_send() == struct.pack(">QIII", w.REPLY_MAGIC, w.STARTTLS, 1, 0)
            return TLS
        else:
            assert event == Close()
            break
    output = core.data_to_send()
    position = kind = 0
    while position < len(output):
        magic, number, kind, length = struct.unpack_from(">QIII", output, position)
        assert (magic, number) == (w.REPLY_MAGIC, int.from_bytes(data[8:12], "big"))
        position += 20 + length
    assert position == len(output)
    return kind


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("state", TABLE)
def test_every_option_in_every_state(state: str, option: str, step: int | None) -> None:
    """
    H4, H10, H16, H17, H21, H33, H35, T1, T2, T5, M3: the table, whole and byte by byte.
    """
    core = in_state(state)
    data = OPTIONS[option]
    if step:
        core.receive_data(data[:-1])
        partly = core.next_event()
        if partly is not None:
            assert isinstance(partly, Drop)
            assert TABLE[state][option] == DROP
            return
        assert core.data_to_send() == b""
        core.receive_data(data[-1:])
        assert _finish(core, data) == TABLE[state][option]
        return
    assert answer(core, data) == TABLE[state][option]


def _finish(core: hs.Handshake, data: bytes) -> object:
    """`answer` for data that was fed already."""

    class Fed:
        def __getattr__(self, name: str) -> object:
            return getattr(core, name)

        def receive_data(self, data: bytes) -> None:
            pass

    return answer(Fed(), data)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("owed", ["INFO", "LIST", "SET_META", "STARTTLS"])
def test_nothing_is_parsed_while_an_answer_is_owed(owed: str, option: str) -> None:
    """
    H15: an option that comes while another waits for the embedder is read after it, not before.
    """
    if owed == "STARTTLS":
        core = in_state("TLS possible")
        core.receive_data(OPTIONS[owed])
        assert core.next_event() == StartTLS()
        assert core.next_event() is None
        return
    core = in_state("structured")
    core.receive_data(OPTIONS[owed])
    assert core.next_event() is not None
    core.receive_data(OPTIONS[option])
    assert core.next_event() is None
    assert core.data_to_send() == b""
    if owed == "LIST":
        core.exports_listed([])
    else:
        core.export_opened("disk", "", INFO)
    first = core.data_to_send()
    assert int.from_bytes(first[8:12], "big") == int.from_bytes(OPTIONS[owed][8:12], "big")
    assert _finish(core, OPTIONS[option]) == TABLE["structured"][option]


_numbers = st.sampled_from([*range(13), 99, 0xFFFFFFFF])
_junk = st.one_of(
    st.binary(max_size=60),
    st.builds(w.info_data, st.binary(max_size=9) | st.just("disk"), *[st.integers(0, 65535)] * 2),
    st.builds(w.meta_data, st.just("disk"), st.sampled_from(["base:", "base:allocation", "x", ""])),
)
_lies = st.one_of(st.none(), st.integers(0, 80), st.sampled_from([1 << 20, 1 << 25, 0xFFFFFFFF]))
_stream = st.lists(
    st.builds(w.option, _numbers, _junk, _lies) | st.binary(max_size=20), max_size=12
)


@given(
    st.sampled_from(["plain", "structured", "extended", "TLS possible", "TLS required", "in TLS"]),
    _stream,
    st.integers(1, 64),
)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_noise_ends_in_replies_or_a_drop(state: str, stream: list[bytes], step: int) -> None:
    """
    B7, B38: whatever arrives, no exception leaves the core, replies stay well-formed and short.
    """
    core = in_state(state)
    data = b"".join(stream)
    output = b""
    for start in range(0, len(data), step):
        core.receive_data(data[start : start + step])
        while (event := core.next_event()) is not None:
            output += core.data_to_send()
            if isinstance(event, ExportWanted):
                assert len(event.name.encode()) <= 4096
                if event.name == "disk":
                    core.export_opened("disk", "", INFO)
                else:
                    core.export_refused(hs.UNKNOWN, "no")
            elif isinstance(event, ListWanted):
                core.exports_listed([("disk", "")])
            elif isinstance(event, StartTLS):
                core.tls_established()
            else:
                assert isinstance(event, (Drop, Close, TransmissionBegins))
                return
        output += core.data_to_send()
    assert len(output) <= 64 * 600
