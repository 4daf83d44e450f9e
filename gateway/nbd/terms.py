"""What a handshake agreed: the terms under which one connection transmits."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.info import ExportInfo
from gateway.nbd import constants as c
from gateway.nbd.contexts import Context

#: How replies are framed.
SIMPLE = "simple"
STRUCTURED = "structured"
EXTENDED = "extended"


@dataclass(frozen=True, slots=True)
class Terms:
    """
    Attributes:
        info: the export's facts.
        framing: `SIMPLE`, `STRUCTURED` or `EXTENDED`.
        contexts: metadata contexts selected for this export.
        flags: the transmission flags that were advertised.
    """

    info: ExportInfo
    framing: str
    contexts: tuple[Context, ...]
    flags: int


def transmission_flags(info: ExportInfo, framing: str, has_contexts: bool) -> int:
    """The flag word of an export; the only place where abilities become flags."""
    can = info.abilities
    flags = c.NBD_FLAG_HAS_FLAGS
    if info.rotational:
        flags |= c.NBD_FLAG_ROTATIONAL
    if can.flush:
        flags |= c.NBD_FLAG_SEND_FLUSH
    if can.fua:
        flags |= c.NBD_FLAG_SEND_FUA
    if can.cache:
        flags |= c.NBD_FLAG_SEND_CACHE
    if can.multi_conn:
        flags |= c.NBD_FLAG_CAN_MULTI_CONN
    if info.read_only:
        flags |= c.NBD_FLAG_READ_ONLY
    else:
        # Zeroes can always be written, so the command is always there.
        flags |= c.NBD_FLAG_SEND_WRITE_ZEROES
        if can.trim:
            flags |= c.NBD_FLAG_SEND_TRIM
        if can.fast_zero:
            flags |= c.NBD_FLAG_SEND_FAST_ZERO
    if framing != SIMPLE:
        flags |= c.NBD_FLAG_SEND_DF
    if framing == EXTENDED and has_contexts:
        flags |= c.NBD_FLAG_BLOCK_STATUS_PAYLOAD
    return flags
