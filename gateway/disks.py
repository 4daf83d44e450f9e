"""Disks to copy from and to, by what people call them: NBD URIs, files, devices, standard input."""

from __future__ import annotations

import os
import stat
import sys
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred

from gateway.copying import later
from gateway.errors import ExportUnavailable
from gateway.interfaces import IExport, Resources
from gateway.nbd.client.address import is_nbd
from gateway.providers import Providers
from gateway.settings import BadValue
from gateway.streams import StreamSource

#: What stands for standard input and standard output.
STREAM = "-"

#: Behind the name of a file that is not whole yet.
PART = ".part"

#: How images begin that are no disk as they are, and what they are.
_CONTAINERS = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"\x7fVDI": "VDI",
}


@attrs.define
class Disk:
    """
    One open disk.

    Attributes:
        export: to be read, or written.
        identity: what tells it from others, and from itself once it was changed; for notes on
            how far a copy came. Plain values, for JSON.
        blank: known to be new, and so all zeroes.
    """

    export: IExport
    identity: dict[str, Any]
    blank: bool = False

    async def close(self) -> None:
        """Flush it, and let go."""
        await maybeDeferred(self.export.close)


def is_remote(text: str) -> bool:
    """Whether it is an NBD URI."""
    return is_nbd(text)


async def source(text: str, size: int | None, resources: Resources) -> Disk:
    """
    Open a disk to be read.

    Args:
        text: an NBD URI, a path, or ``-``.
        size: bytes, of a stream, which does not tell.

    Raises:
        BadValue: it is none of these, or needs a size.
        ExportUnavailable: it cannot be opened, or is no disk as it is.
    """
    if text == STREAM:
        if size is None:
            raise BadValue("standard input does not tell its size: expected --size")
        stream = StreamSource(sys.stdin.buffer, size, resources.call_in_thread)
        return Disk(stream, {"stream": size})
    if is_nbd(text):
        export = await _remote(text, resources)
        return Disk(export, {"uri": text, "size": export.info.size})
    identity = await resources.call_in_thread(_examine, text)
    export = await _file(text, None, True, resources)
    # Of a device the size is not that of its file.
    return Disk(export, {**identity, "size": export.info.size})


async def target(text: str, size: int, resources: Resources, resumed: bool = False) -> Disk:
    """
    Open a disk to be written: an NBD URI, a block device, or a file that does not exist yet.

    A file is made under its name and `PART`; whoever has written it renames it.

    Args:
        text: which.
        size: bytes that it has to hold.
        resumed: part of the file is there already.

    Raises:
        BadValue, ExportUnavailable: as for `source`; also for one that is too small.
    """
    if is_nbd(text):
        export = await _remote(text, resources)
        disk = Disk(export, {"uri": text, "size": export.info.size})
    elif await resources.call_in_thread(is_device, text):
        export = await _file(text, None, False, resources)
        number = await resources.call_in_thread(_number, text)
        identity = {"device": _absolute(text), "number": number, "size": export.info.size}
        disk = Disk(export, identity)
    else:
        part = text + PART
        if not resumed:
            await resources.call_in_thread(_remove, part)
        export = await _file(part, size, False, resources)
        disk = Disk(export, {"file": _absolute(text)}, blank=not resumed)
    if disk.export.info.read_only or disk.export.info.size < size:
        found = disk.export.info
        await disk.close()
        raise ExportUnavailable(
            f"{text}: got {found.size} bytes{', read-only' if found.read_only else ''}, expected"
            f" {size} bytes that can be written"
        )
    return disk


async def _remote(uri: str, resources: Resources) -> IExport:
    # Late: few commands speak to another server, and all would wait for what that takes.
    from gateway.nbd.client.connecting import connect

    return await connect(resources.reactor, uri)


async def _file(path: str, size: int | None, read_only: bool, resources: Resources) -> IExport:
    provider = Providers().get("file")
    settings = provider.settings(path=_absolute(path), size=size)
    problems = provider.problems(settings, read_only)
    if problems:
        raise ExportUnavailable("; ".join(problems))
    opening = provider.open_export(os.path.basename(path), settings, read_only, resources)
    export: IExport = await later(opening)
    return export


def _absolute(path: str) -> str:
    return os.path.abspath(path)


def _examine(path: str) -> dict[str, Any]:
    """Blocks. What a file is like now."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            head = file.read(8)
    except OSError as error:
        raise ExportUnavailable(f"{path}: {error.strerror}") from None
    for magic, name in _CONTAINERS.items():
        if head.startswith(magic):
            raise ExportUnavailable(
                f"{path}: got an image in {name}, expected a raw one. `qemu-nbd -r -t -k"
                f" /tmp/image.sock {path}` serves it as nbd+unix:///?socket=/tmp/image.sock,"
                " which can be imported"
            )
    identity = {
        "file": _absolute(path),
        "modified_ns": found.st_mtime_ns,
        "inode": found.st_ino,
    }
    if stat.S_ISBLK(found.st_mode):
        identity["number"] = _number(path)
    return identity


def is_device(path: str) -> bool:
    """Whether it is a block device. Blocks."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def _number(path: str) -> str:
    """Of a device, as ``lsblk`` shows it. Blocks."""
    try:
        number = os.stat(path).st_rdev
    except OSError as error:
        raise ExportUnavailable(f"{path}: {error.strerror}") from None
    return f"{os.major(number)}:{os.minor(number)}"


def _remove(path: str) -> None:
    """Blocks."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ExportUnavailable(f"{path}: {error.strerror}") from None
