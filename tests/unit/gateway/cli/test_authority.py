"""Certificates and keys that the command makes are those that TLS takes, and nothing is lost."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

from gateway.cli import authority
from gateway.cli.authority import CannotMake
from gateway.nbd.psk import read_keys
from gateway.nbd.tls import ServerTLS

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def pki(tmp_path):
    """A directory with an authority."""
    directory = str(tmp_path / "pki")
    authority.init_ca(directory, "storage CA", 3650, NOW)
    return directory


def _certificate(*path):
    with open(os.path.join(*path), "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def _mode(*path):
    return stat.S_IMODE(os.stat(os.path.join(*path)).st_mode)


def _verifier(pki):
    return PolicyBuilder().store(Store([_certificate(pki, "ca-cert.pem")])).time(NOW)


def test_a_server_certificate_is_good_for_each_host_it_names(pki):
    """Names and addresses alike, by a verifier of another make than ours."""
    authority.server(pki, ["gateway.example", "192.0.2.7"], 365, NOW)
    certificate = _certificate(pki, "server-cert.pem")
    for host in (x509.DNSName("gateway.example"), x509.IPAddress(_ip("192.0.2.7"))):
        chain = _verifier(pki).build_server_verifier(host).verify(certificate, [])
        assert len(chain) == 2


def _ip(text):
    from ipaddress import ip_address

    return ip_address(text)


def test_a_client_gets_a_folder_with_all_that_it_needs(pki):
    """Its certificate carries its name, which ``tls_clients`` asks for."""
    authority.client(pki, "vm17", 365, NOW)
    folder = os.path.join(pki, "vm17")
    assert sorted(os.listdir(folder)) == ["ca-cert.pem", "client-cert.pem", "client-key.pem"]
    certificate = _certificate(folder, "client-cert.pem")
    assert certificate.subject.rfc4514_string() == "CN=vm17"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(_certificate(pki, "ca-cert.pem"))


def test_a_listener_takes_what_was_made(tmp_path):
    """Dates included: made now."""
    directory = str(tmp_path / "pki")
    now = datetime.now(UTC)
    authority.init_ca(directory, "storage CA", 3650, now)
    authority.server(directory, ["localhost"], 365, now)
    tls = ServerTLS.x509(
        os.path.join(directory, "server-cert.pem"),
        os.path.join(directory, "server-key.pem"),
        os.path.join(directory, "ca-cert.pem"),
    )
    assert abs(tls.expires - now - timedelta(days=365)) < timedelta(minutes=1)


def test_private_keys_are_for_their_owner_only(pki):
    """And so is the directory that was made for them."""
    authority.server(pki, ["gateway.example"], 365, NOW)
    authority.client(pki, "vm17", 365, NOW)
    authority.psk(pki, "alice")
    keys = ["ca-key.pem", "server-key.pem", "vm17/client-key.pem", "keys.psk", "alice/keys.psk"]
    assert {_mode(pki, name) for name in keys} == {0o600}
    assert _mode(pki) == 0o700
    with open(os.path.join(pki, "ca-key.pem"), "rb") as file:
        assert load_pem_private_key(file.read(), None)


def test_nothing_is_overwritten(pki):
    """A second authority would make all certificates of the first worthless."""
    with open(os.path.join(pki, "ca-key.pem"), "rb") as file:
        before = file.read()
    with pytest.raises(CannotMake, match=r"ca-key.pem: there is one already"):
        authority.init_ca(pki, "another", 10, NOW)
    with open(os.path.join(pki, "ca-key.pem"), "rb") as file:
        assert file.read() == before
    authority.server(pki, ["gateway.example"], 365, NOW)
    with pytest.raises(CannotMake, match="there is one already"):
        authority.server(pki, ["gateway.example"], 365, NOW)


def test_half_of_a_pair_is_not_left_behind(pki):
    """The key is written first; a certificate in the way takes it back."""
    with open(os.path.join(pki, "server-cert.pem"), "w") as file:
        file.write("mine")
    with pytest.raises(CannotMake, match="server-cert.pem: there is one already"):
        authority.server(pki, ["gateway.example"], 365, NOW)
    assert not os.path.exists(os.path.join(pki, "server-key.pem"))


def test_no_certificate_outlives_its_authority(pki):
    """Clients would refuse it one day, without a word of why."""
    with pytest.raises(CannotMake, match="days: got 4000, expected at most 3650"):
        authority.client(pki, "vm17", 4000, NOW)


def test_one_as_long_as_the_authority_can_be_made_a_moment_later(tmp_path):
    """Nobody counts the seconds between two commands."""
    directory = str(tmp_path / "pki")
    authority.init_ca(directory, "storage CA", 365, NOW + timedelta(milliseconds=300))
    authority.server(directory, ["gateway.example"], 365, NOW + timedelta(minutes=5))
    ends = [
        _certificate(directory, f"{who}-cert.pem").not_valid_after_utc for who in ("ca", "server")
    ]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("host", "said"), [("two words", "a host's name or address"), ("", "a host's name or address")]
)
def test_a_host_that_is_none_is_refused(pki, host, said):
    """With what was got and what was expected."""
    with pytest.raises(CannotMake, match=said):
        authority.server(pki, [host], 365, NOW)


@pytest.mark.parametrize("name", ["..", "a/b", "", "x" * 65, "tab\there"])
def test_a_client_name_cannot_lead_elsewhere(pki, name):
    """It is the name of a folder, too."""
    with pytest.raises(CannotMake, match="expected"):
        authority.client(pki, name, 365, NOW)
    assert sorted(os.listdir(pki)) == ["ca-cert.pem", "ca-key.pem"]


def test_without_an_authority_it_says_how_to_make_one(tmp_path):
    """Not a traceback."""
    with pytest.raises(CannotMake, match="ca-cert.pem: there is none: `tls init-ca` makes one"):
        authority.server(str(tmp_path), ["gateway.example"], 365, NOW)


def test_a_key_that_is_not_the_authoritys_is_noticed(pki, tmp_path):
    """What it signed would be refused by everyone."""
    other = str(tmp_path / "other")
    authority.init_ca(other, "another", 365, NOW)
    os.replace(os.path.join(other, "ca-key.pem"), os.path.join(pki, "ca-key.pem"))
    with pytest.raises(CannotMake, match="ca-key.pem is not the key of ca-cert.pem"):
        authority.server(pki, ["gateway.example"], 365, NOW)


def test_pre_shared_keys_gather_in_one_file_and_each_client_gets_its_own(pki):
    """The gateway reads the one, the client the other; both have the same key."""
    authority.psk(pki, "alice")
    authority.psk(pki, "bob")
    everyone = read_keys(os.path.join(pki, "keys.psk"))
    assert sorted(everyone) == [b"alice", b"bob"]
    for name in ("alice", "bob"):
        alone = read_keys(os.path.join(pki, name, "keys.psk"))
        assert alone == {name.encode(): everyone[name.encode()]}


def test_an_identity_keeps_its_key(pki):
    """A second one would lock its client out."""
    authority.psk(pki, "alice")
    before = read_keys(os.path.join(pki, "keys.psk"))
    with pytest.raises(CannotMake, match="'alice' has a key already"):
        authority.psk(pki, "alice")
    assert read_keys(os.path.join(pki, "keys.psk")) == before


@pytest.mark.parametrize("identity", ["", "a:b", "#a", "a b", "../a", "x" * 129])
def test_an_identity_that_no_key_file_can_hold_is_refused(pki, identity):
    """Before anything is written."""
    with pytest.raises(CannotMake, match="expected 1 to 128 characters"):
        authority.psk(pki, identity)
    assert not os.path.exists(os.path.join(pki, "keys.psk"))
