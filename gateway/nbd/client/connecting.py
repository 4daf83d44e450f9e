"""From an NBD URI to an open export."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate

from gateway.errors import ExportUnavailable, StorageError
from gateway.interfaces import IExport
from gateway.nbd.client.remote import RemoteProtocol, client_tls
from gateway.nbd.uri import DEFAULT_PORT
from gateway.settings import BadValue

#: Seconds for the server to be there and to let us in.
_PATIENCE = 30

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


async def connect(reactor: Any, uri: str) -> IExport:
    """
    Open an export of another server.

    Raises:
        BadValue: the URI is none.
        ExportUnavailable: nobody is there, or it does not let us in.
    """
    remote = parse(uri)
    tls = _tls(remote) if remote.tls else None
    endpoint: Any
    if remote.socket:
        endpoint = UNIXClientEndpoint(reactor, remote.socket, timeout=_PATIENCE)
    else:
        endpoint = HostnameEndpoint(reactor, remote.host, remote.port, timeout=_PATIENCE)
    protocol = RemoteProtocol(remote.name, tls)
    try:
        await connectProtocol(endpoint, protocol)
    except (ConnectError, OSError) as error:
        raise ExportUnavailable(f"{uri}: {error}") from None
    opened: Deferred[IExport] = protocol.connected_to.addTimeout(_PATIENCE, reactor)
    try:
        return await opened
    except TimeoutError:
        protocol.abort()
        raise ExportUnavailable(f"{uri}: no answer within {_PATIENCE} seconds") from None
    except StorageError as error:
        raise ExportUnavailable(f"{uri}: {error}") from None


def _tls(remote: Remote) -> Any:
    if not remote.certificates:
        return client_tls(remote.hostname)
    ca = _file(remote, "ca-cert.pem")
    more: dict[str, Any] = {}
    try:
        more["trustRoot"] = Certificate.loadPEM(ca)
        if os.path.exists(os.path.join(remote.certificates, "client-cert.pem")):
            more["clientCertificate"] = PrivateCertificate.fromCertificateAndKeyPair(
                Certificate.loadPEM(_file(remote, "client-cert.pem")),
                KeyPair.load(_file(remote, "client-key.pem"), 1),
            )
        return client_tls(remote.hostname, **more)
    except ExportUnavailable:
        raise
    except Exception as error:  # whatever OpenSSL makes of a file
        raise ExportUnavailable(f"tls-certificates: {remote.certificates}: {error}") from None


def _file(remote: Remote, name: str) -> bytes:
    path = os.path.join(remote.certificates, name)
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ExportUnavailable(f"tls-certificates: {path}: {error.strerror}") from None
