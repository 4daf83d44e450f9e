"""TLS with certificates: who gets in, under which names, and which files are refused."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.nbd.tls import ServerTLS, UnauthenticatedPeer
from tests.certificates import REFUSED, Authority, make_certificates, write_pair

BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@implementer(IHandshakeListener)
class Echo(Protocol):
    """Answers what it got, once the handshake is done; remembers how it went."""

    def __init__(self, tls: ServerTLS) -> None:
        self.tls = tls
        self.names: frozenset[str] | None = None
        self.received = b""
        self.lost: Failure | None = None

    def handshakeCompleted(self) -> None:
        assert self.transport is not None
        self.names = self.tls.peer_names(self.transport.getHandle())  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.received += data
        self.transport.write(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.lost = reason


class Wire:
    """A server and a stdlib client, joined by hand."""

    def __init__(self, tls: ServerTLS, client: ssl.SSLContext) -> None:
        self.echo = Echo(tls)
        self.clock = Clock()
        factory = TLSMemoryBIOFactory(
            tls.context_factory(), False, Factory.forProtocol(lambda: self.echo), self.clock
        )
        built = factory.buildProtocol(None)
        assert isinstance(built, TLSMemoryBIOProtocol)
        self.server = built
        self.transport = StringTransport()
        self.server.makeConnection(self.transport)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def deliver(self) -> bool:
        """Carry what waits in both directions; say whether there was anything."""
        to_server = self._outgoing.read()
        if to_server and not self.transport.disconnecting:
            self.server.dataReceived(to_server)
        self.clock.advance(0)  # Twisted collects small writes until the next turn
        to_client = self.transport.value()
        self.transport.clear()
        self._incoming.write(to_client)
        return bool(to_server or to_client)

    def talk(self) -> bytes:
        """
        Shake hands, say hello, and return the answer.

        Raises:
            ssl.SSLError: either side refused the other.
        """
        steps: list[Callable[[], object]] = [
            self.client.do_handshake,
            lambda: self.client.write(b"hello"),
            self.client.read,
        ]
        result: object = None
        for step in steps:
            while True:
                try:
                    result = step()
                    break
                except ssl.SSLWantReadError:
                    assert self.deliver(), "both sides wait"
        assert isinstance(result, bytes)
        return result


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    make_certificates(directory)
    return directory


def server(files: Path, client_ca: bool = True, crl: bool = True) -> ServerTLS:
    return ServerTLS.x509(
        str(files / "server-cert.pem"),
        str(files / "server-key.pem"),
        str(files / "ca-cert.pem") if client_ca else None,
        str(files / "ca-crl.pem") if client_ca and crl else None,
    )


def client(
    files: Path, own: Path | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A client that trusts the CA in ``files`` and shows the certificate in ``own``, if any."""
    context = ssl.create_default_context(cafile=str(files / "ca-cert.pem"))
    context.minimum_version = context.maximum_version = version
    if own is not None:
        context.load_cert_chain(own / "client-cert.pem", own / "client-key.pem")
    return context


def test_context_factory_makes_server_connections(files: Path) -> None:
    """
    The context factory provides what Twisted asks of a server's TLS settings.
    """
    assert verifyObject(IOpenSSLServerConnectionCreator, server(files).context_factory())


@BOTH
def test_good_client_is_let_in_under_its_names(files: Path, version: ssl.TLSVersion) -> None:
    """
    A client with a certificate of the CA has the names that are in it, and no others.
    """
    wire = Wire(server(files), client(files, files, version))
    assert wire.talk() == b"hello"
    assert wire.echo.names == {"cn:vm17", "san:vm17.example"}


@BOTH
@pytest.mark.parametrize("kind", REFUSED)
def test_bad_client_certificate_is_refused(files: Path, kind: str, version: ssl.TLSVersion) -> None:
    """
    A certificate that is of another CA, expired, revoked or not for clients ends the connection
    before the handshake is complete and before one byte of data came through.
    """
    wire = Wire(server(files), client(files, files / kind, version))
    with pytest.raises(ssl.SSLError, match="alert"):
        wire.talk()
    wire.server.connectionLost(Failure(ConnectionError()))
    assert wire.echo.names is None
    assert wire.echo.received == b""
    assert wire.echo.lost is not None


