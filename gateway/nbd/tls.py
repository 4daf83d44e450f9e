"""
What a listener needs to speak TLS: a context from files, and who the peer is.

Certificates and pre-shared keys exclude each other on one listener. Both speak
TLS 1.2 and 1.3 only, without compression, renegotiation or resumed sessions:
connections are few and long, and each one is to be checked against the files
of today. A reload makes a new `ServerTLS`; connections keep the old one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from gateway.nbd.psk import PSKConnections, read_keys

_TLS12_SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
_PEM_LIST = re.compile(rb"(?s)-----BEGIN X509 CRL-----.*?-----END X509 CRL-----")

_log = Logger()


class UnauthenticatedPeer(Exception):
    """The peer has not proved who it is, though it had to; its connection is to be dropped."""


class ServerTLS:
    """
    What a listener needs to speak TLS; makes one OpenSSL context per (re)load.

    Attributes:
        expires: when the server's certificate ends; None with pre-shared keys.
    """

    def __init__(
        self,
        connections: CertificateConnections | PSKConnections,
        asks: bool,
        expires: datetime | None = None,
    ) -> None:
        """Use `x509` or `psk`; ``asks`` says whether every peer has to prove who it is."""
        self._connections = connections
        self._asks = asks
        self.expires = expires

    @classmethod
    def x509(
        cls, certificate: str, key: str, client_ca: str | None = None, crl: str | None = None
    ) -> ServerTLS:
        """
        Prove who we are by certificate, and let clients do so too if ``client_ca`` is given.

        Args:
            certificate: path of our certificate, followed by those between it and its root.
            key: path of its private key, not encrypted.
            client_ca: path of the roots that clients' certificates lead to. With it, each
                client has to show a certificate that is good for clients.
            crl: path of the lists of revoked certificates, one of each certificate in
                ``client_ca``.

        Raises:
            ValueError: a file cannot be read or is not what it should be, or they do not
                belong together. The text names the file and what was expected.
        """
        context = _context()
        context.set_cipher_list(_TLS12_SUITES)
        chain = _certificates(certificate)
        try:
            context.use_certificate(chain[0])
            for issuer in chain[1:]:
                context.add_extra_chain_cert(issuer)
        except SSL.Error as error:
            # Such as a key too short for OpenSSL's level of security.
            raise ValueError(f"{certificate}: refused by OpenSSL: {_reason(error)}") from error
        _use_private_key(context, key, certificate)
        if client_ca is not None:
            _ask_for_certificates(context, client_ca, crl)
        elif crl is not None:
            raise ValueError(f"{crl}: a list of revoked certificates needs a client CA beside it")
        return cls(
            CertificateConnections(context), client_ca is not None, chain[0].not_valid_after_utc
        )

    @classmethod
    def psk(cls, path: str) -> ServerTLS:
        """
        Let both sides prove who they are by a key that both have.

        Args:
            path: a file of ``identity:key`` lines, for its owner only.

        Raises:
            ValueError: the file cannot be read, others may read it, a line is wrong (the text
                has its number, nothing of its content), or OpenSSL here has no pre-shared keys.
        """
        return cls(PSKConnections(_context(), read_keys(path)), True)

    def context_factory(self) -> IOpenSSLServerConnectionCreator:
        """What ``transport.startTLS`` takes; the same for every connection."""
        return self._connections

    def peer_names(self, connection: SSL.Connection) -> frozenset[str]:
        """
        The names that the peer has proved to be its own.

        Args:
            connection: made by `context_factory`, its handshake finished.

        Returns:
            Such as ``cn:vm17`` and ``san:vm17.example``, or ``psk:alice``; nothing if clients
            are not asked who they are.

        Raises:
            UnauthenticatedPeer: a proof was asked for and there is none, or the handshake is
                not finished.
        """
        if connection.get_peer_finished() is None:
            raise UnauthenticatedPeer("got an unfinished handshake, expected a finished one")
        if not self._asks:
            return frozenset()
        if isinstance(self._connections, PSKConnections):
            identity = self._connections.identity(connection)
            if identity is None:
                raise UnauthenticatedPeer("got no pre-shared key, expected one of the key file")
            return frozenset({f"psk:{identity}"})
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
            names = frozenset(_names(certificate)) if certificate is not None else None
        except ValueError as error:
            raise UnauthenticatedPeer(f"got a damaged certificate: {error}") from error
        if names is None:
            raise UnauthenticatedPeer("got no certificate, expected one of the client CA")
        return names


@implementer(IOpenSSLServerConnectionCreator)
class CertificateConnections:
    """Makes server connections that show a certificate."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        return SSL.Connection(self._context, None)


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_TICKET
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _ask_for_certificates(context: SSL.Context, client_ca: str, crl: str | None) -> None:
    authorities = _certificates(client_ca)
    store = context.get_cert_store()
    assert store is not None, "a fresh context has a store"
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.add_client_ca(authority)
    if crl is not None:
        lists = _revocation_lists(crl)
        for authority in authorities:
            if not any(_is_by(revoked, authority) for revoked in lists):
                # OpenSSL would refuse each client of that authority, and not say why.
                raise ValueError(
                    f"{crl}: got no list by {authority.subject.rfc4514_string()!r}, "
                    f"expected one by each certificate in {client_ca}"
                )
        for revoked in lists:
            store.add_crl(revoked)
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    # Servers check clients for the purpose "TLS client" without being told to.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verified)


