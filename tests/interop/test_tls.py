"""TLS with the clients' own libraries: certificates, pre-shared keys, and who may use what."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import REFUSED, make_certificates
from tests.interop.clients import Clients
from tests.interop.gateway import unused_port
from tests.interop.images import Image
from tests.service.twistd import Twistd

pytestmark = pytest.mark.interop

CONFIGURATION = """
[listen:x509]
endpoint = tcp:{x509}:interface=127.0.0.1
tls_certificate = server-cert.pem
tls_key = server-key.pem
tls_client_ca = ca-cert.pem
tls_client_crl = ca-crl.pem
[listen:anyone]
endpoint = unix:nbd.sock
tls_certificate = server-cert.pem
tls_key = server-key.pem
tls = allow
[listen:psk]
endpoint = tcp:{psk}:interface=127.0.0.1
tls_psk_file = keys.psk
[export:open]
provider = memory
size = 64M
[export:disk]
provider = file
path = disk.raw
size = 64M
tls_only = yes
[export:vm17]
provider = memory
size = 1M
tls_clients = cn:vm17
[export:vm17-too]
provider = memory
size = 1M
tls_clients = san:vm17.example
[export:vm18]
provider = memory
size = 1M
tls_clients = cn:vm18
[export:alice]
provider = memory
size = 1M
tls_clients = psk:alice
"""

LISTENERS = ["x509", "psk"]


@dataclass(frozen=True)
class Secured:
    """A gateway with three listeners, and the directories of its clients."""

    directory: Path
    ports: dict[str, int]
    process: Twistd

    def libnbd(self, listener: str, export: str, client: str | None = None) -> str:
        """A URI for libnbd; ``client`` is a subdirectory or an identity."""
        if listener == "psk":
            client = client or "alice"
            query = f"tls-psk-file={self.directory}/{client}/keys.psk"
            return f"nbds://{client}@127.0.0.1:{self.ports['psk']}/{export}?{query}"
        query = f"tls-certificates={self.directory / (client or '')}"
        return f"nbds://localhost:{self.ports['x509']}/{export}?{query}"

    def qemu(self, listener: str, export: str, client: str | None = None) -> list[str]:
        """Options for qemu's tools, with the image last."""
        if listener == "psk":
            client = client or "alice"
            credentials = f"tls-creds-psk,dir={self.directory}/{client},username={client}"
        else:
            credentials = f"tls-creds-x509,dir={self.directory / (client or '')}"
        image = f"driver=nbd,host=localhost,port={self.ports[listener]},export={export}"
        return [
            "--object",
            f"{credentials},id=tls0,endpoint=client",
            "--image-opts",
            f"{image},tls-creds=tls0",
        ]


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """One gateway for the tests of this module."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        directory = Path(made)
        make_certificates(directory)
        nobody = directory / "nobody"
        nobody.mkdir()
        (nobody / "ca-cert.pem").write_bytes((directory / "ca-cert.pem").read_bytes())
        keys = {name: secrets.token_hex(32) for name in ("alice", "bob")}
        write_keys(directory / "keys.psk", **keys)
        for name, key in keys.items():
            (directory / name).mkdir()
            write_keys(directory / name / "keys.psk", **{name: key})
        for name in ("mallory", "impostor"):
            (directory / name).mkdir()
        write_keys(directory / "mallory" / "keys.psk", mallory=secrets.token_hex(32))
        write_keys(directory / "impostor" / "keys.psk", alice=secrets.token_hex(32))
        ports = {name: unused_port() for name in LISTENERS}
        (directory / "gw.ini").write_text(CONFIGURATION.format(**ports))
        process = Twistd(directory, "--config", "gw.ini")
        process.wait_for("export alice is open")
        yield Secured(directory, ports, process)
        process.stop()
        text = process.text()
        assert "every export is closed" in text
        assert "Traceback" not in text and "Unhandled" not in text, text


def write_keys(path: Path, **keys: str) -> None:
    path.write_text("".join(f"{name}:{key}\n" for name, key in keys.items()))
    path.chmod(0o600)


@pytest.mark.parametrize("export", ["open", "disk"])
@pytest.mark.parametrize("listener", LISTENERS)
def test_images_are_copied_in_and_out_with_qemu_over_tls(
    clients: Clients, secured: Secured, image: Image, listener: str, export: str
) -> None:
    """What came back is what was sent."""
    _, credentials, _, target = secured.qemu(listener, export)
    clients.run(
        "qemu-img", "convert", "-n", "--object", credentials, "-f", "raw",
        "--target-image-opts", image.raw, target,
    )  # fmt: skip
    copy = clients.directory / "copy.raw"
    clients.run("qemu-img", "convert", "-O", "raw", *secured.qemu(listener, export), copy)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, copy)


@pytest.mark.parametrize("listener", LISTENERS)
def test_qemu_io_writes_and_zeroes_over_tls(
    clients: Clients, secured: Secured, listener: str
) -> None:
    """Small and large requests, the length of a TLS record and one more byte among them."""
    commands = [
        "write -P 0xab 0 1M", "write -P 0xcd 100 16384", "write -P 0xcd 32768 16385",
        "write -z -n 65536 65536", "discard 256k 256k", "flush",
        "read -P 0xab 0 100", "read -P 0xcd 100 16384", "read -P 0xcd 32768 16385",
        "read -P 0 65536 65536", "read -P 0xab 512k 512k",
    ]  # fmt: skip
    options = [part for command in commands for part in ("-c", command)]
    done = clients.run("qemu-io", *options, *secured.qemu(listener, "open"))
    assert "failed" not in done


@pytest.mark.parametrize("export", ["open", "disk"])
@pytest.mark.parametrize("listener", LISTENERS)
def test_images_are_copied_in_and_out_with_libnbd_over_tls(
    clients: Clients, secured: Secured, image: Image, listener: str, export: str
) -> None:
    """Over four connections."""
    uri = secured.libnbd(listener, export)
    assert "with TLS" in clients.run("nbdinfo", uri)
    copy = clients.directory / "copy.raw"
    clients.run("nbdcopy", "--flush", image.raw, uri)
    clients.run("nbdcopy", uri, copy)
    clients.run("qemu-img", "compare", "-f", "raw", "-F", "raw", image.raw, copy)


@pytest.mark.parametrize("client", ["nobody", *REFUSED])
def test_a_client_without_a_good_certificate_is_refused(
    clients: Clients, secured: Secured, client: str
) -> None:
    """None at all, of a stranger's authority, expired, revoked, or of a server (U9)."""
    clients.refused("nbdinfo", secured.libnbd("x509", "open", client))
    clients.refused("qemu-img", "info", *secured.qemu("x509", "open", client))