@BOTH
def test_client_without_certificate_is_refused(files: Path, version: ssl.TLSVersion) -> None:
    """
    With a client CA, a client that shows no certificate is refused like one with a bad one.
    """
    wire = Wire(server(files), client(files, None, version))
    with pytest.raises(ssl.SSLError, match="(?i)alert"):
        wire.talk()
    assert wire.echo.names is None
    assert wire.echo.received == b""


def test_client_is_refused_for_one_reason_at_a_time(files: Path) -> None:
    """
    The revoked client is refused because of the list alone: without the list it gets in.
    """
    wire = Wire(server(files, crl=False), client(files, files / "revoked"))
    assert wire.talk() == b"hello"
    assert wire.echo.names == {"cn:revoked"}


@BOTH
def test_clients_are_not_asked_without_client_ca(files: Path, version: ssl.TLSVersion) -> None:
    """
    Without a client CA every client gets in, has no name, and one that shows a certificate
    anyway gets no name from it.
    """
    for own in (None, files, files / "wrong-ca"):
        wire = Wire(server(files, client_ca=False), client(files, own, version))
        assert wire.talk() == b"hello"
        assert wire.echo.names == frozenset()


def test_intermediate_authority_needs_its_own_revocation_list(tmp_path: Path) -> None:
    """
    A client below an intermediate authority gets in if the lists of both authorities are there.
    """
    root = make_certificates(tmp_path)
    below = Authority("intermediate", root)
    own = tmp_path / "own"
    own.mkdir()
    pair = below.issue("vm18", purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    write_pair(own, "client", *pair, below.certificate)
    with pytest.raises(ssl.SSLError, match="alert"):
        Wire(server(tmp_path), client(tmp_path, own)).talk()
    with open(tmp_path / "ca-crl.pem", "ab") as file:
        file.write(below.revoke().public_bytes(Encoding.PEM))
    wire = Wire(server(tmp_path), client(tmp_path, own))
    assert wire.talk() == b"hello"
    assert wire.echo.names == {"cn:vm18"}


def test_certificate_without_purpose_is_good_for_clients(tmp_path: Path) -> None:
    """
    A certificate that names no purpose is for all of them; addresses and mail count as names.
    """
    authority = make_certificates(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    names = (x509.RFC822Name("vm@example"), x509.UniformResourceIdentifier("urn:vm:1"))
    write_pair(own, "client", *authority.issue("a, b", purpose=None, names=names))
    wire = Wire(server(tmp_path), client(tmp_path, own))
    assert wire.talk() == b"hello"
    assert wire.echo.names == {"cn:a, b", "san:vm@example", "san:urn:vm:1"}


def test_plaintext_is_refused(files: Path) -> None:
    """
    Bytes that are not TLS end the connection and never reach the protocol.
    """
    wire = Wire(server(files), client(files, files))
    wire.server.dataReceived(b"IHAVEOPT\0\0\0\7\0\0\0\4\0\0\0\0")
    assert wire.transport.disconnecting
    assert wire.echo.names is None
    assert wire.echo.received == b""


def test_versions_before_tls_1_2_are_refused(files: Path) -> None:
    """
    A client of TLS 1.1 is told that its version is not spoken here.
    """
    context = client(files, files)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
        Wire(server(files), context).talk()


@BOTH
def test_session_is_not_resumed(files: Path, version: ssl.TLSVersion) -> None:
    """
    A client that brings an earlier session along is checked afresh.
    """
    tls, context = server(files), client(files, files, version)
    first = Wire(tls, context)
    first.talk()
    second = Wire(tls, context)
    if first.client.session is not None:
        second.client.session = first.client.session
    assert second.talk() == b"hello"
    assert not second.client.session_reused
    assert second.echo.names == {"cn:vm17", "san:vm17.example"}


def test_names_before_the_handshake_are_an_error(files: Path) -> None:
    """
    Nobody has a name before the handshake is finished, whether asked for one or not.
    """
    for client_ca in (True, False):
        tls = server(files, client_ca=client_ca)
        connection = tls.context_factory().serverConnectionForTLS(None)  # type: ignore[arg-type]
        with pytest.raises(UnauthenticatedPeer, match="unfinished"):
            tls.peer_names(connection)


def test_end_of_the_certificate_is_known(files: Path) -> None:
    """
    The server's certificate says until when it is good.
    """
    certificate = x509.load_pem_x509_certificate((files / "server-cert.pem").read_bytes())
    assert server(files).expires == certificate.not_valid_after_utc


@pytest.mark.parametrize("name", ["server-cert.pem", "server-key.pem", "ca-cert.pem", "ca-crl.pem"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read"), (b"", "expected PEM"), (b"x", "expected PEM")],
)
def test_missing_and_empty_files_are_named(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    """
    A file that is missing or holds something else is named together with what was expected.
    """
    make_certificates(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as caught:
        server(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("name", ["server-cert.pem", "server-key.pem", "ca-cert.pem", "ca-crl.pem"])
def test_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    """
    PEM that holds no sense is refused with the name of its file.
    """
    make_certificates(tmp_path)
    lines = (tmp_path / name).read_text().splitlines()
    (tmp_path / name).write_text("\n".join([lines[0], "AAAA", lines[-1], ""]))
    with pytest.raises(ValueError, match="got ") as caught:
        server(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_key_of_another_certificate_is_refused(files: Path) -> None:
    """
    A key that does not belong to the certificate is refused; both files are named.
    """
    certificate, key = str(files / "server-cert.pem"), str(files / "client-key.pem")
    with pytest.raises(ValueError, match="key of another certificate") as caught:
        ServerTLS.x509(certificate, key)
    assert certificate in str(caught.value)
    assert key in str(caught.value)


def test_key_of_another_kind_is_refused(files: Path, tmp_path: Path) -> None:
    """
    A key of another algorithm than the certificate's is refused like any other wrong key.
    """
    key = tmp_path / "server-key.pem"
    private = ed25519.Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="key of another certificate"):
        ServerTLS.x509(str(files / "server-cert.pem"), str(key))


def test_key_as_certtool_writes_it_is_taken(files: Path, tmp_path: Path) -> None:
    """
    An EC key whose number has a needless zero in front is good; certtool makes every other so.
    """
    key = load_pem_private_key((files / "server-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = b"\0" + key.private_numbers().private_value.to_bytes(32, "big")
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    body = b"\x02\x01\x01\x04" + bytes([len(number)]) + number + curve
    text = base64.encodebytes(b"\x30" + bytes([len(body)]) + body).decode()
    path = tmp_path / "server-key.pem"
    path.write_text(f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n")
    tls = ServerTLS.x509(str(files / "server-cert.pem"), str(path))
    assert Wire(tls, client(files)).talk() == b"hello"


def test_encrypted_key_is_refused_without_asking(files: Path, tmp_path: Path) -> None:
    """
    A key behind a password is refused; nobody is there to type one.
    """
    key = tmp_path / "server-key.pem"
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(ValueError, match="encrypted private key"):
        ServerTLS.x509(str(files / "server-cert.pem"), str(key))


def test_revocation_list_of_another_authority_is_refused(files: Path, tmp_path: Path) -> None:
    """
    A list by somebody else, even under the CA's name, would refuse every client: it is an error.
    """
    for name in ("another CA", "test CA"):
        other = tmp_path / "ca-crl.pem"
        other.write_bytes(Authority(name).revoke().public_bytes(Encoding.PEM))
        with pytest.raises(ValueError, match="got no list by 'CN=test CA'"):
            ServerTLS.x509(
                str(files / "server-cert.pem"),
                str(files / "server-key.pem"),
                str(files / "ca-cert.pem"),
                str(other),
            )


def test_revocation_list_alone_is_refused(files: Path) -> None:
    """
    A list without a client CA means that something was forgotten.
    """
    with pytest.raises(ValueError, match="needs a client CA"):
        ServerTLS.x509(
            str(files / "server-cert.pem"),
            str(files / "server-key.pem"),
            crl=str(files / "ca-crl.pem"),
        )
