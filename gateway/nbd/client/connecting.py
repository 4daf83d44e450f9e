"""From an NBD URI to an open export."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate

from gateway.errors import ExportUnavailable, StorageError
from gateway.interfaces import IExport
from gateway.nbd.client.address import Remote, parse
from gateway.nbd.client.remote import RemoteProtocol, client_tls

#: Seconds for the server to be there and to let us in.
_PATIENCE = 30


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
