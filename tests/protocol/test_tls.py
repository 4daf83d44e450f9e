"""STARTTLS and what it must forget, over real sockets (T rows)."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import REFUSED
from tests.protocol.exports import SIZE
from tests.protocol.servers import Process, fresh
from tests.wire import Client
from tests.wire_format import (
    ABORT,
    BLOCK_STATUS,
    DISC,
    EINVAL,
    EPERM,
    EXPORT_NAME,
    EXTENDED_HEADERS,
    GO,
    INFO,
    INVALID,
    LIST,
    LIST_META,
    READ,
    REPLY_MAGIC,
    SET_META,
    STARTTLS,
    STRUCTURED_REPLY,
    TLS_REQD,
    UNKNOWN,
    UNSUP,
    WRITE,
    WRITE_ZEROES,
    compact,
    info_data,
    meta_data,
    option,
)

BASE = "base:allocation"


@pytest.fixture(scope="module", params=["allow", "require"])
def tls(request: pytest.FixtureRequest, sockets: Path, pki: Path) -> Iterator[Process]:
    """A server with TLS, opportunistic or required."""
    server = Process(sockets, pki=str(pki), tls=request.param)
    yield server
    server.close()


@pytest.fixture(scope="module")
def required(sockets: Path, pki: Path) -> Iterator[Process]:
    """A server that requires TLS and asks clients who they are."""
    server = Process(sockets, pki=str(pki), tls="require", ask=True)
    yield server
    server.close()


@pytest.fixture(scope="module")
def allowed(sockets: Path, pki: Path) -> Iterator[Process]:
    server = Process(sockets, pki=str(pki), tls="allow")
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _nothing_in_the_log(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in ("tls", "required", "allowed"):
        if name in request.fixturenames:
            server = request.getfixturevalue(name)
            server.hang_up()
            errors = server.errors()
            assert not errors, errors


def context(
    pki: Path, own: Path | None = None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki / "ca-cert.pem"))
    if own is not None:
        made.load_cert_chain(str(own / "client-cert.pem"), str(own / "client-key.pem"))
    if version is not None:
        made.minimum_version = made.maximum_version = version
    return made


def wrap(client: Client, made: ssl.SSLContext) -> Client:
    """TLS from here on."""
    sock = client.connection.socket
    client.connection.socket = made.wrap_socket(sock, server_hostname="localhost")
    return client


def secured(server: Process, pki: Path, own: Path | None = None) -> Client:
    client = server.connect().greet()
    client.ack(STARTTLS)
    wrap(client, context(pki, own))
    server._connections[-1].socket = client.connection.socket
    return client


def test_b23_everything_goes_through_tls(tls: Process, pki: Path, framing: str) -> None:
    """
    T7, B22, B23: every kind of reply, long payloads both ways, all of it through TLS.
    """
    client = secured(tls, pki).agree(framing).go(fresh("disk"))
    data = bytes(range(256)) * (SIZE // 256)
    client.write(0, data)
    assert client.read(0, SIZE) == data
    client.done(WRITE_ZEROES, 0, 4096)
    assert client.read(0, 8192) == bytes(4096) + data[4096:8192]
    client.disconnect()


def test_b22_rejected_write_is_drained_through_tls(tls: Process, pki: Path, framing: str) -> None:
    """
    B22, C12: the payload of a refused WRITE inside TLS, short and long; the session goes on.
    """
    client = secured(tls, pki).agree(framing).go("read-only")
    for length in (512, 100_000, 4 << 20):
        assert client.call(WRITE, 0, data=b"x" * length).error == EPERM
    assert client.read(0, 512) == bytes(512)


def test_many_long_reads_in_tls(tls: Process, pki: Path, framing: str) -> None:
    """
    C14: a full pipe of long READs over Twisted's own transport arrives whole.
    """
    client = secured(tls, pki).agree(framing).go(fresh("later"))
    client.write(0, b"z" * SIZE)
    requests = [client.submit(READ, n, 1 << 20) for n in range(40)]
    answers = [client.answer() for _ in requests]
    assert all(answer.data == b"z" * (1 << 20) for answer in answers)


def test_second_starttls_is_invalid(tls: Process, pki: Path) -> None:
    """
    T5: and TLS_REQD is never said inside TLS.
    """
    client = secured(tls, pki)
    assert client.error(STARTTLS) == INVALID
    assert client.error(STARTTLS, b"data") == INVALID
    assert client.error(99) == UNSUP
    assert client.error(GO, info_data("nothing")) == UNKNOWN
    client.go("tls-only").read(0, 1)


def test_starttls_with_data_is_invalid(tls: Process, pki: Path) -> None:
    """
    T6, B16: drained, refused, and STARTTLS still possible.
    """
    client = tls.connect().greet()
    assert client.error(STARTTLS, bytes(1000)) == INVALID
    client.ack(STARTTLS)
    wrap(client, context(pki)).go(fresh("disk")).read(0, 1)


@pytest.mark.parametrize("behind", [option(LIST), b"\x16\x03\x01", b"x"], ids=["LIST", "TLS", "x"])
def test_bytes_behind_starttls_end_the_connection(tls: Process, behind: bytes) -> None:
    """
    T8, B11: at most the ACK, then the end; the bytes reach neither parser nor TLS.
    """
    client = tls.connect().greet()
    client.connection.send(option(STARTTLS) + behind)
    ack = struct.pack(">QIII", REPLY_MAGIC, STARTTLS, 1, 0)
    assert client.rest() in (b"", ack)


def test_plaintext_instead_of_a_handshake_ends_the_connection(tls: Process) -> None:
    """
    T7: after the ACK nothing but TLS is understood.
    """
    client = tls.connect().greet()
    client.ack(STARTTLS)
    client.connection.send(option(LIST))
    assert REPLY_MAGIC.to_bytes(8, "big") not in client.rest()


def test_b11_what_was_agreed_in_clear_is_forgotten(allowed: Process, pki: Path) -> None:
    """
    T8, T9, B11: simple replies, DF clear, no context; structured replies can be agreed anew.
    """
    for again in (False, True):
        client = allowed.connect().greet()
        client.ack(STRUCTURED_REPLY)
        client.set_contexts("disk", BASE)
        client.ack(STARTTLS)
        wrap(client, context(pki))
        if again:
            client.ack(STRUCTURED_REPLY)
            client.framing = "structured"
        client.go("disk")
        assert bool(client.flags & 1 << 7) == again
        assert client.call(BLOCK_STATUS, 0, 512).error == EINVAL
        assert client.read(0, 512) == bytes(512)


def test_extended_headers_agreed_in_clear_are_forgotten(allowed: Process, pki: Path) -> None:
    """
    T8: after STARTTLS EXPORT_NAME is possible again, and gets the padding it asked for.
    """
    client = allowed.connect().greet(1)
    client.ack(EXTENDED_HEADERS)
    client.ack(STARTTLS)
    wrap(client, context(pki)).export_name("disk", no_zeroes=False)
    assert client.read(0, 1) == b"\0"


@pytest.mark.parametrize("number", [0, LIST, INFO, GO, LIST_META, SET_META, STRUCTURED_REPLY, 99])
def test_b14_nothing_before_tls_where_it_is_required(
    required: Process, pki: Path, number: int
) -> None:
    """
    T2, T12, B14: TLS_REQD alone, data drained, and STARTTLS still possible.
    """
    client = required.connect().greet()
    data = info_data("disk") if number in (INFO, GO) else meta_data("disk", BASE)
    assert client.error(number, data) == TLS_REQD
    assert client.error(number, bytes(100_000)) == TLS_REQD
    client.ack(STARTTLS)
    wrap(client, context(pki, pki)).go(fresh("disk")).read(0, 1)


def test_abort_and_export_name_before_tls_where_it_is_required(required: Process) -> None:
    """
    T2, H23: ABORT gets its ACK; EXPORT_NAME ends the connection.
    """
    client = required.connect().greet()
    client.ack(ABORT)
    client.expect_end()
    client = required.connect().greet()
    client.connection.send(option(EXPORT_NAME, b"disk"))
    client.expect_end()


def test_old_client_where_tls_is_required(required: Process) -> None:
    """
    H5, T2: without fixed newstyle there is no way in, and no error reply.
    """
    for data in (option(EXPORT_NAME, b"disk"), option(STARTTLS), option(LIST)):
        client = required.connect().greet(0)
        client.connection.send(data)
        client.expect_end()


def test_exports_for_tls_only_where_tls_is_possible(allowed: Process, pki: Path) -> None:
    """
    T3, T4: TLS_REQD for INFO and GO alone; unknown to the metadata options; not listed.
    """
    client = allowed.connect().greet().agree("structured")
    assert client.error(GO, info_data("tls-only")) == TLS_REQD
    assert client.error(INFO, info_data("tls-only", 0, 1, 2, 3)) == TLS_REQD
    assert client.error(INFO, info_data("nothing")) == UNKNOWN
    assert client.error(LIST_META, meta_data("tls-only")) == UNKNOWN
    assert client.error(SET_META, meta_data("tls-only", BASE)) == UNKNOWN
    assert "tls-only" not in client.exports()
    client.connection.send(option(EXPORT_NAME, b"tls-only"))
    client.expect_end()
    client = secured(allowed, pki)
    assert "tls-only" in client.exports()
    client.go("tls-only").read(0, 1)


def test_export_in_clear_where_tls_is_possible(allowed: Process, framing: str) -> None:
    """
    T3: other exports are served in clear.
    """
    assert allowed.client(framing, "disk").read(0, 1) == b"\0"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(allowed: Process, pki: Path, version: ssl.TLSVersion) -> None:
    """
    T11: TLS 1.2 and 1.3; what is older is refused in the tests of the TLS context.
    """
    client = allowed.connect().greet()
    client.ack(STARTTLS)
    wrap(client, context(pki, version=version)).go(fresh("disk")).read(0, 1)
    assert client.connection.socket.version() == version.name.replace("_", ".")


@pytest.mark.parametrize("kind", [None, *REFUSED])
def test_clients_without_a_good_certificate_get_nowhere(
    required: Process, pki: Path, kind: str | None
) -> None:
    """
    T7, U9: no option is answered before the client's certificate was checked.
    """
    client = required.connect().greet()
    client.ack(STARTTLS)
    with pytest.raises((ssl.SSLError, AssertionError, ConnectionError)):
        wrap(client, context(pki, pki / kind if kind else None))
        client.connection.send(option(LIST))
        assert client.rest() == b"something"
    assert secured(required, pki, pki).exports()


def test_exports_for_one_client_only(required: Process, allowed: Process, pki: Path) -> None:
    """
    2.2 (per client), T3: to others it does not exist, in the words of a name that does not.
    """
    assert secured(required, pki, pki).go("vm17-only").read(0, 1) == b"\0"
    client = secured(allowed, pki)
    ((kind, text),) = client.option(GO, info_data("vm17-only"))
    ((_, other),) = client.option(GO, info_data("vm99-only"))
    assert kind == UNKNOWN
    assert text.replace(b"17", b"99") == other


def test_b24_clients_that_leave_in_tls(tls: Process, pki: Path) -> None:
    """
    B24, U14: with or without DISC, with or without close_notify, at any moment.
    """
    other = secured(tls, pki).go(fresh("disk"))
    for moment in range(6):
        client = tls.connect().greet()
        if moment:
            client.ack(STARTTLS)
        if moment == 1:
            client.connection.send(b"\x16\x03\x01\x02\x00\x01")
        if moment > 1:
            wrap(client, context(pki))
        if moment > 2:
            client.go(fresh("disk"))
        if moment == 4:
            client.connection.send(compact(READ, 0, 1 << 20) * 20)
        if moment == 5:
            client.connection.send(compact(DISC))
        client.connection.close()
    assert other.read(0, 1) == b"\0"
    client = secured(tls, pki).go(fresh("disk"))
    client.disconnect()


def test_handshake_that_takes_too_long(sockets: Path, pki: Path) -> None:
    """
    T7, H9: the time of the TLS handshake counts; the connection is dropped, the server stops.
    """
    server = Process(sockets, pki=str(pki), tls="require", limits={"handshake_timeout": 0.3})
    try:
        client = server.connect().greet()
        client.ack(STARTTLS)
        client.expect_end()
        client = server.connect()
        client.greet()
        client.expect_end()
    finally:
        server.close()
