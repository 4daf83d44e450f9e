"""
Client commands as values, and the one gate that judges each of them.

`rules` turns the terms of a connection into a table, once; `judge` looks a
request up in it. What passes is valid: nothing behind the gate checks again.
The order of the checks decides which error a request with several faults
gets; it follows section 2.3 of the support matrix.
"""

from __future__ import annotations

from gateway.nbd import constants as c
from gateway.nbd.limits import MAX_PAYLOAD
from gateway.nbd.terms import EXTENDED, Terms


class Request:
    """
    One client command.

    Attributes:
        type: ``NBD_CMD_...``.
        flags: ``NBD_CMD_FLAG_...``, ored.
        cookie: the client's number for it, any 64 bits.
        offset, length: bytes.
        payload: the data of a WRITE, else empty; a memoryview is lent by
            `gateway.nbd.payloads.PayloadMemory`.
        parts: the WRITE that this is a part of, if it came in parts.
        context_ids: the contexts a BLOCK_STATUS payload asks for; None means all.
        refusal: why the gate refused it, or None.
    """

    __slots__ = (
        "context_ids",
        "cookie",
        "flags",
        "length",
        "offset",
        "parts",
        "payload",
        "refusal",
        "type",
    )

    payload: bytes | memoryview
    context_ids: tuple[int, ...] | None
    parts: Parts | None

    def __init__(
        self,
        type: int,
        flags: int,
        cookie: int,
        offset: int,
        length: int,
        refusal: Refusal | None,
    ) -> None:
        self.type = type
        self.flags = flags
        self.cookie = cookie
        self.offset = offset
        self.length = length
        self.refusal = refusal
        self.payload = b""
        self.context_ids = None
        self.parts = None

    def __repr__(self) -> str:
        name = command_name(self.type)
        return f"<{name} flags=0x{self.flags:x} offset={self.offset} length={self.length}>"


class Refusal:
    """
    A request that goes no further.

    Attributes:
        errno: ``NBD_E...``.
        text: for people: what was refused, what was got, what was expected.
    """

    __slots__ = ("errno", "text")

    def __init__(self, errno: int, text: str) -> None:
        self.errno = errno
        self.text = text


class Parts:
    """
    One WRITE carried out as several, whose answers become one.

    Args:
        count: of the parts.

    Attributes:
        whole: the request to answer.
        refusal: what the first part that failed failed with.
    """

    __slots__ = ("_left", "refusal", "whole")

    def __init__(self, whole: Request, count: int) -> None:
        self.whole = whole
        self._left = count
        self.refusal: Refusal | None = None

    def answered(self, refusal: Refusal | None) -> bool:
        """One part is done; answers with whether all are."""
        self._left -= 1
        self.refusal = self.refusal or refusal
        return not self._left


class Rule:
    """
    What one command may look like on one connection.

    Attributes:
        name: as in the specification.
        refusal: set if the command is refused whatever it says.
        flags: those that may be set.
        beyond: the error for a range that ends behind the export.
        longest: bytes that one request may move.
    """

    __slots__ = ("beyond", "flags", "longest", "name", "refusal")

    def __init__(
        self, name: str, flags: int, beyond: int = c.NBD_EINVAL, longest: int = 1 << 64
    ) -> None:
        self.name = name
        self.refusal: Refusal | None = None
        self.flags = flags
        self.beyond = beyond
        self.longest = longest