@pytest.mark.parametrize("client", ["mallory", "impostor"])
def test_a_client_with_a_wrong_key_is_refused(
    clients: Clients, secured: Secured, client: str
) -> None:
    """An identity that nobody has, and somebody else's without the key (U13)."""
    user = "alice" if client == "impostor" else client
    path = secured.directory / client / "keys.psk"
    uri = f"nbds://{user}@127.0.0.1:{secured.ports['psk']}/open?tls-psk-file={path}"
    clients.refused("nbdinfo", uri)


def test_clear_text_is_refused_where_tls_is_required(clients: Clients, secured: Secured) -> None:
    """Also by clients that were told nothing about TLS."""
    for port in secured.ports.values():
        clients.refused("nbdinfo", f"nbd://127.0.0.1:{port}/open")
        complaint = clients.refused("qemu-img", "info", f"nbd://127.0.0.1:{port}/open")
        assert "TLS" in complaint


def test_a_certificate_opens_the_exports_that_name_it(clients: Clients, secured: Secured) -> None:
    """By common name or by alternative name; others do not exist for it, not even in a list."""
    for export in ("vm17", "vm17-too"):
        assert "export-size: 1048576" in clients.run("nbdinfo", secured.libnbd("x509", export))
    for export in ("vm18", "alice"):
        clients.refused("nbdinfo", secured.libnbd("x509", export))
        complaint = clients.refused("qemu-img", "info", *secured.qemu("x509", export))
        assert "not" in complaint
    listed = clients.run("nbdinfo", "--list", secured.libnbd("x509", ""))
    for export in ("open", "disk", "vm17", "vm17-too"):
        assert f'export="{export}":' in listed
    assert "vm18" not in listed and "alice" not in listed


def test_an_identity_opens_the_exports_that_name_it(clients: Clients, secured: Secured) -> None:
    """Alice's key, not Bob's, though both are good."""
    assert "export-size: 1048576" in clients.run("nbdinfo", secured.libnbd("psk", "alice"))
    assert "with TLS" in clients.run("nbdinfo", secured.libnbd("psk", "open", "bob"))
    clients.refused("nbdinfo", secured.libnbd("psk", "alice", "bob"))
    clients.refused("nbdinfo", secured.libnbd("psk", "vm17"))


def test_allow_serves_both_but_secrets_only_over_tls(clients: Clients, secured: Secured) -> None:
    """On a Unix socket: what is for TLS only, or for some, is not even listed in clear."""
    where = f"socket={secured.directory}/nbd.sock"
    clear = clients.run("nbdinfo", "--list", f"nbd+unix:///?{where}")
    assert 'export="open":' in clear
    assert 'export="disk":' not in clear and "vm17" not in clear
    assert "without TLS" in clients.run("nbdinfo", f"nbd+unix:///open?{where}")
    clients.refused("nbdinfo", f"nbd+unix:///disk?{where}")
    # Versions of libnbd that look at the name there have to be told it.
    tls = f"{where}&tls-certificates={secured.directory}&tls-hostname=localhost"
    assert "with TLS" in clients.run("nbdinfo", f"nbds+unix:///disk?{tls}")
    # No certificate was asked for here, so nobody is known by one.
    clients.refused("nbdinfo", f"nbds+unix:///vm17?{tls}")


def test_clients_check_the_name_of_the_gateway(clients: Clients, secured: Secured) -> None:
    """A certificate for another name does not do; on a Unix socket qemu is told which."""
    credentials = f"tls-creds-x509,dir={secured.directory},id=tls0,endpoint=client"
    image = f"driver=nbd,server.type=unix,server.path={secured.directory}/nbd.sock,export=open"
    info = ["info", "--object", credentials, "--image-opts", f"{image},tls-creds=tls0"]
    clients.run("qemu-img", *info[:-1], f"{info[-1]},tls-hostname=localhost")
    complaint = clients.refused("qemu-img", *info[:-1], f"{info[-1]},tls-hostname=elsewhere")
    assert "elsewhere" in complaint
