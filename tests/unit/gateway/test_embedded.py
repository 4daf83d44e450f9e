"""What is served without a configuration file."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address

from gateway import embedded
from gateway.listeners import Doorway, Listener
from gateway.providers import Providers
from tests.unit.gateway.fakes import FakeFactory


@attrs.define
class Port:
    """A port that knows where it is."""

    host: Any

    def getHost(self) -> Any:
        return self.host


def _listeners(directory: str) -> list[Listener]:
    configuration = embedded.configuration(directory, providers=Providers(plugins=()))
    port = Port(IPv4Address("TCP", "127.0.0.1", 10809))
    return [
        Listener(spec, Doorway(FakeFactory(spec, None, None, 0), 1), [port])
        for spec in configuration.listeners
    ]


def test_a_disk_and_a_volume_are_served_on_this_machine_only() -> None:
    """Trying the gateway exposes nothing."""
    configuration = embedded.configuration("/data", providers=Providers(plugins=()))
    assert [export.name for export in configuration.exports] == ["disk", "volume"]
    assert configuration.default_export == "disk"
    assert [spec.address.text for spec in configuration.listeners] == [
        "tcp:10809:interface=127.0.0.1",
        "unix:/data/nbd.sock",
        "tcp:10810:interface=127.0.0.1",
    ]
    assert all(spec.address.is_local for spec in configuration.listeners)


@pytest.mark.parametrize(
    ("ports", "expected"), [((5,), 6), ((0,), 0), ((65535,), 0), ((5, 80), 80), ((0, 80), 80)]
)
def test_the_dashboard_is_one_port_above(ports: tuple[int, ...], expected: int) -> None:
    """Unless it is told another; any that is free where there is none above."""
    configuration = embedded.configuration("/data", *ports, providers=Providers(plugins=()))
    (listener,) = (one for one in configuration.listeners if one.protocol == "http")
    assert listener.address.text == f"tcp:{expected}:interface=127.0.0.1"


def test_sockets_handed_over_replace_its_own() -> None:
    """``nbdinfo -- [ twistd -n nbdgateway ]`` opens no port."""
    configuration = embedded.configuration("/data", activated=True, providers=Providers(plugins=()))
    assert [spec.address.kind for spec in configuration.listeners] == ["systemd"]


def test_colons_in_the_directory_do_not_end_the_path() -> None:
    """Endpoint strings have marks of their own."""
    configuration = embedded.configuration("/da:t=a", providers=Providers(plugins=()))
    assert configuration.listeners[1].address.path == "/da:t=a/nbd.sock"


def test_a_directory_too_deep_for_a_socket_has_tcp_only() -> None:
    """The default works in every directory."""
    configuration = embedded.configuration("/" + "x" * 100, providers=Providers(plugins=()))
    assert [spec.address.kind for spec in configuration.listeners] == ["tcp", "tcp"]


def test_the_operator_is_told_where_it_is_and_what_to_try() -> None:
    """URIs and one line for each client."""
    screen = io.StringIO()
    embedded.announce(_listeners("/data"), screen)
    text = screen.getvalue()
    assert "Serving nbd://127.0.0.1/disk\n" in text
    assert "Dashboard http://127.0.0.1:10809/\n" in text
    assert "Serving http" not in text
    assert "Serving nbd+unix:///disk?socket=/data/nbd.sock\n" in text
    assert "Serving nbd+unix:///volume?socket=/data/nbd.sock\n" in text
    assert "  nbdinfo --map 'nbd+unix:///volume?socket=/data/nbd.sock'\n" in text
    for client in ("nbdinfo", "nbdcopy", "qemu"):
        assert f"  {client}" in text


def test_a_closed_screen_is_no_error() -> None:
    """Output may be piped to something that has gone."""
    screen = io.StringIO()
    screen.close()
    embedded.announce(_listeners("/data"), screen)


def test_the_data_directory_is_for_its_owner(tmp_path: Path) -> None:
    """Made once, and left as it is afterwards."""
    directory = tmp_path / "a" / "b"
    embedded.make_data_dir(str(directory))
    embedded.make_data_dir(str(directory))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
