"""What is served without a configuration file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway import embedded
from gateway.providers import Providers


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


def test_the_data_directory_is_for_its_owner(tmp_path: Path) -> None:
    """Made once, and left as it is afterwards."""
    directory = tmp_path / "a" / "b"
    embedded.make_data_dir(str(directory))
    embedded.make_data_dir(str(directory))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
