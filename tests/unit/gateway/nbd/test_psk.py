"""TLS with pre-shared keys: the key file, who gets in, and how all others fail alike."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from gateway.nbd import psk
from gateway.nbd.tls import ServerTLS, UnauthenticatedPeer
from tests.certificates import make_certificates

ALICE, BOB = "a1" * 32, "b0" * 16
VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_kept: weakref.WeakKeyDictionary[SSL.Connection, Any] = weakref.WeakKeyDictionary()
BOTH = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path, f"alice:{ALICE}\n\nbob:{BOB.upper()}\n")


def write_keys(directory: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = directory / "keys.psk"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def connect(
    identity: str, key: str, version: str, suites: bytes = b"ALL:PSK:@SECLEVEL=0"
) -> SSL.Connection:
    """An OpenSSL client with a pre-shared key, which the stdlib has from Python 3.13 only."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(VERSIONS[version])
    context.set_max_proto_version(VERSIONS[version])
    context.set_cipher_list(suites)
    secret = bytes.fromhex(key)

    def choose(ssl: Any, hint: Any, name: Any, name_room: int, buffer: Any, room: int) -> int:
        ffi.memmove(name, identity.encode() + b"\0", len(identity.encode()) + 1)
        ffi.memmove(buffer, secret, len(secret))
        return len(secret)

    signature = "unsigned(*)(SSL*,const char*,char*,unsigned,unsigned char*,unsigned)"
    callback = ffi.callback(signature, choose)
    lib.SSL_CTX_set_psk_client_callback(context._context, callback)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    _kept[connection] = callback  # OpenSSL holds no reference
    return connection


def accept(tls: ServerTLS) -> SSL.Connection:
    connection = tls.context_factory().serverConnectionForTLS(None)  # type: ignore[arg-type]
    connection.set_accept_state()
    return connection


def carry(source: SSL.Connection, target: SSL.Connection) -> bool:
    try:
        target.bio_write(source.bio_read(65536))
    except SSL.WantReadError:
        return False
    return True


def reason(error: SSL.Error) -> str:
    return str(error.args[0][0][-1])


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> dict[str, str]:
    """
    Carry a handshake to its end.

    Returns:
        "client" and "server" to the reason why that side gave up; empty if neither did.
    """
    failures: dict[str, str] = {}
    moving = True
    while moving:
        for name, side in (("client", client), ("server", server)):
            try:
                if name not in failures:
                    side.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                failures[name] = reason(error)
        moving = any([carry(client, server), carry(server, client)])
    return failures


@BOTH
def test_client_with_a_key_is_let_in_under_its_identity(keys: Path, version: str) -> None:
    """
    A client that has a key of the file is known by its identity, and data passes.
    """
    tls = ServerTLS.psk(str(keys))
    client, server = connect("alice", ALICE, version), accept(tls)
    assert shake_hands(client, server) == {}
    assert tls.peer_names(server) == {"psk:alice"}
    assert server.get_protocol_version_name() == f"TLSv{version}"
    client.send(b"hello")
    carry(client, server)
    assert server.recv(100) == b"hello"


@BOTH
def test_simultaneous_clients_keep_their_identities(keys: Path, version: str) -> None:
    """
    Two clients whose handshakes interleave step by step are not taken for one another.
    """
    tls = ServerTLS.psk(str(keys))
    pairs = [
        (connect(name, key, version), accept(tls)) for name, key in (("alice", ALICE), ("bob", BOB))
    ]
    for _ in range(10):
        for client, server in pairs:
            for side in (client, server):
                try:
                    side.do_handshake()
                except SSL.WantReadError:
                    pass
            carry(client, server)
            carry(server, client)
    assert [tls.peer_names(server) for _, server in pairs] == [{"psk:alice"}, {"psk:bob"}]


@BOTH
def test_unknown_identity_fails_like_a_wrong_key(keys: Path, version: str) -> None:
    """
    Nobody learns from a failed handshake whether an identity exists.
    """
    tls = ServerTLS.psk(str(keys))
    outcomes = []
    for identity, key in (("alice", BOB), ("mallory", ALICE), ("\N{SNOWMAN}", BOB)):
        server = accept(tls)
        failures = shake_hands(connect(identity, key, version), server)
        assert set(failures) == {"client", "server"}
        with pytest.raises(UnauthenticatedPeer):
            tls.peer_names(server)
        outcomes.append(failures)
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes


