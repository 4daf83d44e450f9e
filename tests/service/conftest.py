"""Fixtures for tests with real processes."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.twistd import Twistd


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory whose path leaves room for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        yield Path(made)


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Twistd]]:
    """Starts gateways, and stops them after the test."""
    started: list[Twistd] = []

    def start_one(*arguments: str, where: Path = directory) -> Twistd:
        started.append(Twistd(where, *arguments))
        return started[-1]

    yield start_one
    for process in started:
        process.stop()


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port


@pytest.fixture
def tool() -> Callable[[str], str]:
    """Finds another project's program; skips the test without it, or fails where CI demands it."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            assert not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"), f"{name} is not installed"
            pytest.skip(f"{name} is not installed")
        return found

    return find
