"""Disk images that look like those of users: a file system with files in it, and holes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.interop.clients import Clients
from tests.service.twistd import ROOT

MIB = 1 << 20


@dataclass(frozen=True)
class Image:
    """
    One disk's contents in two formats.

    Attributes:
        raw: a sparse file.
        qcow2: the same disk.
        size: bytes of the disk.
    """

    raw: Path
    qcow2: Path
    size: int


def make_image(directory: Path, size: int = 64 * MIB) -> Image:
    """An ext4 file system that holds this project's documentation and code."""
    clients = Clients(directory)
    raw, qcow2 = directory / "disk.raw", directory / "disk.qcow2"
    contents = directory / "contents"
    contents.mkdir()
    for number, path in enumerate(sorted((ROOT / "gateway").rglob("*.py"))):
        (contents / f"{number}.py").write_bytes(path.read_bytes())
    (contents / "zeroes").write_bytes(bytes(MIB))
    (contents / "noise").write_bytes(bytes(range(251)) * (3 * MIB // 251))
    clients.run("mke2fs", "-q", "-t", "ext4", "-d", contents, raw, f"{size // 1024}k")
    clients.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    return Image(raw, qcow2, size)