@BOTH
def test_client_without_key_is_refused(keys: Path, version: str) -> None:
    """
    A client that offers no pre-shared key at all finds nothing to agree on.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(VERSIONS[version])
    context.set_max_proto_version(VERSIONS[version])
    context.set_cipher_list(b"ALL:aNULL:@SECLEVEL=0")
    client = SSL.Connection(context, None)
    client.set_connect_state()
    tls = ServerTLS.psk(str(keys))
    server = accept(tls)
    assert "server" in shake_hands(client, server)
    with pytest.raises(UnauthenticatedPeer):
        tls.peer_names(server)


@BOTH
def test_declined_key_is_no_identity(keys: Path, tmp_path: Path, version: str) -> None:
    """
    A handshake that finished by certificate leaves its peer unauthenticated, though the client
    named an identity and knows its key.
    """
    directory = tmp_path / "pki"
    directory.mkdir()
    make_certificates(directory)
    tls = ServerTLS.psk(str(keys))
    # What `psk` never does: a certificate, and a suite under which OpenSSL declines the key.
    context = tls.context_factory()._context  # type: ignore[attr-defined]
    context.use_certificate_file(str(directory / "server-cert.pem"))
    context.use_privatekey_file(str(directory / "server-key.pem"))
    context.set_tls13_ciphersuites(b"TLS_AES_256_GCM_SHA384")
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    server = accept(tls)
    assert shake_hands(connect("alice", ALICE, version), server) == {}
    with pytest.raises(UnauthenticatedPeer, match="no pre-shared key"):
        tls.peer_names(server)


@BOTH
def test_session_is_not_resumed(keys: Path, version: str) -> None:
    """
    A client that brings an earlier session along has to show its key again.
    """
    tls = ServerTLS.psk(str(keys))
    first, server = connect("alice", ALICE, version), accept(tls)
    shake_hands(first, server)
    server.send(b"x")
    carry(server, first)
    first.recv(1)
    again = SSL.Connection(first.get_context(), None)
    again.set_connect_state()
    session = first.get_session()
    assert session is not None
    again.set_session(session)
    server = accept(tls)
    assert shake_hands(again, server) == {}
    assert tls.peer_names(server) == {"psk:alice"}


@BOTH
def test_every_suite_keeps_the_past_secret(keys: Path, version: str) -> None:
    """
    A client that will not do ephemeral Diffie-Hellman is refused.
    """
    client = connect("alice", ALICE, version, b"PSK-AES128-GCM-SHA256:PSK-AES128-CBC-SHA256")
    server = accept(ServerTLS.psk(str(keys)))
    failures = shake_hands(client, server)
    assert bool(failures) == (version == "1.2")  # TLS 1.3 has no other way


def test_connections_outlive_their_settings(keys: Path) -> None:
    """
    A handshake begun before a reload ends well after it; the old settings go with the connection.
    """
    tls = ServerTLS.psk(str(keys))
    factory = weakref.ref(tls.context_factory())
    server = accept(tls)
    del tls
    gc.collect()
    assert shake_hands(connect("alice", ALICE, "1.3"), server) == {}
    del server
    gc.collect()
    assert factory() is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_key_file_for_others_is_refused(tmp_path: Path, mode: int) -> None:
    """
    A key file that group or others may use is refused; the text says which mode is expected.
    """
    path = write_keys(tmp_path, f"alice:{ALICE}\n", mode)
    with pytest.raises(ValueError, match=f"got mode 0{mode:o}, expected 0600"):
        ServerTLS.psk(str(path))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("alice", "expected identity:key"),
        (":" + ALICE, "expected identity:key"),
        ("alice:", "expected identity:key"),
        ("alice:" + ALICE[1:], "expected identity:key"),
        ("alice:" + "xy" * 32, "expected identity:key"),
        ("alice:" + ALICE + ":" + ALICE, "expected identity:key"),
        ("al ice:" + ALICE, "expected identity:key"),
        ("al\x7fice:" + ALICE, "expected identity:key"),
        ("#616c696365:" + ALICE, "expected identity:key"),
        ("alice:" + "c5" * 15, "got a key of 15 bytes, expected 16 to 256"),
        ("alice:" + "c5" * 257, "got a key of 257 bytes, expected 16 to 256"),
        ("\N{SNOWMAN}" * 43 + ":" + ALICE, "got an identity of 129 bytes"),
        ("bob:" + ALICE, "got an identity again"),
    ],
)
def test_bad_line_is_named_and_not_quoted(tmp_path: Path, line: str, complaint: str) -> None:
    """
    A wrong line is refused by its number; no part of its key is in the text.
    """
    path = write_keys(tmp_path, f"bob:{BOB}\n\n{line}\n")
    with pytest.raises(ValueError, match=complaint) as caught:
        ServerTLS.psk(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}:3: ")
    for secret in ("a1a1", "1a1a", "xyxy", "c5c5", "b0b0"):
        assert secret not in text


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    """
    A key file that is missing, empty or not text is named together with what was wrong.
    """
    missing = tmp_path / "missing.psk"
    with pytest.raises(ValueError, match="cannot be read: No such file") as caught:
        ServerTLS.psk(str(missing))
    assert str(caught.value).startswith(str(missing))
    for content, complaint in ((b"\n", "got no keys"), (b"alice:\xff", "not UTF-8")):
        path = write_keys(tmp_path, content)
        with pytest.raises(ValueError, match=complaint) as caught:
            ServerTLS.psk(str(path))
        assert str(caught.value).startswith(str(path))


def test_keys_are_in_no_representation(keys: Path) -> None:
    """
    Printing the settings shows no key.
    """
    tls = ServerTLS.psk(str(keys))
    for thing in (tls, tls.context_factory(), vars(tls)):
        text = repr(thing)
        assert ALICE not in text
        assert repr(bytes.fromhex(ALICE)) not in text


def test_binding_without_pre_shared_keys_is_an_error(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where the binding lacks the call, the settings are refused with the way out.
    """
    monkeypatch.setattr(psk, "lib", object())
    with pytest.raises(ValueError, match="use certificates instead"):
        ServerTLS.psk(str(keys))


