"""Provider ``file``: its settings, and the way from them to an export."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from backends.file.export import FileExport
from backends.file.opening import OpenDisk, open_disk
from backends.file.syscalls import Syscalls
from gateway import settings
from gateway.info import MAX_EXPORT_SIZE
from gateway.interfaces import IExport, IStorageProvider, Resources


@attrs.frozen
class FileSettings:
    """The keys of an export section with ``provider = file``."""

    path: str = settings.setting(settings.path, "A regular file or a block device.")
    size: int | None = settings.setting(
        settings.size,
        "Bytes of the disk. A missing file is created with them, sparse; an existing one must"
        " have exactly that many. Without it the file must exist.",
        default=None,
    )


@implementer(IStorageProvider)
class FileProvider:
    """
    Makes exports of files and block devices.

    Args:
        syscalls: the kernel.
    """

    name = "file"
    settings = FileSettings

    def __init__(self, syscalls: Syscalls | None = None) -> None:
        self._syscalls = Syscalls() if syscalls is None else syscalls

    def problems(self, settings: FileSettings, read_only: bool) -> list[str]:
        problems = []
        if settings.size is not None and settings.size > MAX_EXPORT_SIZE:
            problems.append(f"size: got {settings.size}, expected at most {MAX_EXPORT_SIZE} bytes")
        path = settings.path
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return problems + _problems_of_a_new_file(settings, read_only)
        except OSError as error:
            return [*problems, f"path: got {path}: {error.strerror}, expected a file"]
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            problems.append(f"path: got {path}, expected a regular file or a block device")
        elif not os.access(path, os.R_OK if read_only else os.R_OK | os.W_OK):
            wish = "readable" if read_only else "readable and writable (or read_only = yes)"
            problems.append(f"path: got {path}, expected a file that is {wish}")
        elif stat.S_ISREG(status.st_mode) and settings.size not in (None, status.st_size):
            problems.append(
                f"size: got {settings.size}, expected {status.st_size}, the size of {path}"
                " (an export does not grow or shrink its file)"
            )
        return problems

    def identity(self, settings: FileSettings) -> Hashable | None:
        try:
            status = os.stat(settings.path)
        except OSError:
            return ("path", os.path.realpath(settings.path))
        if stat.S_ISBLK(status.st_mode):
            return ("device", status.st_rdev)
        return ("file", status.st_dev, status.st_ino)

    def describe(self, settings: FileSettings) -> str:
        return f"file {settings.path}"

    def open_export(
        self, name: str, settings: FileSettings, read_only: bool, resources: Resources
    ) -> Deferred[IExport]:
        def export(disk: OpenDisk) -> IExport:
            return FileExport(disk, read_only, resources, self._syscalls)

        opening: Deferred[OpenDisk] = resources.call_in_thread(
            open_disk, self._syscalls, settings.path, settings.size, read_only
        )
        return opening.addCallback(export)


def _problems_of_a_new_file(settings: FileSettings, read_only: bool) -> list[str]:
    directory = os.path.dirname(settings.path) or "."
    if settings.size is None:
        return [f"path: got {settings.path}, expected an existing file, or a size to create it"]
    if read_only:
        return [f"path: got {settings.path}, expected an existing file, for read_only = yes"]
    if not os.path.isdir(directory):
        return [f"path: got {settings.path}, expected a file in an existing directory"]
    if not os.access(directory, os.W_OK | os.X_OK):
        return [f"path: got {settings.path}, expected a directory that can be written to"]
    return []
