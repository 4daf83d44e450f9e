"""
TLS with pre-shared keys: the key file, and OpenSSL contexts that ask it.

The key file is that of GnuTLS's ``psktool``: ``identity:key`` per line, the key
in hexadecimal.

pyOpenSSL has no public call for pre-shared keys, so a callback is set on its
context through the binding beneath it (decision 0009). Invariants:

1. The context holds no certificate. With one, OpenSSL may decline a key that
   the client offered, and finish the handshake with a peer it does not know.
2. No session is resumed. A resumed one would not ask for an identity.
3. An identity that nobody has gets a key that nobody has. Its handshake then
   fails at the same step, with the same alert, as one with a wrong key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

#: OpenSSL's limits are 256 bytes of identity and 512 of key; the shortest key is 128 bits,
#: since whoever saw a TLS 1.2 handshake can try short ones without asking us.
MAX_IDENTITY = 128
MIN_KEY = 16
MAX_KEY = 256

#: Ephemeral Diffie-Hellman in every one, so that a stolen key file opens no recorded session.
TLS12_SUITES = (
    b"ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256:ECDHE-PSK-AES256-CBC-SHA384"
)

#: A key set by callback is bound to SHA-256; OpenSSL declines it under a SHA-384 suite.
TLS13_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"

_LINE = re.compile(r"(?P<identity>[^:#\s,][^:\s,]*):(?P<key>(?:[0-9A-Fa-f]{2})+)")


def read_keys(path: str) -> dict[bytes, bytes]:
    """
    Read a key file.

    Returns:
        Identity to key.

    Raises:
        ValueError: the file cannot be read, others than its owner may read it,
            or a line is not ``identity:hexadecimal key``. The text names the
            line and holds nothing of it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ValueError(
                    f"{path}: refused: got mode {mode:04o}, expected 0600: "
                    "no access for group and others"
                )
            lines = file.read().splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Its text and its `object` hold the file's bytes.
        raise ValueError(f"{path}: got bytes that are not UTF-8, expected text") from None
    keys: dict[bytes, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or not match["identity"].isprintable():
            raise ValueError(
                f"{path}:{number}: expected identity:key, the identity without white space, "
                "comma or leading #, the key in hexadecimal"
            )
        identity, key = match["identity"].encode(), bytes.fromhex(match["key"])
        if len(identity) > MAX_IDENTITY:
            raise ValueError(
                f"{path}:{number}: got an identity of {len(identity)} bytes, "
                f"expected at most {MAX_IDENTITY}"
            )
        if not MIN_KEY <= len(key) <= MAX_KEY:
            raise ValueError(
                f"{path}:{number}: got a key of {len(key)} bytes, expected {MIN_KEY} to {MAX_KEY}"
            )
        if identity in keys:
            raise ValueError(f"{path}:{number}: got an identity again, expected each once")
        keys[identity] = key
    if not keys:
        raise ValueError(f"{path}: got no keys, expected at least one line identity:key")
    return keys


@implementer(IOpenSSLServerConnectionCreator)
class PSKConnections:
    """Makes server connections that know their peers by pre-shared key."""

    def __init__(self, context: SSL.Context, keys: Mapping[bytes, bytes]) -> None:
        """
        Args:
            context: a fresh server context, without certificate; it is this object's from now on.
            keys: identity to key.

        Raises:
            ValueError: this build of OpenSSL, or of its binding, has no pre-shared keys.
        """
        if not hasattr(lib, "SSL_CTX_set_psk_server_callback"):
            raise ValueError(
                "TLS with pre-shared keys is not possible here: this version of the cryptography "
                "package does not bind SSL_CTX_set_psk_server_callback; use certificates instead"
            )
        context.set_cipher_list(TLS12_SUITES)
        context.set_tls13_ciphersuites(TLS13_SUITES)
        self._context = context
        self._keys = keys
        self._decoy = secrets.token_bytes(32)
        # OpenSSL knows a connection by its pointer only, and Twisted claims its application data.
        self._connections: WeakValueDictionary[int, SSL.Connection] = WeakValueDictionary()
        self._identities: WeakKeyDictionary[SSL.Connection, str] = WeakKeyDictionary()
        # OpenSSL holds no reference to it: it lives as long as the context because both live here.
        self._callback = ffi.callback(
            "unsigned int (*)(SSL *, const char *, unsigned char *, unsigned int)",
            self._find_key,
            error=0,
        )
        lib.SSL_CTX_set_psk_server_callback(context._context, self._callback)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        # The callback is to outlive every connection that may call it.
        connection._nbdgateway_psk = self  # type: ignore[attr-defined]
        self._connections[_address(connection._ssl)] = connection
        return connection

    def identity(self, connection: SSL.Connection) -> str | None:
        """
        Who the peer of a connection made here has proved to be.

        Returns:
            Its identity; None if the handshake was finished without a key of ours.
        """
        if connection.get_protocol_version_name() == "TLSv1.3":
            # To OpenSSL a key is a session resumed, and there are no others (invariant 2).
            used = bool(lib.SSL_session_reused(connection._ssl))
        else:
            used = "PSK" in (connection.get_cipher_name() or "")
        return self._identities.get(connection) if used else None

    def _find_key(self, ssl: Any, identity: Any, buffer: Any, room: int) -> int:
        """Called by OpenSSL with what a client says it is; returns the length of its key."""
        name = ffi.string(identity)
        if not _is_name(name):
            # What no key file holds: a ticket, which OpenSSL shows to us first. Had it a key, the
            # client that brings one along would be refused instead of asked for more.
            return 0
        # Worked out for everyone, so that time does not tell who exists.
        decoy = hmac.digest(self._decoy, name, hashlib.sha256)
        key = self._keys.get(name, decoy)
        connection = self._connections.get(_address(ssl))
        if connection is None or len(key) > room:
            return 0
        # A client may offer several; OpenSSL uses the last one that it asked for.
        self._identities.pop(connection, None)
        if name in self._keys:
            self._identities[connection] = name.decode()
        ffi.memmove(buffer, key, len(key))
        return len(key)


def _is_name(identity: bytes) -> bool:
    try:
        return 0 < len(identity) <= MAX_IDENTITY and identity.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _address(ssl: Any) -> int:
    return int(ffi.cast("uintptr_t", ssl))