def serve_once(listener: socket.socket, tls: ServerTLS, outcome: dict[str, Any]) -> None:
    """Shake hands with one client, note its names, send a greeting, and close."""
    peer, _ = listener.accept()
    server = accept(tls)
    with peer:
        peer.settimeout(20)
        while True:
            try:
                server.do_handshake()
                break
            except SSL.WantReadError:
                flush(server, peer)
                data = peer.recv(65536)
                if not data:
                    outcome["error"] = "closed"
                    return
                server.bio_write(data)
            except SSL.Error as error:
                flush(server, peer)
                outcome["error"] = reason(error)
                return
        outcome["names"] = tls.peer_names(server)
        outcome["suite"] = server.get_cipher_name()
        server.send(b"hello from the gateway\n")
        server.shutdown()
        flush(server, peer)


def flush(server: SSL.Connection, peer: socket.socket) -> None:
    try:
        peer.sendall(server.bio_read(65536))
    except SSL.WantReadError:
        pass


def run_gnutls(keys: Path, identity: str, key: str, priority: str) -> tuple[dict[str, Any], str]:
    """What the server saw of one ``gnutls-cli``, and what that printed."""
    tool = shutil.which("gnutls-cli")
    if tool is None:
        if os.environ.get("NBDGATEWAY_REQUIRE_TOOLS") == "1":
            pytest.fail("gnutls-cli is not installed")
        pytest.skip("gnutls-cli is not installed")
    outcome: dict[str, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        thread = threading.Thread(
            target=serve_once, args=(listener, ServerTLS.psk(str(keys)), outcome)
        )
        thread.start()
        command = [tool, "--pskusername", identity, "--pskkey", key, "--priority", priority]
        with subprocess.Popen(
            [*command, "--port", str(port), "127.0.0.1"],
            stdin=subprocess.PIPE,  # kept open: its end would make the client leave
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            output = process.stdout.read()
        thread.join(30)
        assert not thread.is_alive()
    return outcome, output


#: What qemu asks GnuTLS for with tls-creds-psk; libnbd's and nbdkit's are the same.
QEMU_PRIORITY = "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK"
PRIORITIES = {
    "1.2": f"{QEMU_PRIORITY}:-VERS-ALL:+VERS-TLS1.2",
    "1.3": f"{QEMU_PRIORITY}:-VERS-ALL:+VERS-TLS1.3",
    "any": QEMU_PRIORITY,
}


@pytest.mark.interop
@pytest.mark.parametrize("version", PRIORITIES)
def test_gnutls_client_is_let_in(keys: Path, version: str) -> None:
    """
    GnuTLS, the library of qemu, libnbd and nbdkit, gets in under its identity.
    """
    outcome, output = run_gnutls(keys, "alice", ALICE, PRIORITIES[version])
    assert outcome.get("names") == {"psk:alice"}, (outcome, output)
    # gnutls-cli 3.7.9 crashes after each TLS 1.2 handshake with a key, also with GnuTLS's server.
    assert version == "1.2" or "hello from the gateway" in output
    assert outcome["suite"] == (
        "ECDHE-PSK-CHACHA20-POLY1305" if version == "1.2" else "TLS_AES_128_GCM_SHA256"
    )


@pytest.mark.interop
@pytest.mark.parametrize("version", PRIORITIES)
def test_gnutls_client_without_the_right_key_is_refused(keys: Path, version: str) -> None:
    """
    GnuTLS is told the same, whether its key or its identity is unknown here.
    """
    wrong, output = run_gnutls(keys, "alice", BOB, PRIORITIES[version])
    unknown, other_output = run_gnutls(keys, "mallory", ALICE, PRIORITIES[version])
    assert "error" in wrong
    assert wrong == unknown
    alerts = [
        [line for line in text.splitlines() if "alert" in line] for text in (output, other_output)
    ]
    assert alerts[0] == alerts[1] != []
