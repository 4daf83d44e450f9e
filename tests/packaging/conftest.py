"""Fixtures for tests of what is shipped beside the code."""

from __future__ import annotations

import os
import shutil
import socket
import sysconfig
from collections.abc import Callable

import pytest


@pytest.fixture
def tool() -> Callable[[str], str]:
    """Finds a program; skips the test without it, or fails where CI demands it."""

    def find(name: str) -> str:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        found = shutil.which(name, path=path)
        if found is None:
            assert not os.environ.get("NBDGATEWAY_REQUIRE_TOOLS"), f"{name} is not installed"
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port
