"""Locks that keep other writers off a disk: other gateways, and QEMU's tools.

They belong to the open file description (F_OFD_SETLK) and end with it. A
writer locks the whole file. QEMU locks single bytes: 100 + n says "I use
permission n", 200 + n "nobody else may". So a reader says, in those bytes,
that it reads and that nobody may write or resize; other readers get along
with that, a gateway or QEMU that writes does not.
"""

from __future__ import annotations

import errno
import fcntl

from backends.file.syscalls import Syscalls
from gateway.errors import ExportBusy

_USES = 100
_REFUSES = 200
_READ, _WRITE, _RESIZE = 0, 1, 3


def lock(syscalls: Syscalls, fd: int, path: str, read_only: bool) -> None:
    """
    Raises:
        ExportBusy: another process, or another export, has the file open in
            a way that does not go together with this one.
        OSError: the file system does not lock.
    """
    try:
        if not read_only:
            syscalls.lock(fd, fcntl.F_WRLCK, 0, 0)
            return
        for byte in (_USES + _READ, _REFUSES + _WRITE, _REFUSES + _RESIZE):
            syscalls.lock(fd, fcntl.F_RDLCK, byte, 1)
        is_free = not any(
            syscalls.is_locked(fd, byte, 1)
            for byte in (_USES + _WRITE, _USES + _RESIZE, _REFUSES + _READ)
        )
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        is_free = False
    if not is_free:
        raise ExportBusy(f"{path}: another process has locked it, or uses it for writing")
