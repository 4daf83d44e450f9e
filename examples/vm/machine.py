"""One boot of a virtual machine in QEMU: its disks, its console, and a limit to its time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from examples.vm.guest import Guest, find

#: Software emulation works everywhere; ``NBDGATEWAY_ACCEL=kvm`` is faster where it is to be had.
ACCELERATION = os.environ.get("NBDGATEWAY_ACCEL", "tcg")

#: Seconds that a boot may take by default.
PATIENCE = 180.0


class Failed(Exception):
    """The guest did not do what it was started for; the text has the end of its console."""


def nbd_disk(name: str, socket: str | Path, **options: str) -> list[str]:
    """
    QEMU's arguments for a disk on a gateway's Unix socket.

    Args:
        name: of the export, and of the block device in QEMU.
        options: more of the ``nbd`` driver, with underscores for dashes, or in place of these.
    """
    keys = {
        "driver": "nbd",
        "node-name": name,
        "server.type": "unix",
        "server.path": str(socket),
        "export": name,
        "reconnect-delay": "300",
        "discard": "unmap",
        "detect-zeroes": "unmap",
        **{key.replace("_", "-"): value for key, value in options.items()},
    }
    blockdev = ",".join(f"{key}={value}" for key, value in keys.items())
    return ["-blockdev", blockdev, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


class Machine:
    """
    A running virtual machine; as a context it is gone at the end.

    Args:
        command: QEMU's program and arguments for disks and memory, without a kernel.
        guest: the kernel and what it runs.
        script: what this boot does.
        console: a file for all that the guest prints.
        append: to the kernel's command line: ``root=...``, or ``NAME=value`` for the script.
        directory: to run in.
    """

    def __init__(
        self,
        command: Sequence[str],
        guest: Guest,
        script: str,
        console: Path,
        append: str = "",
        directory: Path | None = None,
    ) -> None:
        self.console = console.absolute()
        self.console.write_bytes(b"")
        self.errors = self.console.with_suffix(".qemu")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    *command,
                    *("-kernel", str(guest.kernel)),
                    *("-initrd", str(guest.initrd(script, console.with_suffix(".initrd").name))),
                    # a machine that panics ends instead of waiting for somebody
                    *("-append", f"console=ttyS0 panic=-1 {append}"),
                    *("-no-reboot", "-display", "none", "-monitor", "none"),
                    *("-serial", f"file:{self.console}"),
                ],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()

    def text(self) -> str:
        """What the guest has printed so far."""
        return self.console.read_text(errors="replace").replace("\r", "")

    def wait_for(self, text: str, patience: float = PATIENCE) -> None:
        """
        Wait until the guest has printed something.

        Raises:
            Failed: the machine has ended without it, or ``patience`` seconds are over.
        """
        end = time.monotonic() + patience
        while text not in self.text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise self._failure(f"waited in vain for {text!r}")
            time.sleep(0.05)

    def finish(self, patience: float = PATIENCE) -> str:
        """
        Wait until the guest has switched itself off; returns what it printed.

        Raises:
            Failed: its script failed, or ``patience`` seconds are over.
        """
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise self._failure(f"still running after {patience:.0f} seconds") from None
        if "guest: status 0\n" not in self.text():
            raise self._failure("it did not end well")
        return self.text()

    def _failure(self, what: str) -> Failed:
        tail = "\n".join(self.text().splitlines()[-40:])
        return Failed(f"{self.console.stem}: {what}\n{self.errors.read_text()}{tail}")


def qemu(memory: str = "256M") -> list[str]:
    """QEMU's program and arguments for a machine without disks."""
    accel = ["-accel", ACCELERATION]
    return [str(find("qemu-system-x86_64")), *accel, "-cpu", "max", "-m", memory, "-nic", "none"]