def _verified(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """Called by OpenSSL with its verdict on one certificate of a chain; only tells the log why."""
    if not ok:
        try:
            subject = certificate.to_cryptography().subject.rfc4514_string()
        except ValueError:
            subject = "(damaged)"
        _log.warn(
            "client certificate {subject!r} refused: {reason}",
            subject=subject,
            reason=_VERDICTS.get(error, f"OpenSSL's verification error {error}"),
        )
    return bool(ok)


#: The commoner X509_V_ERR_ numbers of OpenSSL's x509_vfy.h.
_VERDICTS = {
    3: "there is no list of revoked certificates by its issuer",
    9: "it is not valid yet",
    10: "it has expired",
    12: "the list of revoked certificates has expired",
    18: "it is signed by itself",
    19: "its root is not in the client CA file",
    20: "its issuer is not in the client CA file",
    23: "it is revoked",
    26: "it is not meant for TLS clients",
    79: "its issuer is no certificate authority",
}


def _names(certificate: x509.Certificate) -> Iterator[str]:
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if isinstance(attribute.value, str):
            yield f"cn:{attribute.value}"
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress):
        for name in others.get_values_for_type(kind):
            yield f"san:{name}"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def _certificates(path: str) -> list[x509.Certificate]:
    content = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ValueError(f"{path}: got no usable certificate, expected PEM: {error}") from error


def _revocation_lists(path: str) -> list[x509.CertificateRevocationList]:
    texts = _PEM_LIST.findall(_read(path))
    try:
        lists = [x509.load_pem_x509_crl(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{path}: got a damaged list of revoked certificates: {error}") from error
    if not lists:
        raise ValueError(f"{path}: got no list of revoked certificates, expected PEM")
    return lists


def _is_by(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if revoked.issuer != authority.subject:
        return False
    return revoked.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # also kinds that sign nothing


def _use_private_key(context: SSL.Context, key: str, certificate: str) -> None:
    # By OpenSSL: the cryptography package refuses half of the EC keys that certtool makes.
    if b"ENCRYPTED" in _read(key):
        # As "ENCRYPTED PRIVATE KEY" or "Proc-Type: 4,ENCRYPTED". OpenSSL would ask at the terminal.
        raise ValueError(f"{key}: got an encrypted private key, expected a plain one")
    try:
        context.use_privatekey_file(key)
        context.check_privatekey()
    except SSL.Error as error:
        reason = _reason(error)
        if "mismatch" in reason or "no certificate assigned" in reason:
            complaint = f"got the key of another certificate than that in {certificate}"
        else:
            complaint = f"got no usable private key, expected PEM: {reason}"
        raise ValueError(f"{key}: {complaint}") from error


def _reason(error: SSL.Error) -> str:
    return "; ".join(str(entry[-1]) for entry in error.args[0])
