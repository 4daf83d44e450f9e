"""A certificate authority of one's own, for a gateway and its clients; in qemu's file layout."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: What qemu, libnbd and nbdkit look for in a directory of certificates.
CA_CERTIFICATE, CA_KEY = "ca-cert.pem", "ca-key.pem"
SERVER_CERTIFICATE, SERVER_KEY = "server-cert.pem", "server-key.pem"
CLIENT_CERTIFICATE, CLIENT_KEY = "client-cert.pem", "client-key.pem"
PSK_FILE = "keys.psk"

#: Bytes of a pre-shared key.
_PSK_BYTES = 32

#: Clocks of others may be behind.
_LEEWAY = timedelta(minutes=10)

#: The longest common name, by RFC 5280.
_MOST_NAME = 64

_IDENTITY = re.compile(r"[^:#\s,][^:\s,]{0,127}")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*")


class CannotMake(Exception):
    """A certificate or key was not made; nothing was overwritten. The text says why."""


def init_ca(directory: str, name: str, days: int, now: datetime) -> list[str]:
    """
    Make an authority: ``ca-cert.pem`` and ``ca-key.pem``.

    Args:
        directory: made, for its owner only, if it is missing.
        name: the authority's, for people.
        days: how long it is good.

    Returns:
        The paths of what was made.

    Raises:
        CannotMake: there is one already, or the directory cannot be written to.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key, now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return _write(directory, {CA_KEY: _key_pem(key), CA_CERTIFICATE: _pem(certificate)})


def server(directory: str, hosts: Sequence[str], days: int, now: datetime) -> list[str]:
    """
    Make the gateway's ``server-cert.pem`` and ``server-key.pem``, beside the authority.

    Args:
        hosts: names and addresses that clients connect to; the first is the common name.

    Raises:
        CannotMake: as for `init_ca`; or a host is none, or there is no authority.
    """
    names = [_alternative(host) for host in hosts]
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    key, certificate = _issue(directory, hosts[0], names, usage, days, now)
    return _write(directory, {SERVER_KEY: key, SERVER_CERTIFICATE: certificate})


def client(directory: str, name: str, days: int, now: datetime) -> list[str]:
    """
    Make a client's own folder, named after it, with ``client-cert.pem``, ``client-key.pem`` and
    the authority's certificate: all that its host needs.

    Raises:
        CannotMake: as for `server`.
    """
    if name in (".", "..") or "/" in name or not name.isprintable():
        raise CannotMake(f"got {name!r}, expected a name that a folder can have")
    key, certificate = _issue(directory, name, [], ExtendedKeyUsageOID.CLIENT_AUTH, days, now)
    authority = _read(directory, CA_CERTIFICATE)
    return _write(
        os.path.join(directory, name),
        {CLIENT_KEY: key, CLIENT_CERTIFICATE: certificate, CA_CERTIFICATE: authority},
    )


def psk(directory: str, identity: str) -> list[str]:
    """
    Make a pre-shared key: a line in ``keys.psk``, and the same line alone in a folder of the
    client's own.

    Raises:
        CannotMake: the identity has a key already, or is none.
    """
    if not _IDENTITY.fullmatch(identity) or "/" in identity or identity in (".", ".."):
        raise CannotMake(
            f"got {identity!r}, expected 1 to 128 characters without white space, ',', ':', '/'"
            " and without '#' in front"
        )
    path = os.path.join(directory, PSK_FILE)
    known = b""
    if os.path.exists(path):
        known = _read(directory, PSK_FILE)
        if any(line.partition(b":")[0] == identity.encode() for line in known.splitlines()):
            raise CannotMake(f"{path}: {identity!r} has a key already")
        if not known.endswith(b"\n"):
            known += b"\n"
    line = f"{identity}:{secrets.token_hex(_PSK_BYTES)}\n".encode()
    made = _write(os.path.join(directory, identity), {PSK_FILE: line})
    _replace(path, known + line)
    return [path, *made]


def _issue(
    directory: str,
    name: str,
    names: list[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    days: int,
    now: datetime,
) -> tuple[bytes, bytes]:
    """A key and a certificate of the authority in ``directory``, in PEM."""
    try:
        issuer = x509.load_pem_x509_certificate(_read(directory, CA_CERTIFICATE))
        signer = load_pem_private_key(_read(directory, CA_KEY), None)
    except (ValueError, TypeError):
        raise CannotMake(
            f"{directory}: got a {CA_CERTIFICATE} or {CA_KEY} that is none, or that has a"
            " password, expected what `tls init-ca` makes"
        ) from None
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise CannotMake(f"{directory}: {CA_KEY}: expected a key on an elliptic curve")
    if signer.public_key() != issuer.public_key():
        raise CannotMake(f"{directory}: {CA_KEY} is not the key of {CA_CERTIFICATE}")
    # Both may have been made for the same number of days, one after the other.
    last = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    left = -((now - issuer.not_valid_after_utc) // timedelta(days=1))
    if days > left:
        raise CannotMake(f"days: got {days}, expected at most {left}: then the authority ends")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(name), issuer.subject, key, now, last)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _key_pem(key), _pem(builder.sign(signer, hashes.SHA256()))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    last: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _LEEWAY)
        .not_valid_after(last.astimezone(UTC))
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


def _name(text: str) -> x509.Name:
    if not 0 < len(text) <= _MOST_NAME:
        raise CannotMake(f"got {text!r}, expected a name of 1 to {_MOST_NAME} characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host):
        raise CannotMake(f"got {host!r}, expected a host's name or address")
    return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(directory: str, name: str) -> bytes:
    path = os.path.join(directory, name)
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        hint = ": `tls init-ca` makes one" if name in (CA_CERTIFICATE, CA_KEY) else ""
        raise CannotMake(f"{path}: there is none{hint}") from None
    except OSError as error:
        raise CannotMake(f"{path}: {error.strerror}") from None


def _write(directory: str, contents: dict[str, bytes]) -> list[str]:
    """New files, all of them or none; keys for their owner only."""
    paths = {os.path.join(directory, name): content for name, content in contents.items()}
    made: list[str] = []
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for path, content in paths.items():
            mode = 0o644 if path.endswith("-cert.pem") else 0o600
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            made.append(path)
            with open(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        for path in made:
            os.unlink(path)
        what = "there is one already" if isinstance(error, FileExistsError) else error.strerror
        raise CannotMake(f"{error.filename or directory}: {what}") from None
    return [*paths]


def _replace(path: str, content: bytes) -> None:
    """A file as a whole, so that a gateway that reads it meanwhile has the old one or the new."""
    beside = f"{path}.new"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, path)
    except OSError as error:
        raise CannotMake(f"{path}: {error.strerror}") from None
