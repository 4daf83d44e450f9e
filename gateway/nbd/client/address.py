"""NBD URIs of other servers, as values."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from gateway.nbd.uri import DEFAULT_PORT
from gateway.settings import BadValue

_SCHEMES = {
    "nbd": (False, False),
    "nbds": (False, True),
    "nbd+unix": (True, False),
    "nbds+unix": (True, True),
}


@attrs.frozen
class Remote:
    """
    Where an export is.

    Attributes:
        name: of the export.
        host, port: empty and 0 for a Unix socket.
        socket: its path; empty for TCP.
        tls: nothing is said in clear.
        certificates: directory with ``ca-cert.pem`` and, where the server asks for them,
            ``client-cert.pem`` and ``client-key.pem``; empty for the system's authorities.
        hostname: that the server's certificate has to name.
    """

    name: str
    host: str
    port: int
    socket: str
    tls: bool
    certificates: str = ""
    hostname: str = ""


def is_nbd(text: str) -> bool:
    """Whether an address is an NBD URI."""
    return text.partition("://")[0] in _SCHEMES and "://" in text


def parse(uri: str) -> Remote:
    """
    Read an NBD URI, with libnbd's additions ``tls-certificates`` and ``tls-hostname``.

    Raises:
        BadValue: it is none, or asks for what this client does not do.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError as error:
        raise BadValue(f"got {uri!r}, expected an NBD URI: {error}") from None
    if parts.scheme not in _SCHEMES:
        raise BadValue(f"got {uri!r}, expected nbd://, nbds://, nbd+unix:// or nbds+unix://")
    unix, tls = _SCHEMES[parts.scheme]
    known = {"socket", "tls-certificates", "tls-hostname"}
    for key in query:
        if key not in known:
            raise BadValue(
                f"got {key}= in {parts.scheme}://, expected only {', '.join(sorted(known))}"
            )
    socket = query.get("socket", "")
    if unix != bool(socket):
        raise BadValue(f"got {uri!r}, expected socket=PATH just with nbd+unix:// or nbds+unix://")
    if not unix and not parts.hostname:
        raise BadValue(f"got {uri!r}, expected a host")
    host = parts.hostname or ""
    return Remote(
        name=unquote(parts.path.removeprefix("/")),
        host=host,
        port=0 if unix else port or DEFAULT_PORT,
        socket=socket,
        tls=tls,
        certificates=query.get("tls-certificates", ""),
        hostname=query.get("tls-hostname", "") or host or "localhost",
    )
