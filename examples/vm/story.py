"""A disk is installed by a virtual machine, boots it, is cloned, and the clone boots another."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from examples.vm.gateway import Gateway
from examples.vm.guest import HERE, Guest, find
from examples.vm.machine import Failed, Machine, nbd_disk, qemu

Say = Callable[[str], None]


class Story:
    """
    What happens to a volume and its clone.

    Args:
        directory: where the gateway runs; consoles are kept there.
        gateway: not started yet.
        guest: what boots.
        say: gets a line for each thing that happened.
        patience: seconds for each boot.
        volume: the name; its clone is named like it.
    """

    def __init__(
        self,
        directory: Path,
        gateway: Gateway,
        guest: Guest,
        say: Say,
        patience: float,
        volume: str = "vm1",
    ) -> None:
        self._volume = volume
        self._directory = directory
        self._gateway = gateway
        self._guest = guest
        self._say = say
        self._patience = patience

    def run(self) -> None:
        """
        From an empty volume to two machines that differ.

        Raises:
            Failed: a guest failed, or a disk does not hold what it should.
            GatewayFailed: the gateway or its command failed.
        """
        first, then, clone = self._volume, f"{self._volume}@golden", f"{self._volume}-clone"
        with self._gateway as gateway:
            gateway.start(first)
            self._boot("1-install", first, "install.sh", root=False)
            self._boot("2-boot", first, "boot.sh")
            gateway.operate("snapshot", "create", first, "golden")
            gateway.operate("clone", first, "golden", clone)
            gateway.add(clone)
            self._say(f"the snapshot {then}, and {clone}, which shares its bytes")
            self._compare(then, clone, equal=True)
            console = self._boot("3-clone", clone, "boot.sh")
            if f"written-by-{first}\n" not in console:
                raise Failed(f"{clone} does not hold what {first} wrote:\n{console}")
            self._compare(then, first, equal=True)
            self._compare(then, clone, equal=False)
            self._say(gateway.operate("volume", "list").rstrip())

    def _boot(self, name: str, disk: str, script: str, root: bool = True) -> str:
        """Boot once; returns what the guest printed."""
        append = f"DISK={disk}" + (" root=/dev/vda" if root else "")
        command = [*qemu(), *nbd_disk(disk, "nbd.sock")]
        console = self._directory / f"{name}.log"
        text = (HERE / script).read_text()
        with Machine(command, self._guest, text, console, append, self._directory) as machine:
            printed = machine.finish(self._patience)
        (own,) = re.findall(r"^guest: Linux.*^guest: status 0$", printed, re.DOTALL | re.MULTILINE)
        lines = [line for line in own.splitlines() if not line.startswith("[")]
        self._say("\n    ".join([f"{name}: the console is in {console}", *lines]))
        return printed

    def _compare(self, one: str, other: str, equal: bool) -> None:
        """By every byte, with qemu-img."""
        uris = [f"nbd+unix:///{name}?socket=nbd.sock" for name in (one, other)]
        done = subprocess.run(
            [find("qemu-img"), "compare", "-f", "raw", "-F", "raw", *uris],
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=self._patience,
            check=False,
        )
        if done.returncode != (0 if equal else 1):
            expected = "equal" if equal else "different"
            raise Failed(
                f"{one} and {other}: expected them {expected}, got {done.stdout}{done.stderr}"
            )
        self._say(f"{one} and {other} are {'equal' if equal else 'different'}")
