"""Sockets that the process was started with."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest

from gateway.activation import ActivationError, Inherited, choose, take
from gateway.addresses import endpoint


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A TCP socket that listens on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def _environment(pid: int = 7, count: str = "1", **more: str) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": count, "HOME": "/", **more}


def test_sockets_are_taken_and_made_ready(listening: socket.socket) -> None:
    """Close-on-exec, non-blocking, and no variable left for children (U5)."""
    environment = _environment(LISTEN_FDNAMES="nbd")
    descriptor = listening.fileno()
    listening.setblocking(True)
    fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)
    assert take(environment, 7, first=descriptor) == (Inherited(descriptor, "INET", "nbd", True),)
    assert environment == {"HOME": "/"}
    assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert not os.get_blocking(descriptor)


def test_a_unix_socket_without_a_name_is_taken_as_libnbd_sends_it(
    tmp_path: os.PathLike[str],
) -> None:
    """libnbd sets no LISTEN_FDNAMES (U7)."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.join(tmp_path, "s"))
        made.listen()
        (found,) = take(_environment(), 7, first=made.fileno())
    assert (found.family, found.name, found.is_local) == ("UNIX", "", True)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        _environment(pid=8),
        _environment(count="0"),
        _environment(count="-1"),
        _environment(count="many"),
        {"LISTEN_FDS": "1"},
    ],
)
def test_sockets_meant_for_others_are_left_alone(environment: dict[str, str]) -> None:
    """Another process's LISTEN_PID is not an error (U5)."""
    assert take(environment, 7) == ()
    assert "LISTEN_FDS" not in environment


def test_a_descriptor_that_is_not_open_is_an_error() -> None:
    """The launcher promised a socket (U5)."""
    with pytest.raises(ActivationError, match="is not a socket: Bad file descriptor"):
        take(_environment(), 7, first=100_000)


def test_a_descriptor_that_is_no_socket_is_an_error() -> None:
    """A file is not served (U5)."""
    with open("/dev/null", "rb") as file, pytest.raises(ActivationError, match="not a socket"):
        take(_environment(), 7, first=file.fileno())


def test_a_socket_that_does_not_listen_is_an_error() -> None:
    """A connection cannot be accepted from."""
    with socket.socket() as made, pytest.raises(ActivationError, match="not a listening"):
        take(_environment(), 7, first=made.fileno())


UNIX = Inherited(3, "UNIX", "local", True)
INET = Inherited(4, "INET", "net", False)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("systemd", [UNIX, INET]),
        ("systemd:UNIX", [UNIX]),
        ("systemd:INET:name=net", [INET]),
        ("systemd:INET:index=1", [INET]),
    ],
)
def test_endpoints_choose_by_family_name_or_index(text: str, chosen: list[Inherited]) -> None:
    """``systemd`` alone means all of them (U6)."""
    assert choose(endpoint(text), (UNIX, INET), set()) == chosen


def test_a_socket_has_one_listener() -> None:
    """``systemd`` alone leaves what others named."""
    assert choose(endpoint("systemd"), (UNIX, INET), {INET.descriptor}) == [UNIX]
    with pytest.raises(ActivationError, match="a restart makes it free"):
        choose(endpoint("systemd:INET"), (UNIX, INET), {INET.descriptor})


@pytest.mark.parametrize("text", ["systemd:INET6", "systemd:UNIX:name=net", "systemd:INET:index=2"])
def test_an_endpoint_without_its_socket_is_an_error(text: str) -> None:
    """The message lists what there is."""
    with pytest.raises(ActivationError, match="got UNIX:name=local, INET:name=net"):
        choose(endpoint(text), (UNIX, INET), set())


def test_without_sockets_the_message_says_that_none_came() -> None:
    """Started by hand instead of by systemd."""
    with pytest.raises(ActivationError, match="no sockets were handed over"):
        choose(endpoint("systemd"), (), set())
