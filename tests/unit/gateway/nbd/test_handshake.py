"""The handshake core, option by option, whole and byte by byte."""

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
from gateway.nbd.limits import Limits
from tests import wire_format as w

FLAGS = struct.pack(">I", 3)
INFO = ExportInfo(size=1 << 20)


class Embedder:
    """Does what a server does around the core, and keeps all that it saw."""

    def __init__(self, tls: str = hs.TLS_OFF, limits: Limits | None = None) -> None:
        self.core = hs.Handshake(tls, limits)
        self.output = b""
        self.events: list[object] = []
        self.known = {"": "disk", "disk": "disk", "other": "other"}
        self.references: list[str] = []
        self.run()

    @property
    def over(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], (Drop, Close, TransmissionBegins))

    def feed(self, data: bytes, step: int | None = None) -> Embedder:
        for start in range(0, len(data), step or max(len(data), 1)):
            if self.over:
                break
            self.core.receive_data(data[start : start + (step or len(data))])
            self.run()
        return self

    def run(self) -> None:
        while True:
            event = self.core.next_event()
            self.output += self.core.data_to_send()
            if event is None:
                return
            self.events.append(event)
            if isinstance(event, ExportWanted):
                if event.name == "secret" and not self.core.secure:
                    self.core.export_refused(hs.NEEDS_TLS, "needs TLS")
                elif event.name in self.known:
                    self.core.export_opened(self.known[event.name], "a disk", INFO, self.references)
                else:
                    self.core.export_refused(hs.UNKNOWN, "no such export")
            elif isinstance(event, ListWanted):
                self.core.exports_listed([("disk", "a disk"), ("other", "")])
            elif isinstance(event, StartTLS):
                self.core.tls_established()
            else:
                return

    def replies(self) -> list[tuple[int, int, bytes]]:
        """All option replies so far: option, type, data."""
        found, position = [], 18
        while position < len(self.output):
            magic, option, kind, length = struct.unpack_from(">QIII", self.output, position)
            assert magic == w.REPLY_MAGIC
            found.append((option, kind, self.output[position + 20 : position + 20 + length]))
            position += 20 + length
        assert position == len(self.output)
        return found

    def finals(self) -> list[tuple[int, int]]:
        """The last reply of each option."""
        return [
            (option, kind) for option, kind, _ in self.replies() if kind == w.ACK or kind & w.ERR
        ]


