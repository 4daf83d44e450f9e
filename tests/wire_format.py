"""
NBD as bytes, from the specification: numbers, options and requests.

Shares nothing with the server, not even its constants.
"""

from __future__ import annotations

import struct

MAGIC, IHAVEOPT, REPLY_MAGIC = 0x4E42444D41474943, 0x49484156454F5054, 0x0003E889045565A9
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY = 1, 2, 3, 5, 6, 7, 8
LIST_META, SET_META, EXTENDED_HEADERS = 9, 10, 11
ACK, SERVER, REP_INFO, META = 1, 2, 3, 4
ERR = 1 << 31
UNSUP, POLICY, INVALID, PLATFORM, TLS_REQD = ERR + 1, ERR + 2, ERR + 3, ERR + 4, ERR + 5
UNKNOWN, SHUTDOWN, BLOCK_SIZE_REQD, TOO_BIG = ERR + 6, ERR + 7, ERR + 8, ERR + 9
EXT_HEADER_REQD = ERR + 10

READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, RESIZE = range(9)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
COMPACT_MAGIC, EXTENDED_MAGIC = 0x25609513, 0x21E41C71
SIMPLE_REPLY, STRUCTURED_CHUNK, EXTENDED_CHUNK = 0x67446698, 0x668E33EF, 0x6E8A278C
NONE, OFFSET_DATA, OFFSET_HOLE, STATUS, STATUS_EXT = 0, 1, 2, 5, 6
ERROR, ERROR_OFFSET = 0x8001, 0x8002
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 5, 12, 22, 28, 75, 95
ESHUTDOWN = 108
ERRORS = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN}

FRAMINGS = ("simple", "structured", "extended")
#: Seconds. How long a test waits for bytes before it gives up.
PATIENCE = 60.0


class EndOfStream(Exception):
    """The server has closed the connection; ``args[0]`` holds the bytes before that."""


class NothingMore(Exception):
    """The server is silent: the bytes waited for will not come."""


def info_data(name: str | bytes, *items: int) -> bytes:
    """The data of INFO and GO."""
    raw = name.encode() if isinstance(name, str) else name
    form = f">I{len(raw)}sH{len(items)}H"
    return struct.pack(form, len(raw), raw, len(items), *items)


def meta_data(name: str | bytes, *queries: str | bytes) -> bytes:
    """The data of LIST_META_CONTEXT and SET_META_CONTEXT."""
    texts = [text.encode() if isinstance(text, str) else text for text in (name, *queries)]
    parts = [struct.pack(">I", len(text)) + text for text in texts]
    return parts[0] + struct.pack(">I", len(queries)) + b"".join(parts[1:])


def option(number: int, data: bytes = b"", length: int | None = None) -> bytes:
    """An option as bytes; a ``length`` makes it lie."""
    return struct.pack(">QII", IHAVEOPT, number, len(data) if length is None else length) + data


def compact(
    type: int, offset: int = 0, length: int = 0, flags: int = 0, cookie: int = 0, data: bytes = b""
) -> bytes:
    """A request with a compact header."""
    return struct.pack(">IHHQQI", COMPACT_MAGIC, flags, type, cookie, offset, length) + data


def extended(
    type: int, offset: int = 0, length: int = 0, flags: int = 0, cookie: int = 0, data: bytes = b""
) -> bytes:
    """A request with an extended header; ``flags`` are taken as they are."""
    return struct.pack(">IHHQQQ", EXTENDED_MAGIC, flags, type, cookie, offset, length) + data