def rules(terms: Terms) -> dict[int, Rule]:
    """The table that `judge` looks in, for one connection."""
    flags = terms.flags
    fua = c.NBD_CMD_FLAG_FUA if flags & c.NBD_FLAG_SEND_FUA else 0
    payload_len = c.NBD_CMD_FLAG_PAYLOAD_LEN if terms.framing == EXTENDED else 0
    status_payload = payload_len if flags & c.NBD_FLAG_BLOCK_STATUS_PAYLOAD else 0
    fast = c.NBD_CMD_FLAG_FAST_ZERO if flags & c.NBD_FLAG_SEND_FAST_ZERO else 0
    df = c.NBD_CMD_FLAG_DF if flags & c.NBD_FLAG_SEND_DF else 0
    # FUA means nothing on most commands, yet clients set it and must be let.
    table = {
        c.NBD_CMD_READ: Rule("READ", fua | df, longest=MAX_PAYLOAD),
        c.NBD_CMD_WRITE: Rule("WRITE", fua | payload_len, c.NBD_ENOSPC, MAX_PAYLOAD),
        c.NBD_CMD_FLUSH: Rule("FLUSH", fua),
        c.NBD_CMD_TRIM: Rule("TRIM", fua),
        c.NBD_CMD_CACHE: Rule("CACHE", fua),
        c.NBD_CMD_WRITE_ZEROES: Rule(
            "WRITE_ZEROES", fua | fast | c.NBD_CMD_FLAG_NO_HOLE, c.NBD_ENOSPC
        ),
        c.NBD_CMD_BLOCK_STATUS: Rule("BLOCK_STATUS", fua | c.NBD_CMD_FLAG_REQ_ONE | status_payload),
    }
    for command, bit in (
        (c.NBD_CMD_FLUSH, c.NBD_FLAG_SEND_FLUSH),
        (c.NBD_CMD_TRIM, c.NBD_FLAG_SEND_TRIM),
        (c.NBD_CMD_CACHE, c.NBD_FLAG_SEND_CACHE),
        (c.NBD_CMD_WRITE_ZEROES, c.NBD_FLAG_SEND_WRITE_ZEROES),
    ):
        if not flags & bit:
            rule = table[command]
            rule.refusal = Refusal(c.NBD_EINVAL, f"{rule.name} is not offered by this export")
    if not terms.contexts:
        table[c.NBD_CMD_BLOCK_STATUS].refusal = Refusal(
            c.NBD_EINVAL, "BLOCK_STATUS: no metadata context was negotiated for this export"
        )
    if terms.info.read_only:
        for command in (c.NBD_CMD_WRITE, c.NBD_CMD_TRIM, c.NBD_CMD_WRITE_ZEROES):
            rule = table[command]
            rule.refusal = Refusal(c.NBD_EPERM, f"{rule.name}: the export is read-only")
    return table


def judge(
    table: dict[int, Rule], terms: Terms, type: int, flags: int, offset: int, length: int
) -> Refusal | None:
    """
    Why a request is refused; None if it is valid.

    Args:
        table: from `rules`, for the same terms.
        offset, length: bytes, the range the command works on.
    """
    rule = table.get(type)
    if rule is None:
        return Refusal(c.NBD_EINVAL, f"{command_name(type)} is not known")
    if rule.refusal is not None:
        return rule.refusal
    if flags & ~rule.flags:
        return Refusal(
            c.NBD_EINVAL,
            f"{rule.name}: flags 0x{flags:x}, expected none but 0x{rule.flags:x}",
        )
    if type == c.NBD_CMD_FLUSH:
        if offset or length:
            return Refusal(
                c.NBD_EINVAL, f"FLUSH: offset {offset} and length {length}, expected 0 and 0"
            )
        return None
    info = terms.info
    if offset + length > info.size:
        return Refusal(
            rule.beyond,
            f"{rule.name}: offset {offset} + length {length} is beyond the end "
            f"(size {info.size} bytes)",
        )
    if info.minimum_block > 1 and (offset | length) & (info.minimum_block - 1):
        return Refusal(
            c.NBD_EINVAL,
            f"{rule.name}: offset {offset} and length {length}, "
            f"expected multiples of {info.minimum_block}",
        )
    if length > rule.longest:
        return Refusal(
            c.NBD_EOVERFLOW
            if type == c.NBD_CMD_READ and terms.framing == EXTENDED
            else c.NBD_EINVAL,
            f"{rule.name}: length {length}, expected at most {rule.longest} bytes",
        )
    if not length and type == c.NBD_CMD_BLOCK_STATUS:
        return Refusal(c.NBD_EINVAL, "BLOCK_STATUS: length 0, expected at least 1 byte")
    return None


def command_name(type: int) -> str:
    """A command for people."""
    return c.COMMAND_NAMES.get(type, f"command {type}")
