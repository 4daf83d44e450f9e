"""The operators' socket: when it is there, whose it is, and what stands against it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from gateway.admin.operations import Operations
from gateway.admin.service import AdminSocket
from gateway.exports import ExportTable
from tests.unit.gateway.fakes import resources

Admin = Callable[[Path], AdminSocket]


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory whose path leaves room for a Unix socket."""
    with TemporaryDirectory(prefix="gw") as made:
        yield Path(made)


@pytest.fixture
def admin() -> Iterator[Admin]:
    """Makes sockets that accept nobody, as no reactor runs."""
    reactor = MemoryReactorClock()
    operations = Operations(ExportTable(resources()))
    yield lambda state_dir: AdminSocket(reactor, str(state_dir), operations)
    reactor.advance(0)  # closes what was stopped


def mode(path: Path) -> int:
    """Permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_reaches_the_socket(directory: Path, admin: Admin) -> None:
    """The directory is made if it is missing, for the owner as well."""
    old = os.umask(0)
    try:
        one = admin(directory / "state")
        one.listen()
    finally:
        os.umask(old)
    assert (mode(directory / "state"), mode(directory / "state/admin.sock")) == (0o700, 0o600)
    one.stop()
    assert os.listdir(directory / "state") == []


def test_listening_and_stopping_twice_is_once(directory: Path, admin: Admin) -> None:
    """A reload says it each time."""
    one = admin(directory)
    one.stop()
    for _ in range(2):
        one.listen()
    for _ in range(2):
        one.stop()
    assert os.listdir(directory) == []
    one.listen()
    assert os.listdir(directory) == ["admin.sock"]
    one.stop()


def test_what_a_crash_left_is_replaced(directory: Path, admin: Admin) -> None:
    """Nobody has to remove it."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory / "admin.sock"))
    one = admin(directory)
    one.listen()
    assert mode(directory / "admin.sock") == 0o600
    one.stop()


def test_the_socket_of_another_gateway_stays_its_own(directory: Path, admin: Admin) -> None:
    """The second one does without, says so, and removes nothing."""
    first, second = admin(directory), admin(directory)
    first.listen()
    made = (directory / "admin.sock").stat().st_ino
    with capturedLogs() as logs:
        second.listen()
    (error,) = logs
    assert error["log_level"].name == "error"
    assert "another process listens on it" in error["reason"]
    second.stop()
    assert (directory / "admin.sock").stat().st_ino == made
    first.stop()
    second.listen()
    assert (directory / "admin.sock").exists()
    second.stop()


@pytest.mark.parametrize("state_dir", ["file/state", "x" * 200])
def test_without_a_place_it_is_an_error_in_the_log(
    directory: Path, admin: Admin, state_dir: str
) -> None:
    """Disks are served all the same."""
    (directory / "file").touch()
    with capturedLogs() as logs:
        admin(directory / state_dir).listen()
    assert [log["log_level"].name for log in logs] == ["error"]
