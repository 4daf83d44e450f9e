"""Fixtures of protocol tests: links, framings, servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.conftest import LoggedFailures
from tests.protocol.servers import RUNNING, InMemory, Process
from tests.wire_format import FRAMINGS


@pytest.fixture(scope="session")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture(scope="session")
def process(sockets: Path) -> Iterator[Process]:
    """A server without TLS, shared by all tests of the session."""
    server = Process(sockets)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _hang_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """No client of one test lives on in the next."""
    yield
    if "process" in request.fixturenames or "server" in request.fixturenames:
        for process in RUNNING:
            process.hang_up()


@pytest.fixture
def memory(logged_failures: LoggedFailures) -> InMemory:
    """A server in memory, without TLS."""
    return InMemory(logged_failures)


@pytest.fixture(params=["memory", "socket"])
def server(request: pytest.FixtureRequest) -> Iterator[InMemory | Process]:
    """Each link in turn: Twisted's transport in memory, and our own on a Unix socket."""
    if request.param == "memory":
        yield request.getfixturevalue("memory")
        return
    process: Process = request.getfixturevalue("process")
    process.errors()
    yield process
    assert process.process.poll() is None, "the server died:\n" + process.errors()
    errors = process.errors()
    assert not errors, errors


@pytest.fixture(params=FRAMINGS)
def framing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FRAMINGS[1:])
def chunks(request: pytest.FixtureRequest) -> str:
    """The framings that know chunks, and so metadata contexts."""
    return str(request.param)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    make_certificates(directory)
    return directory
