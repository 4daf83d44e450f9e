"""How a client on this machine reaches an export of a configuration."""

from __future__ import annotations

from gateway.config import Configuration
from gateway.nbd.uri import tcp_uri, unix_uri


def local_uri(configuration: Configuration, name: str) -> str | None:
    """
    An NBD URI of an export, for which no key or certificate is needed.

    Args:
        name: of the export.

    Returns:
        None if no listener offers it so: each wants TLS, or has a port that nobody knows.
    """
    tls_only = any(one.name == name and one.tls_only for one in configuration.exports)
    for listener in configuration.listeners:
        if listener.protocol != "nbd" or listener.tls == "require" or tls_only:
            continue
        if listener.exports is not None and name not in listener.exports:
            continue
        address = listener.address
        if address.kind == "unix":
            return unix_uri(name, address.path)
        if address.kind in ("tcp", "tcp6") and not address.is_any_port:
            everywhere = "::1" if address.kind == "tcp6" else "127.0.0.1"
            host = everywhere if address.host in ("", "0.0.0.0", "::") else address.host
            return tcp_uri(name, host, address.port)
    return None
