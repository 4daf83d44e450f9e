"""What is served without a configuration file: a sparse disk and a volume, on this machine only."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any, TextIO

from twisted.logger import Logger

from gateway import ini, validation
from gateway.addresses import Address, path_problem
from gateway.config import Configuration
from gateway.listeners import Listener
from gateway.nbd.uri import DEFAULT_PORT, tcp_uri, unix_uri
from gateway.providers import Providers

#: The name of the disk, a file; also what the empty name means.
EXPORT = "disk"

#: The name of the volume, whose objects are files.
VOLUME = "volume"

#: What each holds; none of it is used before it is written.
SIZE = "10G"

_log = Logger()


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


def announce(listeners: list[Listener], screen: TextIO | None) -> None:
    """
    Tell where disk and volume are and what to do with them.

    Args:
        screen: where an operator looks; None if nobody does. The log has it
            in any case.
    """
    uris = [uri for export in (EXPORT, VOLUME) for uri in _uris(listeners, export)]
    dashboards = [
        f"http://{port.getHost().host}:{port.getHost().port}/"
        for listener in listeners
        if listener.spec.protocol == "http"
        for port in listener.ports
    ]
    for uri in uris:
        _log.info("serving {uri}", uri=uri)
    for url in dashboards:
        _log.info("dashboard {url}", url=url)
    if not uris:
        return
    if all(listener.spec.address.kind != "unix" for listener in listeners):
        _log.info("the data directory's path is too long for a Unix socket; only TCP is served")
    if screen is None:
        return
    lines = [
        "",
        *(f"Serving {uri}" for uri in uris),
        "",
        *(f"Dashboard {url}" for url in dashboards),
        *([""] if dashboards else []),
        "Try it:",
        *(f"  {line}" for line in examples(_uris(listeners, EXPORT)[-1], uris[-1])),
        "",
        "Stop with Ctrl-C. What was written stays. --config FILE serves disks of your own.",
        "",
    ]
    try:
        screen.write("\n".join(lines) + "\n")
        screen.flush()
    except (OSError, ValueError):
        pass  # closed or broken: the log has it


def screen(no_daemon: bool) -> TextIO | None:
    """Where to print for the operator; None in a daemon, and where programs read the log."""
    out = sys.__stdout__
    return out if no_daemon and out is not None and out.isatty() else None


def examples(disk: str, volume: str) -> list[str]:
    """
    One command each for the usual clients.

    Args:
        disk, volume: their URIs.
    """
    disk, volume = shlex.quote(disk), shlex.quote(volume)
    return [
        f"nbdinfo {disk}",
        f"nbdcopy -p {disk} copy.raw",
        f"qemu-system-x86_64 -m 1G -drive file={disk},format=raw,if=virtio",
        f"qemu-io -f raw -t writeback -c 'write -P 1 1G 1M' -c 'write -z -n 2G 1G' {volume}",
        f"nbdinfo --map {volume}",
    ]


def _uris(listeners: list[Listener], export: str) -> list[str]:
    found = []
    for listener in listeners:
        if listener.spec.protocol != "nbd":
            continue
        address: Address = listener.spec.address
        if address.kind == "unix":
            found.append(unix_uri(export, address.path))
        elif address.kind == "tcp":
            hosts: list[Any] = [port.getHost() for port in listener.ports]
            found += [tcp_uri(export, host.host, host.port) for host in hosts]
        # Whoever handed a socket over knows where it is.
    return found


def _quoted(path: str) -> str:
    """As a part of an endpoint string."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
