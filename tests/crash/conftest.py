"""Fixtures for tests that kill real processes and damage real objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.places import InBucket, InDirectory, Place
from tests.crash.s3_server import S3Process
from tests.crash.s3_server import s3_server as running
from tests.crash.served import Served
from tests.interop.conftest import clients
from tests.service.conftest import directory

__all__ = ["clients", "directory"]

_numbers = itertools.count(1)

Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Process]:
    """One process for all tests."""
    with running() as process:
        yield process


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, directory: Path) -> Iterator[Place]:
    """An empty store of each kind."""
    if request.param == "directory":
        yield InDirectory(directory)
        return
    server: S3Process = request.getfixturevalue("s3_server")
    yield InBucket(server, f"disks-{next(_numbers)}", directory)
    server.heal()


@pytest.fixture(params=["store", "journal"])
def durability(request: pytest.FixtureRequest) -> str:
    """What a flush waits for."""
    return str(request.param)


@pytest.fixture
def served(directory: Path, place: Place) -> Iterator[Serve]:
    """Makes gateways in front of one place, each with a directory of its own."""
    made: list[Served] = []

    def make(name: str, keys: str = "", more: str = "") -> Served:
        home = directory / name
        home.mkdir(exist_ok=True)
        made.append(Served(home, place, keys, more))
        return made[-1]

    yield make
    place.server.heal() if isinstance(place, InBucket) else None
    for one in made:
        one.stop()
