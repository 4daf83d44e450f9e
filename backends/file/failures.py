"""How the file provider fails: what an `OSError` means to a client, and two kinds of its own."""

from __future__ import annotations

import errno
import os

from gateway.errors import NoSpace, ReadOnly, StorageError, Unavailable

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY})


def storage_error(error: OSError, request: str, provisioned: bool = False) -> StorageError:
    """
    The one place where error numbers become kinds.

    Args:
        error: what the system call answered.
        request: what was asked for, for the text.
        provisioned: space for the range was set aside: lack of it is then a
            fault of the store, not an answer the client must expect.
    """
    text = f"{request}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in NO_SPACE and not provisioned:
        return NoSpace(text)
    if error.errno == errno.EROFS:
        return ReadOnly(text)
    return Unavailable(text)


class SyncFailed(Exception):
    """Making changes durable failed: they may be lost, and earlier ones with them."""


class Refused(Exception):
    """
    The kernel has no way to zero this range, and did not touch what is left of it.

    Attributes:
        done: the run that was zeroed before: start, end, state as in
            `backends.zero_map`; empty if the refusal came first.
    """

    def __init__(self, start: int, reached: int, state: int) -> None:
        super().__init__(f"refused from byte {reached} on")
        self.done = (start, reached, state)
