"""Fixtures for real clients against a real gateway process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.clients import Clients
from tests.interop.gateway import MIB, Disk, Gateway
from tests.interop.images import Image, make_image
from tests.service.conftest import directory, start

__all__ = ["directory", "start"]

NewDisk = Callable[..., Disk]


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """One gateway for the session; it stops cleanly at the end."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        running = Gateway(Path(made))
        yield running
        running.process.stop()
        assert "every export is closed" in running.process.text()
        assert not running.alarms()


@pytest.fixture(params=["memory", "file"])
def provider(request: pytest.FixtureRequest) -> str:
    """Each built-in provider in turn."""
    return str(request.param)


@pytest.fixture
def offer(gateway: Gateway) -> Iterator[Callable[..., Disk]]:
    """Offers disks of any provider; after the test they are gone and the log has no alarm."""
    start = len(gateway.process.text())
    disks: list[Disk] = []

    def add(provider: str, size: int = 64 * MIB, **keys: str) -> Disk:
        disks.append(gateway.add(provider, size, **keys))
        return disks[-1]

    yield add
    assert gateway.process.process.poll() is None, gateway.process.text()
    for disk in disks:
        gateway.remove(disk)
    assert not gateway.alarms(start)


@pytest.fixture
def new_disk(offer: NewDisk, provider: str) -> NewDisk:
    """Offers disks of the provider in turn."""

    def add(size: int = 64 * MIB, **keys: str) -> Disk:
        return offer(provider, size, **keys)

    return add


@pytest.fixture
def disk(new_disk: NewDisk) -> Disk:
    """An empty disk of 64 MiB."""
    return new_disk()


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    """Runs clients in a directory of the test's own."""
    return Clients(tmp_path)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A file system with files, raw and as qcow2."""
    return make_image(tmp_path_factory.mktemp("image"))
