"""
Option payloads: bytes from the client to values, values to reply bytes.

Pure functions; the order of options is the business of `gateway.nbd.handshake`.
Source: proto.md, "Option types" and "Option reply types".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.info import ExportInfo
from gateway.nbd import constants as c
from gateway.nbd.limits import MAX_PAYLOAD, MAX_QUERIES, MAX_STRING
from gateway.nbd.strings import quoted, utf8

GREETING = struct.pack(
    ">QQH", c.NBDMAGIC, c.IHAVEOPT, c.NBD_FLAG_FIXED_NEWSTYLE | c.NBD_FLAG_NO_ZEROES
)
CLIENT_FLAGS = struct.Struct(">I")
OPTION_HEADER = struct.Struct(">QII")
_REPLY_HEADER = struct.Struct(">QIII")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class InvalidOption(Exception):
    """Option data breaks the syntax; answered with ERR_INVALID."""


class TooManyQueries(Exception):
    """More queries than we look at; answered with ERR_TOO_BIG."""


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """INFO or GO: an export name and the information items asked for."""

    name: str
    items: frozenset[int]


@dataclass(frozen=True, slots=True)
class ContextRequest:
    """LIST_META_CONTEXT or SET_META_CONTEXT: an export name and queries."""

    name: str
    queries: tuple[str, ...]


def export_name(data: bytes) -> str:
    """
    Raises:
        InvalidOption: too long, not UTF-8, or with a NUL.
    """
    if len(data) > MAX_STRING:
        raise InvalidOption(f"name of {len(data)} bytes, expected at most {MAX_STRING}")
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidOption(f"name {quoted(repr(data))} is not UTF-8") from None
    if "\0" in name:
        raise InvalidOption(f"name {quoted(name)} holds a NUL")
    return name


def info_request(data: bytes) -> InfoRequest:
    """
    Raises:
        InvalidOption: lengths that do not add up, or a bad name.
    """
    reader = _Reader(data)
    name = export_name(reader.string())
    count = reader.number(_U16)
    items = frozenset(reader.number(_U16) for _ in range(count))
    reader.finish()
    return InfoRequest(name, items)


def context_request(data: bytes) -> ContextRequest:
    """
    Raises:
        InvalidOption: lengths that do not add up, or a bad name or query.
        TooManyQueries: well-formed as far as read, but too much.
    """
    reader = _Reader(data)
    name = export_name(reader.string())
    count = reader.number(_U32)
    if count * 4 > reader.remaining:
        raise InvalidOption(f"{count} queries do not fit in {reader.remaining} bytes")
    if count > MAX_QUERIES:
        raise TooManyQueries(f"{count} queries, expected at most {MAX_QUERIES}")
    queries = tuple(export_name(reader.string()) for _ in range(count))
    reader.finish()
    return ContextRequest(name, queries)


class _Reader:
    """A cursor over option data that never reads past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        return len(self._data) - self._position

    def number(self, form: struct.Struct) -> int:
        if self.remaining < form.size:
            raise InvalidOption(f"option data of {len(self._data)} bytes ends early")
        value: int = form.unpack_from(self._data, self._position)[0]
        self._position += form.size
        return value

    def string(self) -> bytes:
        length = self.number(_U32)
        if length > self.remaining:
            raise InvalidOption(f"string of {length} bytes in {self.remaining} bytes of data")
        start = self._position
        self._position += length
        return self._data[start : self._position]

    def finish(self) -> None:
        if self.remaining:
            raise InvalidOption(f"{self.remaining} bytes behind the last field")


def reply(option: int, kind: int, data: bytes = b"") -> bytes:
    """One option reply."""
    return _REPLY_HEADER.pack(c.REPLY_MAGIC, option, kind, len(data)) + data


def error(option: int, kind: int, text: str) -> bytes:
    """One error reply; the text is cut to the protocol's limit on strings."""
    return reply(option, kind, utf8(text.replace("\0", "")))


def server_reply(name: str, description: str) -> bytes:
    """One entry of the answer to LIST."""
    encoded = name.encode()
    data = _U32.pack(len(encoded)) + encoded + utf8(description)
    return reply(c.NBD_OPT_LIST, c.NBD_REP_SERVER, data)


def context_reply(option: int, context_id: int, name: str) -> bytes:
    """One metadata context."""
    return reply(option, c.NBD_REP_META_CONTEXT, _U32.pack(context_id) + name.encode())


def info_replies(
    option: int, items: frozenset[int], name: str, description: str, info: ExportInfo, flags: int
) -> bytes:
    """
    The information replies of a successful INFO or GO, without the ACK.

    EXPORT is mandatory. BLOCK_SIZE is sent unasked: the maximum payload is
    worth knowing even to a client that did not think of it.
    """

    def item(form: str, *values: int) -> bytes:
        return reply(option, c.NBD_REP_INFO, struct.pack(form, *values))

    parts = [item(">HQH", c.NBD_INFO_EXPORT, info.size, flags)]
    if c.NBD_INFO_NAME in items:
        data = _U16.pack(c.NBD_INFO_NAME) + name.encode()
        parts.append(reply(option, c.NBD_REP_INFO, data))
    if c.NBD_INFO_DESCRIPTION in items and description:
        data = _U16.pack(c.NBD_INFO_DESCRIPTION) + utf8(description)
        parts.append(reply(option, c.NBD_REP_INFO, data))
    preferred = min(max(info.preferred_block, info.minimum_block, 512), MAX_PAYLOAD)
    parts.append(item(">HIII", c.NBD_INFO_BLOCK_SIZE, info.minimum_block, preferred, MAX_PAYLOAD))
    return b"".join(parts)


def export_name_reply(info: ExportInfo, flags: int, no_zeroes: bool) -> bytes:
    """The bare answer to EXPORT_NAME: 10 bytes, or 134 for clients that want padding."""
    return struct.pack(">QH", info.size, flags) + (b"" if no_zeroes else bytes(124))
