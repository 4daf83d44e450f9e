"""Fast zeroes as clients meet them: done or refused, by file, device and file system."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.disks import loop_device, mounted, need_root
from tests.interop.clients import Clients
from tests.interop.conftest import NewDisk
from tests.interop.gateway import MIB, Disk

pytestmark = pytest.mark.interop

SIZE = 8 * MIB

#: qemu-io's words for FAST_ZERO, and for FAST_ZERO with NO_HOLE.
MAY_TRIM, KEEP = "write -z -u -n", "write -z -n"


@pytest.fixture(params=["ext4", "tmpfs", "ramfs", "loop", "loop without offload"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A kind of storage, and a path on it for an export."""
    kind: str = request.param
    need_root()
    if not kind.startswith("loop"):
        with mounted(kind, str(tmp_path)) as directory:
            yield kind, f"{directory}/disk.raw"
        return
    with mounted("ramfs" if "without" in kind else "tmpfs", str(tmp_path)) as directory:
        image = Path(directory, "image")
        image.write_bytes(bytes(SIZE))
        with loop_device(str(image)) as device:
            yield kind, device


#: Whether a fast zero over data is done, may it trim or not.
DONE = {
    "ext4": {MAY_TRIM: True, KEEP: True},
    "tmpfs": {MAY_TRIM: True, KEEP: False},
    "ramfs": {MAY_TRIM: False, KEEP: False},
    "loop": {MAY_TRIM: True, KEEP: False},
    "loop without offload": {MAY_TRIM: False, KEEP: False},
}


@pytest.mark.parametrize("how", [MAY_TRIM, KEEP], ids=["may trim", "keeps space"])
def test_fast_zeroes_over_data_are_done_or_refused(
    clients: Clients, place: tuple[str, str], offer: NewDisk, how: str
) -> None:
    """A refused one changes nothing, not even writes that were never flushed; a plain one works."""
    kind, path = place
    disk = offer("file", SIZE, path=path)
    write = "write -P 0xaa 0 4M"
    if DONE[kind][how]:
        clients.qemu_io(disk.uri, write, f"{how} 1M 1M", "read -P 0 1M 1M")
    else:
        clients.qemu_io(disk.uri, write)
        complaint = clients.qemu_io_fails(disk.uri, f"{how} 1M 1M")
        assert "Operation not supported" in complaint
        clients.qemu_io(disk.uri, "read -P 0xaa 0 4M")
        clients.qemu_io(disk.uri, f"{how.removesuffix(' -n')} 1M 1M", "read -P 0 1M 1M")
    clients.qemu_io(disk.uri, "read -P 0xaa 0 1M", "read -P 0xaa 2M 2M")


def test_an_empty_file_is_zeroed_fast_where_no_hole_can_be_punched(
    clients: Clients, offer: NewDisk, tmp_path: Path
) -> None:
    """Known zeroes need no help of the file system; the first data ends that for its range."""
    with mounted("ramfs", str(tmp_path)) as directory:
        disk = offer("file", SIZE, path=f"{directory}/disk.raw")
        clients.qemu_io(disk.uri, f"{MAY_TRIM} 0 8M", "write -P 1 1M 4k", f"{MAY_TRIM} 2M 6M")
        clients.qemu_io_fails(disk.uri, f"{MAY_TRIM} 0 8M")
        clients.qemu_io(disk.uri, "read -P 1 1M 4k")


@pytest.mark.skipif(os.geteuid() != 0, reason="a loop device needs root")
def test_an_image_is_copied_onto_a_block_device(
    clients: Clients, offer: NewDisk, tmp_path: Path
) -> None:
    """The device itself has it afterwards, old data replaced."""
    image, source = tmp_path / "image", tmp_path / "source.raw"
    image.write_bytes(b"\xee" * SIZE)
    source.write_bytes(b"\xaa" * (MIB + 512) + bytes(4 * MIB) + b"\xbb" * (3 * MIB - 512))
    with loop_device(str(image)) as device:
        disk: Disk = offer("file", SIZE, path=device)
        clients.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, disk.uri)
        assert Path(device).read_bytes() == source.read_bytes()


@pytest.fixture
def proxied(clients: Clients, offer: NewDisk, tmp_path: Path) -> Iterator[str]:
    """Behind qemu-nbd, behind nbdkit: a disk on tmpfs, where only fast zeroes that trim work."""
    need_root()
    with mounted("tmpfs", str(tmp_path)) as directory:
        disk = offer("file", SIZE, path=f"{directory}/disk.raw")
        pids = [Path(directory, name) for name in ("qemu.pid", "nbdkit.pid")]
        first, second = f"{directory}/qemu.sock", f"{directory}/nbdkit.sock"
        qemu = ["--persistent", "--fork", f"--pid-file={pids[0]}", "--discard=unmap"]
        try:
            clients.start("qemu-nbd", *qemu, "-f", "raw", "-k", first, disk.uri)
            clients.start("nbdkit", "-U", second, "-P", pids[1], "nbd", f"socket={first}")
            yield f"nbd+unix:///?socket={second}"
        finally:
            for pid in filter(Path.exists, pids):
                os.kill(int(pid.read_text()), signal.SIGTERM)


def test_proxies_pass_fast_zeroes_and_refusals_on(clients: Clients, proxied: str) -> None:
    """The check of the proposal: the flag goes in through two servers, and ENOTSUP comes out."""

    def script(h: Any) -> None:
        import nbd

        assert h.can_fast_zero()
        h.pwrite(b"\xaa" * 1048576, 0)
        h.zero(65536, 65536, nbd.CMD_FLAG_FAST_ZERO)
        try:
            h.zero(65536, 131072, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
        except nbd.Error as error:
            assert error.errno == "ENOTSUP", error
        else:
            raise AssertionError("it was fast")
        h.zero(65536, 196608, nbd.CMD_FLAG_NO_HOLE)
        data = b"\xaa" * 65536
        assert h.pread(65536 * 4, 0) == data + bytes(65536) + data + bytes(65536)
        h.flush()

    clients.nbdsh(proxied, script)
