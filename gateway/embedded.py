"""What is served without a configuration file: a sparse disk and a volume, on this machine only."""

from __future__ import annotations

import os

from gateway import ini, validation
from gateway.addresses import path_problem
from gateway.config import Configuration
from gateway.nbd.uri import DEFAULT_PORT
from gateway.providers import Providers

#: The name of the disk, a file; also what the empty name means.
EXPORT = "disk"

#: The name of the volume, whose objects are files.
VOLUME = "volume"

#: What each holds; none of it is used before it is written.
SIZE = "10G"


def document(data_dir: str) -> ini.Document:
    """
    What it says of storage.

    Args:
        data_dir: absolute.
    """
    sections = {
        "gateway": {"state_dir": data_dir, "default_export": EXPORT},
        f"export:{EXPORT}": {
            "provider": "file",
            "path": os.path.join(data_dir, "disk.raw"),
            "size": SIZE,
        },
        f"export:{VOLUME}": {
            "provider": "directory",
            "path": os.path.join(data_dir, "objects"),
            "size": SIZE,
        },
    }
    return ini.Document("(no configuration file)", data_dir, sections)


def configuration(
    data_dir: str,
    port: int = DEFAULT_PORT,
    http_port: int | None = None,
    *,
    activated: bool = False,
    providers: Providers | None = None,
) -> Configuration:
    """
    The configuration that stands in for a missing file.

    Args:
        data_dir: absolute; `make_data_dir` makes it when the service starts.
        port: on the loopback interface.
        http_port: of the dashboard, there as well; None for one above ``port``.
        activated: serve on the sockets that were handed over, and no others.
    """
    sections = dict(document(data_dir).sections)
    socket_path = os.path.join(data_dir, "nbd.sock")
    if activated:
        sections["listen:handed-over"] = {"endpoint": "systemd"}
    else:
        sections["listen:tcp"] = {"endpoint": f"tcp:{port}:interface=127.0.0.1"}
        if path_problem(socket_path) is None:
            sections["listen:unix"] = {"endpoint": f"unix:{_quoted(socket_path)}", "mode": "0600"}
        if http_port is None:
            # Any that is free, if NBD has such a one, or there is none above.
            http_port = (port + 1) % 65536 if port else 0
        sections["listen:http"] = {
            "protocol": "http",
            "endpoint": f"tcp:{http_port}:interface=127.0.0.1",
        }
    made = ini.Document("(no configuration file)", data_dir, sections)
    # The directory is not made yet, and making it is for the process that serves.
    return validation.check(
        made, [], activated=activated, providers=providers, look_at_storage=False
    )


def make_data_dir(data_dir: str) -> None:
    """Make the directory for disk and volume, for its owner only, unless it is there."""
    os.makedirs(data_dir, mode=0o700, exist_ok=True)


def _quoted(path: str) -> str:
    """As a part of an endpoint string."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
