"""
The handshake of one connection: bytes in, replies and events out, no I/O.

The embedder feeds bytes to `Handshake.receive_data`, sends what
`Handshake.data_to_send` returns, and acts on `Handshake.next_event`:

    ================  =====================================================
    ExportWanted      look the export up (open it) and answer with
                      `export_opened` or `export_refused`
    ListWanted        answer with `exports_listed`
    StartTLS          start TLS, then call `tls_established`
    TransmissionBegins  hand `Handshake.unparsed` to the transmission
    Drop              close at once; the text says why
    Close             close in order
    None              feed more bytes
    ================  =====================================================

State -> the method that reads in it:

    CLIENT_FLAGS -> _read_client_flags      four bytes
    OPTION       -> _read_option            header, then data whole or drained
    DRAINING     -> _drain                  data that nobody will parse
    WAITING      -> (nothing)               the embedder owes an answer
    FINISHED     -> (nothing)               transmission, or closed

Options are processed strictly in order; nothing is parsed while an answer is
owed. Whatever was agreed in clear text is forgotten when TLS starts
(CVE-2021-3716), and bytes that arrived behind STARTTLS are never looked at.

Source: proto.md, "Handshake phase"; rows H1-H42 and T1-T12 of the support matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.info import ExportInfo
from gateway.nbd import constants as c
from gateway.nbd import options
from gateway.nbd.contexts import Context, available, matching
from gateway.nbd.events import (
    Close,
    Drop,
    Event,
    ExportWanted,
    ListWanted,
    StartTLS,
    TransmissionBegins,
)
from gateway.nbd.limits import (
    MAX_CONTEXTS_LISTED,
    MAX_CONTEXTS_SELECTED,
    MAX_STRING,
    OPTION_DRAIN_MAX,
    OPTION_PARSE_MAX,
    Limits,
)
from gateway.nbd.strings import quoted
from gateway.nbd.terms import EXTENDED, SIMPLE, STRUCTURED, Terms, transmission_flags

TLS_OFF = "off"
TLS_ALLOW = "allow"
TLS_REQUIRE = "require"


#: Why an export was refused; each option says it in its own way.
UNKNOWN = "unknown"
NEEDS_TLS = "needs TLS"


@dataclass(frozen=True, slots=True)
class _Opened:
    """An export as the embedder answered it."""

    name: str
    description: str
    info: ExportInfo
    references: tuple[str, ...]


class _Violation(Exception):
    """The client left the protocol in a way that no reply can mend."""


class Handshake:
    """
    The server side of fixed newstyle negotiation.

    Args:
        tls: `TLS_OFF`, `TLS_ALLOW` (exports decide) or `TLS_REQUIRE`.
        limits: bounds on what the client may ask.
    """

    def __init__(self, tls: str = TLS_OFF, limits: Limits | None = None) -> None:
        self._tls = tls
        self._limits = limits or Limits()
        self._options_left = self._limits.max_options
        self._listed = 0
        self._input = bytearray()
        self._output = [options.GREETING]
        self._read: Callable[[], Event | None] | None = self._read_client_flags
        self._fixed = True
        self._no_zeroes = False
        self._secure = False
        self._shutting_down = False
        self._drain_left = 0
        self._drain_answer = b""
        self._answer: Callable[[_Opened | None, str, str], Event | None] | None = None
        self._pending: list[Event] = []
        self._forget()

    def _forget(self) -> None:
        """Drop all that was negotiated, as at the start of TLS."""
        self._framing = SIMPLE
        self._selection: tuple[str, tuple[Context, ...]] | None = None

    # What the embedder calls.

    @property
    def secure(self) -> bool:
        """Whether TLS is up."""
        return self._secure

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._input += data

    def data_to_send(self) -> bytes:
        """All reply bytes not handed out yet."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def next_event(self) -> Event | None:
        """
        Parse on and return what the embedder must act on; None when more
        bytes, or an answer already asked for, must come first.
        """
        while self._read is not None:
            if self._pending:
                return self._pending.pop()
            before = self._read, len(self._input)
            try:
                event = self._read()
            except _Violation as violation:
                return self._end(Drop(str(violation)))
            if event is not None:
                return event
            if (self._read, len(self._input)) == before:
                return None
        return self._pending.pop() if self._pending else None

    def unparsed(self) -> bytes:
        """The bytes behind the handshake; the transmission's first."""
        data = bytes(self._input)
        self._input.clear()
        return data

    def export_opened(
        self, name: str, description: str, info: ExportInfo, references: Iterable[str] = ()
    ) -> None:
        """
        Answer `ExportWanted`: it is open.

        Args:
            name: canonical, as `exports_listed` would say it.
            references: points in time since which its changes are known now.
        """
        self._answered(_Opened(name, description, info, tuple(references)), "", "")

    def export_refused(self, reason: str, text: str) -> None:
        """
        Answer `ExportWanted`: no.

        Args:
            reason: `UNKNOWN` or `NEEDS_TLS`.
            text: for the client's user.
        """
        self._answered(None, reason, text)

    def exports_listed(self, entries: Iterable[tuple[str, str]]) -> None:
        """
        Answer `ListWanted`.

        Args:
            entries: name and description of each export this client may see.
        """
        count = 0
        for name, description in entries:
            self._output.append(options.server_reply(name, description))
            count += 1
        # 32 more options for each export the first time; afterwards a LIST
        # costs what it returns, or listing again and again would never end.
        self._options_left += 32 * max(0, count - self._listed) - min(count, self._listed)
        self._listed = max(count, self._listed)
        self._reply(c.NBD_OPT_LIST, c.NBD_REP_ACK)
        self._read = self._read_option

    def tls_established(self) -> None:
        """Answer `StartTLS`: the handshake completed, client checks included."""
        self._secure = True
        self._forget()
        self._read = self._read_option

    def shut_down(self) -> None:
        """From now on every option but ABORT is answered with ERR_SHUTDOWN."""
        self._shutting_down = True

    # Reading.

    def _take(self, count: int) -> bytes:
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def _read_client_flags(self) -> Event | None:
        if len(self._input) < options.CLIENT_FLAGS.size:
            return None
        (flags,) = options.CLIENT_FLAGS.unpack(self._take(options.CLIENT_FLAGS.size))
        if flags & ~(c.NBD_FLAG_C_FIXED_NEWSTYLE | c.NBD_FLAG_C_NO_ZEROES):
            raise _Violation(f"unknown client flags 0x{flags:08x}")
        self._fixed = bool(flags & c.NBD_FLAG_C_FIXED_NEWSTYLE)
        self._no_zeroes = bool(flags & c.NBD_FLAG_C_NO_ZEROES)
        self._read = self._read_option
        return None

    def _read_option(self) -> Event | None:
        if len(self._input) < options.OPTION_HEADER.size:
            return None
        magic, option, length = options.OPTION_HEADER.unpack_from(self._input)
        if magic != c.IHAVEOPT:
            raise _Violation(f"option magic 0x{magic:016x}, expected 0x{c.IHAVEOPT:016x}")
        self._check_droppable(option, length)
        if option == c.NBD_OPT_SET_META_CONTEXT:
            # The earlier selection is gone even if this one fails.
            self._selection = None
        refusal = self._refusal(option, length)
        if refusal is not None:
            self._count_option()
            del self._input[: options.OPTION_HEADER.size]
            self._drain_left, self._drain_answer = length, refusal
            self._read = self._drain
            return None
        if len(self._input) < options.OPTION_HEADER.size + length:
            return None
        self._count_option()
        del self._input[: options.OPTION_HEADER.size]
        return _OPTIONS[option](self, self._take(length))

    def _count_option(self) -> None:
        self._options_left -= 1
        if self._options_left < 0:
            raise _Violation("too many options")

    def _check_droppable(self, option: int, length: int) -> None:
        """The cases where no reply exists or none is deserved."""
        name = c.OPTION_NAMES.get(option, f"option {option}")
        if length > OPTION_DRAIN_MAX:
            raise _Violation(f"{name} with {length} bytes of data")
        if option == c.NBD_OPT_EXPORT_NAME:
            if self._tls == TLS_REQUIRE and not self._secure:
                raise _Violation("EXPORT_NAME before TLS, which is required")
            if length > MAX_STRING:
                raise _Violation(f"EXPORT_NAME of {length} bytes")
            if self._framing == EXTENDED:
                raise _Violation("EXPORT_NAME after EXTENDED_HEADERS")
            if self._shutting_down:
                raise _Violation("EXPORT_NAME while shutting down")
        elif not self._fixed:
            raise _Violation(f"{name} from a client without fixed newstyle")

    def _refusal(self, option: int, length: int) -> bytes | None:
        """The reply to an option whose data nobody needs to see, or None."""
        if option == c.NBD_OPT_ABORT:
            return options.reply(option, c.NBD_REP_ACK)
        if self._shutting_down:
            return options.error(option, c.NBD_REP_ERR_SHUTDOWN, "the server is shutting down")
        if self._tls == TLS_REQUIRE and not self._secure and option != c.NBD_OPT_STARTTLS:
            return options.error(option, c.NBD_REP_ERR_TLS_REQD, "TLS is required: use STARTTLS")
        if option not in _OPTIONS:
            return options.error(option, c.NBD_REP_ERR_UNSUP, f"option {option} is not known")
        if length and option in _WITHOUT_DATA:
            return options.error(
                option,
                c.NBD_REP_ERR_INVALID,
                f"{c.OPTION_NAMES[option]} with {length} bytes of data, expected none",
            )
        if length > OPTION_PARSE_MAX:
            return options.error(
                option,
                c.NBD_REP_ERR_TOO_BIG,
                f"option data of {length} bytes, expected at most {OPTION_PARSE_MAX}",
            )
        return None

    def _drain(self) -> Event | None:
        count = min(self._drain_left, len(self._input))
        del self._input[:count]
        self._drain_left -= count
        if self._drain_left:
            return None
        self._output.append(self._drain_answer)
        if self._drain_answer == options.reply(c.NBD_OPT_ABORT, c.NBD_REP_ACK):
            return self._end(Close())
        self._read = self._read_option
        return None

    # Options, each with its data complete.

    def _export_name(self, data: bytes) -> Event | None:
        try:
            name = options.export_name(data)
        except options.InvalidOption as problem:
            raise _Violation(f"EXPORT_NAME: {problem}") from None

        def answer(opened: _Opened | None, reason: str, text: str) -> Event | None:
            if opened is None:
                return self._end(Drop(f"EXPORT_NAME {quoted(name)}: {text}"))
            terms = self._terms(opened)
            self._output.append(options.export_name_reply(terms.info, terms.flags, self._no_zeroes))
            return self._end(TransmissionBegins(opened.name, terms))

        return self._want(name, answer)

    def _list(self, data: bytes) -> Event | None:
        self._read = self._wait
        return ListWanted()

    def _starttls(self, data: bytes) -> Event | None:
        if self._secure:
            return self._error(c.NBD_OPT_STARTTLS, c.NBD_REP_ERR_INVALID, "TLS is already up")
        if self._tls == TLS_OFF or not self._fixed:
            return self._error(
                c.NBD_OPT_STARTTLS, c.NBD_REP_ERR_POLICY, "TLS is not configured here"
            )
        self._reply(c.NBD_OPT_STARTTLS, c.NBD_REP_ACK)
        if self._input:
            return self._end(Drop("bytes behind STARTTLS, before TLS was up"))
        self._read = self._wait
        return StartTLS()

    def _info(self, data: bytes) -> Event | None:
        return self._info_or_go(c.NBD_OPT_INFO, data)

    def _go(self, data: bytes) -> Event | None:
        return self._info_or_go(c.NBD_OPT_GO, data)

    def _info_or_go(self, option: int, data: bytes) -> Event | None:
        try:
            request = options.info_request(data)
        except options.InvalidOption as problem:
            return self._error(option, c.NBD_REP_ERR_INVALID, str(problem))

        def answer(opened: _Opened | None, reason: str, text: str) -> Event | None:
            if opened is None:
                # Where TLS cannot be had, nobody may be told to use it.
                needs_tls = reason == NEEDS_TLS and self._tls != TLS_OFF
                kind = c.NBD_REP_ERR_TLS_REQD if needs_tls else c.NBD_REP_ERR_UNKNOWN
                return self._error(option, kind, text)
            terms = self._terms(opened)
            self._output.append(
                options.info_replies(
                    option, request.items, opened.name, opened.description, terms.info, terms.flags
                )
            )
            self._reply(option, c.NBD_REP_ACK)
            if option == c.NBD_OPT_GO:
                return self._end(TransmissionBegins(opened.name, terms))
            return None

        return self._want(request.name, answer)

    def _structured_reply(self, data: bytes) -> Event | None:
        option = c.NBD_OPT_STRUCTURED_REPLY
        if self._framing == EXTENDED:
            return self._error(
                option, c.NBD_REP_ERR_EXT_HEADER_REQD, "extended headers are already agreed"
            )
        if self._framing == STRUCTURED:
            return self._error(
                option, c.NBD_REP_ERR_INVALID, "structured replies are already agreed"
            )
        self._framing = STRUCTURED
        return self._reply(option, c.NBD_REP_ACK)

    def _extended_headers(self, data: bytes) -> Event | None:
        option = c.NBD_OPT_EXTENDED_HEADERS
        if self._framing == EXTENDED:
            return self._error(option, c.NBD_REP_ERR_INVALID, "extended headers are already agreed")
        self._framing = EXTENDED
        return self._reply(option, c.NBD_REP_ACK)

    def _list_meta_context(self, data: bytes) -> Event | None:
        return self._meta_context(c.NBD_OPT_LIST_META_CONTEXT, data)

    def _set_meta_context(self, data: bytes) -> Event | None:
        if self._framing == SIMPLE:
            return self._error(
                c.NBD_OPT_SET_META_CONTEXT,
                c.NBD_REP_ERR_INVALID,
                "metadata contexts need structured replies or extended headers",
            )
        return self._meta_context(c.NBD_OPT_SET_META_CONTEXT, data)

    def _meta_context(self, option: int, data: bytes) -> Event | None:
        try:
            request = options.context_request(data)
        except options.InvalidOption as problem:
            return self._error(option, c.NBD_REP_ERR_INVALID, str(problem))
        except options.TooManyQueries as problem:
            return self._error(option, c.NBD_REP_ERR_TOO_BIG, str(problem))
        selecting = option == c.NBD_OPT_SET_META_CONTEXT

        def answer(opened: _Opened | None, reason: str, text: str) -> Event | None:
            if opened is None:
                # TLS_REQD is not among the errors of these options.
                return self._error(option, c.NBD_REP_ERR_UNKNOWN, text)
            found = available(opened.references)
            if selecting or request.queries:
                found = matching(request.queries, found, wildcards=not selecting)
            if not selecting:
                found = found[:MAX_CONTEXTS_LISTED]
            elif len(found) > MAX_CONTEXTS_SELECTED:
                return self._error(
                    option,
                    c.NBD_REP_ERR_TOO_BIG,
                    f"{len(found)} metadata contexts, expected at most {MAX_CONTEXTS_SELECTED}",
                )
            for context in found:
                shown = context.id if selecting else 0
                self._output.append(options.context_reply(option, shown, context.name))
            if selecting:
                self._selection = opened.name, found
            return self._reply(option, c.NBD_REP_ACK)

        return self._want(request.name, answer)

    # Small steps.

    def _want(self, name: str, answer: Callable[[_Opened | None, str, str], Event | None]) -> Event:
        self._answer = answer
        self._read = self._wait
        return ExportWanted(name)

    def _wait(self) -> Event | None:
        # A client may send on before it has its answer, but not without end.
        if len(self._input) > OPTION_PARSE_MAX + options.OPTION_HEADER.size:
            raise _Violation("too much sent before the answer to an option")
        return None

    def _answered(self, opened: _Opened | None, reason: str, text: str) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None, "no export was asked for"
        self._read = self._read_option
        event = answer(opened, reason, text)
        if event is not None:
            self._pending.append(event)

    def _terms(self, opened: _Opened) -> Terms:
        contexts: tuple[Context, ...] = ()
        if self._selection is not None and self._selection[0] == opened.name:
            contexts = self._selection[1]
        flags = transmission_flags(opened.info, self._framing, bool(contexts))
        return Terms(opened.info, self._framing, contexts, flags)

    def _reply(self, option: int, kind: int) -> Event | None:
        self._output.append(options.reply(option, kind))
        return None

    def _error(self, option: int, kind: int, text: str) -> Event | None:
        self._output.append(options.error(option, kind, text))
        return None

    def _end(self, event: Event) -> Event:
        self._read = None
        return event


_OPTIONS: dict[int, Callable[[Handshake, bytes], Event | None]] = {
    c.NBD_OPT_EXPORT_NAME: Handshake._export_name,
    c.NBD_OPT_LIST: Handshake._list,
    c.NBD_OPT_STARTTLS: Handshake._starttls,
    c.NBD_OPT_INFO: Handshake._info,
    c.NBD_OPT_GO: Handshake._go,
    c.NBD_OPT_STRUCTURED_REPLY: Handshake._structured_reply,
    c.NBD_OPT_EXTENDED_HEADERS: Handshake._extended_headers,
    c.NBD_OPT_LIST_META_CONTEXT: Handshake._list_meta_context,
    c.NBD_OPT_SET_META_CONTEXT: Handshake._set_meta_context,
}

_WITHOUT_DATA = {
    c.NBD_OPT_LIST,
    c.NBD_OPT_STARTTLS,
    c.NBD_OPT_STRUCTURED_REPLY,
    c.NBD_OPT_EXTENDED_HEADERS,
}
