"""
Certificates for tests, made on the spot in the file layout that qemu uses.

One `make_certificates` call fills a directory::

    ca-cert.pem      server-cert.pem  server-key.pem
    client-cert.pem  client-key.pem   ca-crl.pem

and one subdirectory for each kind of client that is to be refused, with
``client-cert.pem``, ``client-key.pem`` and the right ``ca-cert.pem``:
``wrong-ca``, ``expired``, ``revoked`` and ``server-only``.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)

#: Clients that a server with a client CA and its revocation list refuses.
REFUSED = ("wrong-ca", "expired", "revoked", "server-only")


class Authority:
    """A certificate authority: a root by default, an intermediate one below ``parent``."""

    def __init__(self, name: str, parent: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        signer = parent or self
        self.certificate = (
            _builder(self._name, signer._name, self.key, 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(_key_identifier(self.key), critical=False)
            .add_extension(_issuer_identifier(signer.key), critical=False)
            .sign(signer.key, hashes.SHA256())
        )

    def issue(
        self,
        name: str,
        *,
        purpose: x509.ObjectIdentifier | None,
        names: tuple[x509.GeneralName, ...] = (),
        lifetime: timedelta = 30 * DAY,
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """
        Make a certificate and its key.

        Args:
            name: the common name.
            purpose: the extended key usage; None leaves it out.
            names: subject alternative names.
            lifetime: from now; a negative one makes it expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(name), self._name, key, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(_issuer_identifier(self.key), critical=False)
        )
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()), key

    def revoke(self, *certificates: x509.Certificate) -> x509.CertificateRevocationList:
        """The list that says that exactly these certificates are revoked."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - DAY)
            .next_update(now + 30 * DAY)
        )
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(now - DAY)
                .build()
            )
        return builder.sign(self.key, hashes.SHA256())


def make_certificates(directory: Path, server_name: str = "localhost") -> Authority:
    """
    Fill ``directory`` as the module says.

    The client is ``cn:vm17`` and ``san:vm17.example``; the server is good for
    ``server_name``, 127.0.0.1 and ::1.

    Returns:
        The authority, to issue more.
    """
    authority = Authority("test CA")
    client = ExtendedKeyUsageOID.CLIENT_AUTH
    server = ExtendedKeyUsageOID.SERVER_AUTH
    addresses = [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
    write_pair(
        directory,
        "server",
        *authority.issue(
            server_name, purpose=server, names=(x509.DNSName(server_name), *addresses)
        ),
    )
    write_pair(
        directory,
        "client",
        *authority.issue("vm17", purpose=client, names=(x509.DNSName("vm17.example"),)),
    )
    revoked = authority.issue("revoked", purpose=client)
    refused = {
        "wrong-ca": Authority("another CA").issue("vm17", purpose=client),
        "expired": authority.issue("vm17", purpose=client, lifetime=-DAY),
        "revoked": revoked,
        "server-only": authority.issue("vm17", purpose=server),
    }
    root = authority.certificate.public_bytes(Encoding.PEM)
    (directory / "ca-cert.pem").write_bytes(root)
    (directory / "ca-crl.pem").write_bytes(authority.revoke(revoked[0]).public_bytes(Encoding.PEM))
    for name in REFUSED:
        (directory / name).mkdir()
        write_pair(directory / name, "client", *refused[name])
        (directory / name / "ca-cert.pem").write_bytes(root)
    return authority


def write_pair(
    directory: Path,
    role: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    *chain: x509.Certificate,
) -> None:
    """Write ``<role>-cert.pem``, with ``chain`` behind it, and ``<role>-key.pem``."""
    (directory / f"{role}-cert.pem").write_bytes(
        b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *chain))
    )
    path = directory / f"{role}-key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    os.chmod(path, 0o600)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + lifetime)
    )


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _key_identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _issuer_identifier(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
