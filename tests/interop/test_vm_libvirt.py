"""
The libvirt configurations of docs/howto/vm.md: valid, and one of them really run.

libvirt 9.0 has no ``<reconnect>`` for NBD: there that one line is left out of what is validated.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.vm.guest import Guest
from tests.interop.clients import PATIENCE, find
from tests.interop.guests import PATIENCE as BOOT_PATIENCE
from tests.interop.guests import guest
from tests.interop.test_vm_page import Host, host, text_of
from tests.service.twistd import until

__all__ = ["guest", "host"]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

#: Root has no session of its own in libvirt; it becomes nobody.
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}

XML, ASK, ARGUMENTS, TLS = range(4)


class Libvirt:
    """
    A libvirt daemon of a user's session, in a directory of its own.

    Args:
        directory: short, for its sockets.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "libvirt"
        self.directory.mkdir()
        directory.chmod(0o755)
        if NOBODY:
            os.chown(self.directory, 65534, 65534)
        self._environment = {
            **os.environ,
            "HOME": str(self.directory),
            **{f"XDG_{kind}_HOME": str(self.directory) for kind in ("CONFIG", "CACHE", "DATA")},
            "XDG_RUNTIME_DIR": str(self.directory),
        }
        self._daemon = subprocess.Popen(
            [find("libvirtd")], **self._options(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until((self.directory / "libvirt" / "libvirt-sock").exists, "libvirtd")

    def run(self, *arguments: str) -> str:
        """``virsh ARGUMENTS``, which has to succeed."""
        done = subprocess.run(
            [find("virsh"), "-c", "qemu:///session", *arguments], **self._options(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def stop(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(PATIENCE)

    def _options(self) -> dict[str, Any]:
        return {"cwd": self.directory, "env": self._environment, **NOBODY}


@pytest.fixture
def libvirt(directory: Path) -> Iterator[Libvirt]:
    """It ends with the test."""
    find("virsh")
    running = Libvirt(directory)
    yield running
    running.stop()


def knows_reconnect() -> bool:
    """Whether this libvirt's schema has ``<reconnect delay=...>`` in NBD sources."""
    schema = Path("/usr/share/libvirt/schemas/domaincommon.rng")
    if not schema.exists():
        find("libvirtd")  # which skips or fails: they come together
    text = schema.read_text()
    source = text[text.index('"diskSourceNetworkProtocolNBD"') :]
    return "reconnect" in source[: source.index("</define>")]


@pytest.mark.parametrize("number", [XML, ARGUMENTS, TLS])
def test_what_the_page_shows_is_valid(tmp_path: Path, number: int) -> None:
    """By libvirt's own schema; the disk over TLS in the place of the first machine's."""
    text = text_of("libvirt", number)
    if number == TLS:
        whole = text_of("libvirt", XML)
        text = re.sub(r"<disk .*</disk>", lambda _: text, whole, flags=re.DOTALL)
    if not knows_reconnect():
        text = text.replace("<reconnect delay='300'/>", "")
    path = tmp_path / "vm1.xml"
    path.write_text(text)
    done = subprocess.run(
        [find("virt-xml-validate"), path, "domain"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_libvirt_without_reconnect_ignores_it_and_the_page_says_how_to_ask(
    host: Host, libvirt: Libvirt
) -> None:
    """The page's question prints what it should where libvirt's schema has the element only."""
    path = libvirt.directory / "vm1.xml"
    path.write_text(host.here(text_of("libvirt", XML)).replace("'kvm'", "'qemu'"))
    (question, *_) = text_of("libvirt", ASK).split(" | ")
    program, *arguments = question.split()
    assert program == "virsh"
    said = libvirt.run(*arguments)
    assert '"driver":"nbd"' in said
    assert '"discard":"unmap"' in said and '"detect-zeroes":"unmap"' in said
    assert ('"reconnect-delay":300' in said) == knows_reconnect()


SCRIPT = """
cat /sys/block/vda/serial; echo
mkfs.ext4 -q -F /dev/vda
mount /dev/vda /mnt
for number in $(seq 1 12); do
    dd if=/dev/urandom of=/mnt/$number bs=64k count=4 conv=fsync 2>/dev/null
    echo "guest: wrote $number"
done
umount /mnt
fsck.ext4 -fn /dev/vda
! dmesg | grep -i 'i/o error'
"""


def test_a_machine_of_libvirt_writes_on_while_the_gateway_restarts(
    host: Host, libvirt: Libvirt, guest: Guest
) -> None:
    """The page's second machine, with the guest's kernel and a file for its console."""
    console = libvirt.directory / "console.log"
    kernel, initrd = libvirt.directory / "kernel", libvirt.directory / "initrd"
    kernel.write_bytes(guest.kernel.read_bytes())
    initrd.write_bytes(guest.initrd(SCRIPT).read_bytes())
    start = f"<kernel>{kernel}</kernel><initrd>{initrd}</initrd>"
    start += "<cmdline>console=ttyS0 panic=-1</cmdline>"
    text = host.here(text_of("libvirt", ARGUMENTS)).replace("type='kvm'", "type='qemu'")
    text = text.replace("<memory unit='GiB'>2<", "<memory unit='MiB'>256<")
    text = text.replace("</os>", f"{start}</os>")
    text = text.replace(
        "<serial type='pty'/>", f"<serial type='file'><source path='{console}'/></serial>"
    )
    (host.directory / "nbd.sock").chmod(0o666)
    path = libvirt.directory / "vm1.xml"
    path.write_text(text)
    libvirt.run("create", str(path), "--validate")
    try:
        wait_for(console, "guest: wrote 3")
        host.restart()
        (host.directory / "nbd.sock").chmod(0o666)
        printed = wait_for(console, "guest: status")
    finally:
        if "vm1" in libvirt.run("list", "--name"):
            libvirt.run("destroy", "vm1")
    assert "guest: status 0" in printed, printed[-2000:]
    assert "vm1\n" in printed


def wait_for(console: Path, text: str) -> str:
    """What a console shows, once it shows a text."""
    end = time.monotonic() + BOOT_PATIENCE
    while True:
        printed = console.read_text(errors="replace") if console.exists() else ""
        printed = printed.replace("\r", "")
        if text in printed:
            return printed
        assert time.monotonic() < end, f"waited in vain for {text} in\n{printed[-2000:]}"
        time.sleep(0.05)
