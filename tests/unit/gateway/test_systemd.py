"""What is said to systemd: the socket, and the course of a gateway's life."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet.task import Clock

from gateway.systemd import NotifySocket, Supervised


class Words:
    """What a gateway would say; the test writes it."""

    line = "all is well"

    def starting(self) -> str:
        return f"starting: {self.line}"

    def serving(self) -> str:
        return f"serving: {self.line}"

    def stopping(self) -> str:
        return f"stopping: {self.line}"


class Manager:
    """The other end of a notify socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)

    def heard(self) -> list[list[str]]:
        """Every message since the last look, as lines."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """Both kinds of addresses."""
    with TemporaryDirectory(prefix="gw") as directory:
        address = f"{directory}/notify"
        found = Manager("@" + address if request.param == "abstract" else address)
        yield found
        found.socket.close()


def supervised(manager: Manager, watchdog: float = 0.0) -> tuple[Supervised, Clock, Words]:
    clock, words = Clock(), Words()
    way = NotifySocket(manager.address, watchdog)
    return Supervised(clock, way, words, lambda: 5_000_001_000), clock, words


MORE = "EXTEND_TIMEOUT_USEC=30000000"


def test_a_life_is_told_in_the_words_of_the_protocol(manager: Manager) -> None:
    """Start, readiness, a reload with its time, and the stop; waits ask for more time."""
    told, clock, words = supervised(manager)
    told.started()
    assert manager.heard() == [["STATUS=starting: all is well", MORE]]
    told.ready()
    assert manager.heard() == [["READY=1", "STATUS=serving: all is well"]]
    clock.advance(1)
    assert manager.heard() == []
    words.line = "two clients"
    clock.advance(1)
    assert manager.heard() == [["STATUS=serving: two clients"]]
    told.reloading()
    assert manager.heard() == [["RELOADING=1", "MONOTONIC_USEC=5000001", "STATUS=reloading", MORE]]
    told.ready()
    assert manager.heard() == [["READY=1", "STATUS=serving: two clients"]]
    told.stopping()
    assert manager.heard() == [["STOPPING=1", "STATUS=stopping: two clients", MORE]]
    clock.advance(1)
    assert manager.heard() == [[MORE]]
    told.stopped()
    clock.advance(100)
    assert manager.heard() == []
    assert clock.getDelayedCalls() == []


def test_the_watchdog_hears_from_the_reactor_at_half_its_time(manager: Manager) -> None:
    """Once each five seconds of ten, and only as long as the reactor turns."""
    told, clock, _ = supervised(manager, watchdog=10.0)
    told.started()
    told.ready()
    manager.heard()
    fed = []
    for second in range(1, 31):
        clock.advance(1)
        fed += [second for message in manager.heard() if "WATCHDOG=1" in message]
    assert fed == [5, 10, 15, 20, 25, 30]


def test_a_short_watchdog_is_fed_more_often_than_each_second(manager: Manager) -> None:
    """Half a second, at most."""
    told, clock, _ = supervised(manager, watchdog=1.0)
    told.started()
    manager.heard()
    clock.pump([0.5] * 4)
    assert sum("WATCHDOG=1" in message for message in manager.heard()) == 4


def test_a_status_is_one_line_whatever_a_name_holds(manager: Manager) -> None:
    """A line of its own would be an assignment of its own."""
    told, _, words = supervised(manager)
    words.line = "a\nSTOPPING=1"
    told.started()
    assert manager.heard() == [["STATUS=starting: a STOPPING=1", MORE]]


def test_what_a_full_queue_did_not_take_is_said_again(manager: Manager) -> None:
    """READY must arrive, however late."""
    told, clock, _ = supervised(manager)
    way = NotifySocket(manager.address)
    while way.send("STATUS=filling the queue"):
        pass
    told.started()
    told.ready()
    assert all(message == ["STATUS=filling the queue"] for message in manager.heard())
    clock.advance(1)
    assert manager.heard() == [["READY=1", "STATUS=serving: all is well"]]


def test_without_an_address_nothing_is_said_and_nothing_waits() -> None:
    """As in a terminal."""
    clock = Clock()
    told = Supervised(clock, NotifySocket(), Words())
    told.started()
    told.ready()
    told.reloading()
    told.stopping()
    told.stopped()
    assert clock.getDelayedCalls() == []


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """The service goes on."""
    assert NotifySocket(str(tmp_path / "nobody")).send("READY=1")


def test_the_variables_are_taken_out_of_the_environment() -> None:
    """A child would speak in our name."""
    values = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7", "HOME": "/"}
    assert NotifySocket.take(values, 7) == NotifySocket("@x", 3.0)
    assert values == {"HOME": "/"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
    ],
)
def test_without_a_socket_of_this_machine_there_is_nobody(values: dict[str, str]) -> None:
    """A watchdog needs somebody to tell."""
    assert NotifySocket.take(values, os.getpid()) == NotifySocket()


@pytest.mark.parametrize("others", [{"WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_of_another_process_is_not_ours(others: dict[str, str]) -> None:
    """Nor one whose time is no number."""
    values = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000", **others}
    assert NotifySocket.take(values, 7) == NotifySocket("/run/n", 0.0)
