"""What an `OSError` means to those who use a directory as a store."""

from __future__ import annotations

import errno
import os

from backends.objects.contract import Refused, StoreError, Transient

#: May be otherwise in a moment: the machine is short of something, or a server is away.
_FOR_NOW = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)

_LOOK_AT = {
    errno.EACCES: "the owner and mode of the directory, and the user of this process",
    errno.EPERM: "the owner and mode of the directory, and the user of this process",
    errno.EDQUOT: "the user's quota",
    errno.ENAMETOOLONG: "the length of the key: 255 bytes per segment are usual",
    errno.ENOSPC: "the space, and the inodes, that the file system has left",
    errno.ENOTDIR: "what lies where the key needs a directory",
    errno.EROFS: "how the file system is mounted",
    errno.EXDEV: "mounts and links inside the store's directory",
}


def store_error(error: OSError, request: str, path: bytes) -> StoreError:
    """
    The one place where error numbers become kinds.

    Args:
        error: what the system call answered.
        request: what was asked, such as ``put``.
        path: of what.
    """
    reason = os.strerror(error.errno) if error.errno else str(error)
    text = f"{request} {os.fsdecode(path)}: {reason}"
    if error.errno in _FOR_NOW:
        return Transient(text)
    if error.errno in _LOOK_AT:
        text += f"; look at {_LOOK_AT[error.errno]}"
    return Refused(text)
