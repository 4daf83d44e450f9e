"""libnbd's tools start a gateway for one command, and what they copied stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.clients import Clients
from tests.interop.images import Image
from tests.service.twistd import TWISTD, environment

pytestmark = pytest.mark.interop

CONFIGURATION = """
[listen:handed-over]
endpoint = systemd
[export:disk]
provider = file
path = disk.raw
size = 64M
"""


def gateway(directory: Path) -> list[str]:
    """``[ twistd -n nbdgateway --config gw.ini ]`` as arguments."""
    (directory / "gw.ini").write_text(CONFIGURATION)
    options = ["--nodaemon", "--pidfile=", "--logfile=gw.log", "nbdgateway", "--config=gw.ini"]
    return ["[", *TWISTD, *options, "]"]


def test_a_configuration_is_served_for_as_long_as_one_command_takes(
    clients: Clients, image: Image
) -> None:
    """In with nbdcopy, looked at with nbdinfo, out with nbdcopy: three gateways, one disk (U7)."""
    command = gateway(clients.directory)
    clients.run("nbdcopy", "--", image.raw, *command, env=environment())
    described = clients.run("nbdinfo", "--", *command, env=environment())
    assert f"export-size: {image.size} (64M)" in described
    copy = clients.directory / "copy.raw"
    clients.run("nbdcopy", "--", *command, copy, env=environment())
    assert copy.read_bytes() == image.raw.read_bytes()
    log = (clients.directory / "gw.log").read_text()
    assert log.count("every export is closed") == 3
    assert "Traceback" not in log
