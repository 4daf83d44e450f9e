"""Endpoint strings."""

from __future__ import annotations

import pytest

from gateway.addresses import Address, endpoint, path_problem
from gateway.settings import BadValue


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("tcp:10809", False),
        ("tcp:10809:interface=0.0.0.0", False),
        ("tcp:10809:interface=127.0.0.1", True),
        ("tcp:10809:interface=127.8.0.1", True),
        ("tcp:10809:interface=localhost", True),
        ("tcp:port=10809:interface=192.0.2.1", False),
        ("tcp6:10809", False),
        (r"tcp6:10809:interface=\:\:1", True),
        (r"tcp:10809:interface=\:\:1", True),
        (r"tcp6:10809:interface=fe80\:\:1%eth0", False),
        ("unix:/run/nbd.sock", True),
        ("systemd:INET:name=nbd", True),
        ("systemd", True),
    ],
)
def test_who_can_reach_an_endpoint_is_read_from_its_string(text: str, is_local: bool) -> None:
    """Loopback, Unix sockets and nothing else are local."""
    assert endpoint(text).is_local is is_local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp",
        "tcp:",
        "tcp:http",
        "tcp:65536",
        "tcp:-1",
        "tcp:10809:interface=::1",
        "tcp:10809:interfce=127.0.0.1",
        "tcp:10809:interface=nowhere.example",
        "tcp:10809:127.0.0.1:x:y",
        "tcp:10809:backlog=x",
        "unix:",
        "unix:/a:mode=999",
        "unix:/a:colour=red",
        "systemd:IPX:name=nbd",
        "systemd:INET:index=x",
        "systemd:INET:index=0:name=nbd",
        "carrier-pigeon:1",
        "10809",
        "tcp:1\\",
    ],
)
def test_strings_that_mean_no_endpoint_are_refused(text: str) -> None:
    """Mistakes are found when the file is read, not when the port is opened."""
    with pytest.raises(BadValue):
        endpoint(text)


def test_parts_are_taken_apart() -> None:
    """Escapes lose their backslash; modes are octal."""
    assert endpoint(r"unix:/run/a\:b.sock:mode=600") == Address(
        r"unix:/run/a\:b.sock:mode=600", "unix", path="/run/a:b.sock", mode=0o600
    )
    assert endpoint("tcp:1:interface=127.0.0.1").port == 1
    assert endpoint("systemd:UNIX:index=2").index == 2


def test_relative_socket_paths_start_at_the_configuration_file() -> None:
    """Where twistd was started does not matter."""
    assert endpoint("unix:nbd.sock").under("/etc/gw").path == "/etc/gw/nbd.sock"
    assert endpoint("tcp:0:interface=127.0.0.1").under("/etc/gw").path == ""


def test_socket_paths_are_measured_in_bytes() -> None:
    """The kernel takes 107 bytes and no more (U4)."""
    assert path_problem("/" + "x" * 106) is None
    assert "107" in (path_problem("/" + "x" * 107) or "")
    assert path_problem("/" + "ä" * 54) is not None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tcp:1", "tcp:1:interface=0.0.0.0", True),
        ("tcp:1:interface=localhost", "tcp:1:interface=127.0.0.1:backlog=9", True),
        ("tcp6:1", "tcp:1:interface=\\:\\:", True),
        ("tcp:1", "tcp:1:interface=127.0.0.1", False),
        ("tcp:1", "tcp:2", False),
        ("unix:/s", "unix:/s:mode=600", True),
        ("unix:/s", "unix:/t", False),
        ("systemd:INET", "systemd:INET6", False),
    ],
)
def test_a_place_is_what_one_socket_can_serve(one: str, other: str, same: bool) -> None:
    """Options do not move a port."""
    assert (endpoint(one).place == endpoint(other).place) is same


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("tcp:1", "tcp:1:interface=127.0.0.1", True),
        ("tcp6:1", "tcp:1:interface=127.0.0.1", True),
        ("tcp:1:interface=127.0.0.1", "tcp:1:interface=127.0.0.2", False),
        ("tcp:0", "tcp:0:interface=127.0.0.1", False),
        ("tcp:1", "tcp:2", False),
        ("unix:/s", "tcp:1", False),
    ],
)
def test_a_port_for_all_interfaces_excludes_others(one: str, other: str, overlap: bool) -> None:
    """As Linux gives them out."""
    assert endpoint(one).overlaps(endpoint(other)) is overlap
    assert endpoint(other).overlaps(endpoint(one)) is overlap
