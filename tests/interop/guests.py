"""The small Linux of `examples.vm` for tests, with a kernel that was fetched before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.vm.guest import Guest
from examples.vm.machine import Machine, qemu
from tests.interop.clients import find

#: Seconds that a boot may take under software emulation, on a busy machine.
PATIENCE = 240.0

Boot = Callable[..., Machine]


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """Its kernel is where NBDGATEWAY_GUEST_KERNEL says."""
    kernel = os.environ.get("NBDGATEWAY_GUEST_KERNEL")
    if not kernel:
        text = "NBDGATEWAY_GUEST_KERNEL is not set: python -m examples.vm --fetch-only --kernel K"
        assert not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"), text
        pytest.skip(text)
    for tool in ("qemu-system-x86_64", "busybox", "mkfs.ext4", "nbd-client"):
        find(tool)
    programs = ["fsck.ext4", "nbd-client"]
    return Guest(Path(kernel), tmp_path_factory.mktemp("guest"), programs)


@pytest.fixture
def boot(guest: Guest, directory: Path) -> Iterator[Boot]:
    """Boots a script with QEMU's arguments for disks; the machine is gone after the test."""
    started: list[Machine] = []

    def boot_one(script: str, *disks: str, append: str = "") -> Machine:
        console = directory / f"console{len(started)}.log"
        command = [*qemu(), *disks]
        started.append(Machine(command, guest, script, console, append, directory))
        return started[-1]

    yield boot_one
    for machine in started:
        machine.process.kill()
        machine.process.wait()
