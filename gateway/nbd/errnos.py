"""Storage failures as NBD error numbers: the only place that knows both."""

from __future__ import annotations

from gateway.errors import Closed, NoSpace, NotFast, ReadOnly, StorageError
from gateway.nbd import constants as c
from gateway.nbd.requests import Request

_CHANGES = (c.NBD_CMD_WRITE, c.NBD_CMD_TRIM, c.NBD_CMD_WRITE_ZEROES)
_STORES = (c.NBD_CMD_WRITE, c.NBD_CMD_WRITE_ZEROES)

#: What `gateway.traffic` calls the numbers.
WORDS = {
    c.NBD_EPERM: "not_permitted",
    c.NBD_EIO: "io",
    c.NBD_ENOMEM: "no_memory",
    c.NBD_EINVAL: "invalid",
    c.NBD_ENOSPC: "no_space",
    c.NBD_EOVERFLOW: "overflow",
    c.NBD_ENOTSUP: "not_supported",
    c.NBD_ESHUTDOWN: "shutting_down",
}


def to_nbd(error: BaseException, request: Request) -> tuple[int, str]:
    """
    The number and text that tell a client why ``request`` failed.

    What is not known to be the client's fault is an I/O error: "invalid
    argument" would blame the client for what storage did.
    """
    if isinstance(error, NotFast):
        if request.flags & c.NBD_CMD_FLAG_FAST_ZERO and request.type == c.NBD_CMD_WRITE_ZEROES:
            return c.NBD_ENOTSUP, "zeroing this range would not be faster than writing it"
        return c.NBD_EIO, "storage refused the request as not fast"
    if isinstance(error, ReadOnly):
        return c.NBD_EPERM if request.type in _CHANGES else c.NBD_EIO, _text(error, "read-only")
    if isinstance(error, NoSpace):
        return c.NBD_ENOSPC if request.type in _STORES else c.NBD_EIO, _text(error, "no space left")
    if isinstance(error, Closed):
        return c.NBD_ESHUTDOWN, _text(error, "the export is closed")
    if isinstance(error, MemoryError):
        return c.NBD_ENOMEM, "out of memory"
    if isinstance(error, StorageError):
        return c.NBD_EIO, _text(error, "input/output error")
    return c.NBD_EIO, "internal error, see the server's log"


def _text(error: BaseException, default: str) -> str:
    return str(error) or default
