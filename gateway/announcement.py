"""What an operator is told who started the gateway without a configuration file."""

from __future__ import annotations

import shlex
import sys
from typing import Any, TextIO

from twisted.logger import Logger

from gateway.addresses import Address
from gateway.embedded import EXPORT, VOLUME
from gateway.listeners import Listener
from gateway.nbd.uri import tcp_uri, unix_uri

_log = Logger()


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