#: Whole conversations behind the client flags, and what must come of them.
CONVERSATIONS = {
    "go": (w.option(w.GO, w.info_data("disk", 0, 1, 2, 3)), [(w.GO, w.ACK)]),
    "go to the default": (w.option(w.GO, w.info_data("")), [(w.GO, w.ACK)]),
    "go to nothing, then to something": (
        w.option(w.GO, w.info_data("nothing")) + w.option(w.GO, w.info_data("other")),
        [(w.GO, w.UNKNOWN), (w.GO, w.ACK)],
    ),
    "list twice, abort": (
        w.option(w.LIST) * 2 + w.option(w.ABORT, b"bye"),
        [(w.LIST, w.ACK), (w.LIST, w.ACK), (w.ABORT, w.ACK)],
    ),
    "unknown option with data, list": (
        w.option(4, bytes(100)) + w.option(0x7654321, b"x") + w.option(0) + w.option(w.LIST),
        [(4, w.UNSUP), (0x7654321, w.UNSUP), (0, w.UNSUP), (w.LIST, w.ACK)],
    ),
    "list with data, list": (
        w.option(w.LIST, b"data") + w.option(w.LIST),
        [(w.LIST, w.INVALID), (w.LIST, w.ACK)],
    ),
    "structured twice, extended, structured": (
        w.option(w.STRUCTURED_REPLY) * 2
        + w.option(w.EXTENDED_HEADERS) * 2
        + w.option(w.STRUCTURED_REPLY),
        [
            (w.STRUCTURED_REPLY, w.ACK),
            (w.STRUCTURED_REPLY, w.INVALID),
            (w.EXTENDED_HEADERS, w.ACK),
            (w.EXTENDED_HEADERS, w.INVALID),
            (w.STRUCTURED_REPLY, w.EXT_HEADER_REQD),
        ],
    ),
    "set context, go": (
        w.option(w.STRUCTURED_REPLY)
        + w.option(w.SET_META, w.meta_data("disk", "base:allocation", "nonsense"))
        + w.option(w.GO, w.info_data("disk")),
        [(w.STRUCTURED_REPLY, w.ACK), (w.SET_META, w.ACK), (w.GO, w.ACK)],
    ),
    "oversize option, list": (
        w.option(w.SET_META, bytes((1 << 20) + 1)) + w.option(w.LIST),
        [(w.SET_META, w.TOO_BIG), (w.LIST, w.ACK)],
    ),
    "wrong magic": (b"IHAVENOT" + bytes(8), []),
    "option above the limit": (w.option(w.LIST, length=(32 << 20) + 1), []),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("step", [None, 1])
def test_conversation_has_its_answers_however_it_arrives(name: str, step: int | None) -> None:
    """
    H8, H10, H11, H14, H15: each option is answered in order, whole or byte by byte.
    """
    data, answers = CONVERSATIONS[name]
    if step and len(data) > 10000:
        step = 4096 + 1
    embedder = Embedder().feed(FLAGS + data, step)
    assert embedder.finals() == answers


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_fragmentation_gives_the_same_bytes(data: st.DataObject) -> None:
    """
    H8: where segments are cut changes neither replies nor events.
    """
    names = data.draw(st.lists(st.sampled_from(sorted(CONVERSATIONS)), min_size=1, max_size=4))
    stream = FLAGS + b"".join(CONVERSATIONS[name][0] for name in names)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    whole = Embedder().feed(stream)
    cut = Embedder()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        cut.feed(stream[start:end])
    assert cut.output == whole.output
    assert cut.events == whole.events


def test_greeting_comes_first_and_at_once() -> None:
    """
    H1: 18 bytes before the client has said anything: fixed newstyle, no zeroes, nothing else.
    """
    assert hs.Handshake().data_to_send() == b"NBDMAGICIHAVEOPT\0\3"


@pytest.mark.parametrize("flags", [4, 7, 1 << 31, 0xFFFFFFFF])
def test_unknown_client_flags_drop(flags: int) -> None:
    """
    H2: a flag the server did not offer ends the connection.
    """
    embedder = Embedder().feed(struct.pack(">I", flags))
    assert [type(event) for event in embedder.events] == [Drop]
    assert len(embedder.output) == 18


@pytest.mark.parametrize("number", [w.LIST, w.GO, w.ABORT, w.STARTTLS, w.STRUCTURED_REPLY, 99])
@pytest.mark.parametrize("tls", [hs.TLS_OFF, hs.TLS_ALLOW, hs.TLS_REQUIRE])
@pytest.mark.parametrize("flags", [0, 2])
def test_client_without_fixed_newstyle_has_only_export_name(
    number: int, tls: str, flags: int
) -> None:
    """
    H4, H5: any other option of such a client ends the connection, in every TLS mode.
    """
    embedder = Embedder(tls).feed(struct.pack(">I", flags) + w.option(number))
    assert [type(event) for event in embedder.events] == [Drop]
    assert len(embedder.output) == 18


@pytest.mark.parametrize(("flags", "length"), [(0, 134), (1, 134), (2, 10), (3, 10)])
def test_export_name_is_padded_unless_told_not_to(flags: int, length: int) -> None:
    """
    H3, H20, B18: 10 bytes with NO_ZEROES, else exactly 134, and no option reply header.
    """
    embedder = Embedder().feed(struct.pack(">I", flags) + w.option(w.EXPORT_NAME, b"disk"))
    answer = embedder.output[18:]
    assert len(answer) == length
    assert answer[:8] == (1 << 20).to_bytes(8, "big")
    assert not any(answer[10:])
    assert isinstance(embedder.events[-1], TransmissionBegins)


@pytest.mark.parametrize(
    "name", [b"nothing", b"secret", b"a\0b", b"\xff\xfe", b"x" * 4097], ids=repr
)
def test_export_name_that_cannot_be_had_drops(name: bytes) -> None:
    """
    H19, H20, T3: EXPORT_NAME has no error reply; the connection ends.
    """
    embedder = Embedder(hs.TLS_ALLOW).feed(FLAGS + w.option(w.EXPORT_NAME, name))
    assert isinstance(embedder.events[-1], Drop)
    assert len(embedder.output) == 18


def test_export_name_after_extended_headers_drops() -> None:
    """
    H21: EXPORT_NAME is forbidden once extended headers were agreed.
    """
    embedder = Embedder().feed(
        FLAGS + w.option(w.EXTENDED_HEADERS) + w.option(w.EXPORT_NAME, b"disk")
    )
    assert isinstance(embedder.events[-1], Drop)
    assert embedder.finals() == [(w.EXTENDED_HEADERS, w.ACK)]


def test_export_name_keeps_what_was_negotiated() -> None:
    """
    H22: structured replies and contexts agreed before EXPORT_NAME hold after it.
    """
    embedder = Embedder().feed(
        FLAGS
        + w.option(w.STRUCTURED_REPLY)
        + w.option(w.SET_META, w.meta_data("disk", "base:allocation"))
        + w.option(w.EXPORT_NAME, b"disk")
    )
    begun = embedder.events[-1]
    assert isinstance(begun, TransmissionBegins)
    assert begun.terms.framing == "structured"
    assert [context.name for context in begun.terms.contexts] == ["base:allocation"]


def test_what_follows_go_is_the_transmissions() -> None:
    """
    H15: bytes behind GO are kept, untouched, for what comes next.
    """
    embedder = Embedder().feed(FLAGS + w.option(w.GO, w.info_data("disk")) + w.compact(w.FLUSH))
    assert embedder.core.unparsed() == w.compact(w.FLUSH)
    assert embedder.core.unparsed() == b""


def test_too_many_options_drop() -> None:
    """
    H9: the 65th option of a client that lists nothing ends the connection.
    """
    embedder = Embedder().feed(FLAGS + w.option(99) * 64)
    assert not embedder.over
    embedder.feed(w.option(99))
    assert isinstance(embedder.events[-1], Drop)
    assert len(embedder.finals()) == 64


def test_listing_allows_more_options_once() -> None:
    """
    H9: LIST pays for 32 more options per export, but not again and again.
    """
    embedder = Embedder().feed(FLAGS + w.option(w.LIST) + w.option(99) * (63 + 64))
    assert not embedder.over
    embedder.feed(w.option(99))
    assert isinstance(embedder.events[-1], Drop)
    endless = Embedder()
    endless.feed(FLAGS + w.option(w.LIST) * 1000)
    assert isinstance(endless.events[-1], Drop)


def test_option_data_is_not_gathered_while_an_answer_is_owed() -> None:
    """
    C14, B6: what a client sends while its export is being opened is bounded.
    """
    core = hs.Handshake()
    core.receive_data(FLAGS + w.option(w.GO, w.info_data("disk")))
    assert isinstance(core.next_event(), ExportWanted)
    fed = 0
    while core.next_event() is None:
        core.receive_data(bytes(65536))
        fed += 65536
        assert fed < 8 << 20, "no limit"
    assert fed > 1 << 20, "a client in a hurry is not an attack"


def test_shutting_down_refuses_all_but_abort() -> None:
    """
    H17: ERR_SHUTDOWN for every option, known or not; ABORT gets its ACK.
    """
    embedder = Embedder()
    embedder.feed(FLAGS)
    embedder.core.shut_down()
    numbers = [w.LIST, w.INFO, w.GO, w.STRUCTURED_REPLY, w.SET_META, w.STARTTLS, 99]
    embedder.feed(b"".join(w.option(number, b"data") for number in numbers))
    assert embedder.finals() == [(number, w.SHUTDOWN) for number in numbers]
    embedder.feed(w.option(w.ABORT))
    assert embedder.finals()[-1] == (w.ABORT, w.ACK)
    assert isinstance(embedder.events[-1], Close)


def test_shutting_down_drops_export_name() -> None:
    """
    H17, H20: EXPORT_NAME cannot be told that the server is going.
    """
    embedder = Embedder()
    embedder.core.shut_down()
    embedder.feed(FLAGS + w.option(w.EXPORT_NAME, b"disk"))
    assert isinstance(embedder.events[-1], Drop)


@pytest.mark.parametrize("number", [w.INFO, w.GO])
@pytest.mark.parametrize(("tls", "error"), [(hs.TLS_OFF, w.UNKNOWN), (hs.TLS_ALLOW, w.TLS_REQD)])
def test_tls_is_never_required_where_there_is_none(number: int, tls: str, error: int) -> None:
    """
    T1, T3: an export that needs TLS says TLS_REQD only if TLS can be had.
    """
    embedder = Embedder(tls).feed(FLAGS + w.option(number, w.info_data("secret")))
    assert embedder.finals() == [(number, error)]


@pytest.mark.parametrize("number", [w.LIST_META, w.SET_META])
def test_contexts_of_an_export_that_needs_tls_are_unknown(number: int) -> None:
    """
    T4: TLS_REQD is not an error of the metadata options.
    """
    embedder = Embedder(hs.TLS_ALLOW).feed(
        FLAGS + w.option(w.STRUCTURED_REPLY) + w.option(number, w.meta_data("secret"))
    )
    assert embedder.finals()[-1] == (number, w.UNKNOWN)


def test_starttls_with_bytes_behind_it_drops_after_the_ack() -> None:
    """
    T8, B11: plaintext behind STARTTLS reaches nobody; the ACK is the last word.
    """
    embedder = Embedder(hs.TLS_ALLOW).feed(FLAGS + w.option(w.STARTTLS) + w.option(w.LIST))
    assert embedder.finals() == [(w.STARTTLS, w.ACK)]
    assert [type(event) for event in embedder.events] == [Drop]


def test_tls_forgets_all_that_was_agreed_in_clear() -> None:
    """
    T8, T9, T10: framing and contexts are gone, and may be agreed anew; client flags stay.
    """
    embedder = Embedder(hs.TLS_ALLOW)
    embedder.feed(
        FLAGS
        + w.option(w.STRUCTURED_REPLY)
        + w.option(w.SET_META, w.meta_data("disk", "base:allocation"))
    )
    embedder.feed(w.option(w.STARTTLS))
    assert embedder.core.secure
    embedder.feed(w.option(w.SET_META, w.meta_data("disk", "base:allocation")))
    assert embedder.finals()[-1] == (w.SET_META, w.INVALID)
    embedder.feed(w.option(w.STRUCTURED_REPLY))
    assert embedder.finals()[-1] == (w.STRUCTURED_REPLY, w.ACK)
    embedder.feed(w.option(w.EXPORT_NAME, b"disk"))
    begun = embedder.events[-1]
    assert isinstance(begun, TransmissionBegins)
    assert begun.terms.contexts == ()
    assert embedder.output.endswith(struct.pack(">QH", 1 << 20, begun.terms.flags))


def test_abort_is_answered_with_data_drained() -> None:
    """
    H23: ABORT's data is ignored, its ACK sent, and the connection closed in order.
    """
    embedder = Embedder().feed(FLAGS + w.option(w.ABORT, bytes(70000)), 999)
    assert embedder.finals() == [(w.ABORT, w.ACK)]
    assert [type(event) for event in embedder.events] == [Close]


def test_references_are_asked_for_with_each_option() -> None:
    """
    M4, M5, M24: what an export can be compared with may change while a client negotiates.
    """
    embedder = Embedder().feed(FLAGS + w.option(w.EXTENDED_HEADERS))
    query = w.meta_data("disk", "qemu:dirty-bitmap:monday")
    embedder.feed(w.option(w.SET_META, query))
    embedder.references = ["sunday", "monday"]
    embedder.feed(w.option(w.SET_META, query))
    embedder.references = []
    embedder.feed(w.option(w.LIST_META, query) + w.option(w.GO, w.info_data("disk")))
    contexts = [data for _, kind, data in embedder.replies() if kind == w.META]
    assert contexts == [struct.pack(">I", 22) + b"qemu:dirty-bitmap:monday"]
    begins = embedder.events[-1]
    assert isinstance(begins, TransmissionBegins)
    assert [context.reference for context in begins.terms.contexts] == ["monday"]
