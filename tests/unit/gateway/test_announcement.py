"""What is said of a gateway without a configuration file."""

from __future__ import annotations

import io
from typing import Any

import attrs
from twisted.internet.address import IPv4Address

from gateway import announcement, embedded
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


def test_the_operator_is_told_where_it_is_and_what_to_try() -> None:
    """URIs and one line for each client."""
    screen = io.StringIO()
    announcement.announce(_listeners("/data"), screen)
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
    announcement.announce(_listeners("/data"), screen)
