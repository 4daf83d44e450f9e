"""Checking a configuration as a whole."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gateway import ini, validation
from gateway.config import Configuration
from gateway.errors import ConfigurationError
from gateway.exports import ExportTable
from gateway.listeners import NBDFactories
from gateway.providers import Providers
from gateway.traffic import Connections
from tests.certificates import make_certificates
from tests.unit.gateway.fakes import FakeProvider, resources

LISTEN = "[listen:nbd]\nendpoint = tcp:10809:interface=127.0.0.1\n"
EXPORT = "[export:a]\nprovider = fake\n"


def check(text: str, **options: Any) -> Configuration:
    """Check a text as if it were ``/etc/gw.ini``."""
    document, problems = ini.parse(textwrap.dedent(text), "gw.ini", "/etc")
    providers = Providers({}, plugins=[FakeProvider()], broken=())
    return validation.check(document, problems, providers=providers, **options)


def problems(text: str, **options: Any) -> list[str]:
    """The mistakes in a text."""
    with pytest.raises(ConfigurationError) as caught:
        check(text, **options)
    return caught.value.problems


def test_a_small_configuration_has_sensible_defaults() -> None:
    """One listener and one export are enough."""
    configuration = check(LISTEN + EXPORT)
    assert configuration.state_dir == "/etc/nbdgateway-state"
    assert configuration.default_export == "a"
    (listener,) = configuration.listeners
    assert (listener.tls, listener.exports, listener.mode) == ("off", None, 0o660)
    (export,) = configuration.exports
    assert (export.read_only, export.tls_only, export.summary) == (
        False,
        False,
        "4096 bytes at nowhere",
    )


def test_every_mistake_is_reported_at_once_in_the_order_of_the_file() -> None:
    """One run of --check is enough."""
    assert problems(
        """\
        [gateway]
        default_exprt = a
        [listen:one]
        endpoint = tcp:99999
        exports = a, q
        [listen:two]
        endpoint = tcp:10809
        colour
        [exprt:x]
        [export:a]
        provider = fake
        size = 12Q
        read_onyl = yes
        [export:b]
        provider = fakd
        [export:]
        [extra]
        """
    ) == [
        'gw.ini:2: [gateway] default_exprt: unknown key, did you mean "default_export"?',
        (
            'gw.ini:4: [listen:one] endpoint: got "tcp:99999", expected tcp:PORT or '
            "tcp:PORT:interface=ADDRESS, with a port below 65536"
        ),
        'gw.ini:5: [listen:one] exports: got "q", which is no export, expected one of a, b',
        (
            'gw.ini:7: [listen:two] endpoint: got "tcp:10809", which other machines can reach, and '
            "tls = off; expected tls = require, an interface such as 127.0.0.1, or "
            "allow_insecure = yes"
        ),
        'gw.ini:8: got "colour", expected [section] or key = value',
        'gw.ini:9: [exprt:x]: unknown section, did you mean "export:NAME"?',
        (
            'gw.ini:12: [export:a] size: got "12Q", expected a number of bytes, or one with '
            "K, M, G, T (powers of 1024)"
        ),
        'gw.ini:13: [export:a] read_onyl: unknown key, did you mean "read_only"?',
        (
            'gw.ini:15: [export:b] provider: got "fakd", expected the name of a storage provider, '
            'did you mean "fake"?'
        ),
        "gw.ini:16: [export:]: got no name, expected [export:NAME]",
        "gw.ini:17: [extra]: unknown section, expected one of export:NAME, gateway, listen:NAME",
    ]


def test_nothing_to_serve_is_a_mistake() -> None:
    """An empty file is not a gateway."""
    assert problems("") == [
        "gw.ini: got no [export:NAME], expected some",
        "gw.ini: got no [listen:NAME], expected some",
    ]


def test_required_keys_are_missed_by_name() -> None:
    """What has no default must be there."""
    assert problems("[listen:nbd]\n[export:a]\n") == [
        (
            "gw.ini:1: [listen:nbd] endpoint: missing, expected a Twisted endpoint string, such as "
            "tcp:10809:interface=127.0.0.1"
        ),
        "gw.ini:2: [export:a] provider: missing, expected any non-empty text",
    ]


@pytest.mark.parametrize("name", ["x" * 4096, "ä" * 2048, "a:b", "a b", "/"])
def test_export_names_up_to_the_limit_of_the_protocol_are_taken(name: str) -> None:
    """Names are measured in bytes of UTF-8."""
    assert check(f"{LISTEN}[export:{name}]\nprovider = fake\n").exports[0].name == name


@pytest.mark.parametrize("name", ["x" * 4097, "ä" * 2049, "a\0b"])
def test_export_names_that_no_client_can_ask_for_are_mistakes(name: str) -> None:
    """More than 4096 bytes and NUL cannot go over the wire."""
    assert len(problems(f"{LISTEN}[export:{name}]\nprovider = fake\n")) == 1


def test_two_exports_of_one_store_are_a_mistake_that_names_both() -> None:
    """Two caches over one file would eat it."""
    text = (
        LISTEN + "[export:a]\nprovider = fake\nplace = x\n[export:b]\nprovider = fake\nplace = x\n"
    )
    assert problems(text) == [
        "gw.ini:6: [export:b]: [export:a] and [export:b] are the same storage: 4096 bytes at x"
    ]


def test_the_same_name_written_twice_with_spaces_is_a_mistake() -> None:
    """Names are what clients send, not what the file looks like."""
    assert "another export called a" in problems(LISTEN + EXPORT + EXPORT.replace(":a", ": a"))[0]


def test_the_default_export_must_exist() -> None:
    """Also when its section has other mistakes it exists."""
    assert problems("[gateway]\ndefault_export = b\n" + LISTEN + EXPORT) == [
        'gw.ini:2: [gateway] default_export: got "b", which is no export, expected one of a'
    ]
    assert len(problems("[gateway]\ndefault_export = a\n" + LISTEN + EXPORT + "size = x\n")) == 1


def test_without_a_choice_there_is_no_default_among_several() -> None:
    """Guessing which disk is meant is worse than refusing."""
    text = LISTEN + EXPORT + "[export:b]\nprovider = fake\n"
    assert check(text).default_export is None


def test_what_a_provider_finds_wrong_is_placed_at_its_key() -> None:
    """``key: ...`` from a provider leads to the line of that key."""
    found = problems(LISTEN + EXPORT + "size = 1\nwrong = size: got 1, expected more\n")
    assert found == ["gw.ini:5: [export:a] size: got 1, expected more"]
    found = problems(LISTEN + EXPORT + "wrong = everything is\n")
    assert found == ["gw.ini:3: [export:a]: everything is"]


class BrokenProviderTests(SynchronousTestCase):
    """Providers are other people's code."""

    def test_a_provider_that_raises_is_one_problem_more(self) -> None:
        """The traceback goes to the log, the sentence to the operator."""
        found = problems(LISTEN + EXPORT + "wrong = crash\n")
        assert found == [
            (
                "gw.ini:4: [export:a] provider: the provider itself failed: "
                "RuntimeError('the provider is broken')"
            )
        ]
        assert len(self.flushLoggedErrors(RuntimeError)) == 1


def test_storage_is_left_alone_when_asked_to() -> None:
    """The embedded default is checked before its directory exists."""
    assert check(LISTEN + EXPORT + "wrong = everything is\n", look_at_storage=False)


@pytest.mark.parametrize(
    ("endpoint", "more", "is_fine"),
    [
        ("tcp:10809", "", False),
        ("tcp:10809", "allow_insecure = yes", True),
        ("tcp6:10809", "", False),
        (r"tcp6:10809:interface=\:\:1", "", True),
        ("unix:/run/nbd.sock", "", True),
        ("systemd:INET:name=nbd", "", True),
        ("ssl:10809:privateKey=/nonexistent", "allow_insecure = yes", False),
    ],
)
def test_listening_beyond_this_machine_needs_tls_or_a_clear_word(
    endpoint: str, more: str, is_fine: bool
) -> None:
    """Disks are not offered to a network by accident."""
    text = f"[listen:nbd]\nendpoint = {endpoint}\n{more}\n{EXPORT}"
    if is_fine:
        assert check(text).listeners
    else:
        (problem,) = problems(text)
        assert "[listen:nbd] endpoint:" in problem


def _with_tls(directory: Path, *lines: str) -> str:
    listen = "[listen:nbd]\nendpoint = tcp:10809\n" + "".join(f"{line}\n" for line in lines)
    return (listen + EXPORT).replace("DIR", str(directory))


def test_tls_is_required_where_a_certificate_is_given(tmp_path: Path) -> None:
    """Opportunistic TLS is never what comes by default (T12)."""
    make_certificates(tmp_path)
    text = _with_tls(
        tmp_path, "tls_certificate = DIR/server-cert.pem", "tls_key = DIR/server-key.pem"
    )
    assert check(text).listeners[0].tls == "require"


def test_a_factory_is_made_without_reading_a_file_again(tmp_path: Path) -> None:
    """Factories are made on the reactor's thread, which never waits for a disk."""
    make_certificates(tmp_path)
    text = _with_tls(
        tmp_path, "tls_certificate = DIR/server-cert.pem", "tls_key = DIR/server-key.pem"
    )
    (listener,) = check(text).listeners
    shutil.rmtree(tmp_path)
    factory = NBDFactories(Connections(lambda: 0.0))(listener, ExportTable(resources()), None, 30.0)
    assert factory.tls is listener.server_tls is not None


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        (["tls = require"], "tls"),
        (["tls_certificate = DIR/server-cert.pem"], "tls_certificate"),
        (["tls_key = DIR/server-key.pem"], "tls_key"),
        (["tls_client_ca = DIR/ca-cert.pem"], "tls_client_ca"),
        (
            [
                "tls_certificate = DIR/server-cert.pem",
                "tls_key = DIR/server-key.pem",
                "tls_psk_file = DIR/keys.psk",
            ],
            "tls_psk_file",
        ),
        (["tls_psk_file = DIR/missing.psk"], "tls_psk_file"),
        (
            ["tls_certificate = DIR/missing.pem", "tls_key = DIR/server-key.pem"],
            "tls_certificate",
        ),
        (["tls_certificate = DIR/server-cert.pem", "tls_key = DIR/ca-cert.pem"], "tls_key"),
    ],
)
def test_tls_that_cannot_be_is_a_mistake_at_its_key(
    tmp_path: Path, lines: list[str], key: str
) -> None:
    """Bad certificates are found before anything starts."""
    make_certificates(tmp_path)
    (problem,) = problems(_with_tls(tmp_path, *lines))
    assert f"[listen:nbd] {key}:" in problem


def test_a_private_key_is_not_for_everyone(tmp_path: Path) -> None:
    """Whoever reads it can be us; a group for keys is usual, and mentioned."""
    make_certificates(tmp_path)
    text = _with_tls(
        tmp_path, "tls_certificate = DIR/server-cert.pem", "tls_key = DIR/server-key.pem"
    )
    key = tmp_path / "server-key.pem"
    key.chmod(0o604)
    (problem,) = problems(text)
    assert "[listen:nbd] tls_key:" in problem
    assert "got mode 0604" in problem
    for mode, warnings in ((0o640, 1), (0o600, 0)):
        key.chmod(mode)
        with capturedLogs() as logs:
            assert check(text)
        assert len(logs) == warnings


def test_an_export_for_tls_only_cannot_be_listed_where_tls_is_off() -> None:
    """With * it is hidden there instead."""
    export = EXPORT + "tls_clients = cn:vm17, psk:alice\n"
    assert check(LISTEN + export).exports[0].tls_only
    (problem,) = problems(LISTEN + "exports = a\n" + export)
    assert problem.startswith('gw.ini:3: [listen:nbd] exports: got "a", which is for TLS only')


def test_client_names_need_their_kind() -> None:
    """``vm17`` alone could be anything."""
    (problem,) = problems(LISTEN + EXPORT + "tls_clients = vm17\n")
    assert "expected names such as cn:vm17" in problem


def test_two_listeners_cannot_share_an_address() -> None:
    """Port 0 is another port each time."""
    other = LISTEN.replace("nbd", "other")
    assert "[listen:nbd] has the same one" in problems(LISTEN + other + EXPORT)[0]
    assert check((LISTEN + other + EXPORT).replace("10809", "0"))


def test_permissions_are_for_unix_sockets_and_given_once() -> None:
    """A mode that has no effect is a mistake."""
    unix = "[listen:nbd]\nendpoint = unix:nbd.sock"
    assert check(f"{unix}\nmode = 0600\n{EXPORT}").listeners[0].mode == 0o600
    assert check(f"{unix}:mode=640\n{EXPORT}").listeners[0].mode == 0o640
    assert "has a mode as well" in problems(f"{unix}:mode=640\nmode = 600\n{EXPORT}")[0]
    assert "expected a unix endpoint" in problems(f"{LISTEN}mode = 600\n{EXPORT}")[0]


def test_socket_paths_that_are_too_long_are_found() -> None:
    """More than 107 bytes cannot be bound (U4)."""
    assert "107" in problems(f"[listen:nbd]\nendpoint = unix:/{'x' * 107}\n{EXPORT}")[0]


def test_sockets_handed_over_exclude_addresses_of_ones_own() -> None:
    """Whoever started us chose the address (U6)."""
    assert "LISTEN_FDS" in problems(LISTEN + EXPORT, activated=True)[0]
    assert check("[listen:nbd]\nendpoint = systemd\n" + EXPORT, activated=True)


def test_sockets_handed_over_are_served_without_a_listener_section() -> None:
    """``nbdinfo -- [ twistd -n nbdgateway --config gw.ini ]`` needs exports only."""
    (listener,) = check(EXPORT, activated=True).listeners
    assert listener.address.kind == "systemd"


def test_the_summary_names_exports_and_listeners() -> None:
    """What ``--check`` prints."""
    text = LISTEN + EXPORT + "read_only = yes\n[export:b]\nprovider = fake\ntls_only = yes\n"
    assert check("[gateway]\ndefault_export = a\n" + text).lines() == [
        "state_dir /etc/nbdgateway-state",
        "export a: fake; 4096 bytes at nowhere; read-only; default",
        "export b: fake; 4096 bytes at nowhere; TLS only",
        "listen nbd: nbd on tcp:10809:interface=127.0.0.1; exports *; tls off",
    ]


def _http(*lines: str, endpoint: str = "tcp:80:interface=127.0.0.1") -> str:
    head = f"[listen:admin]\nprotocol = http\nendpoint = {endpoint}\n"
    return EXPORT + head + "".join(f"{line}\n" for line in lines)


def test_http_on_loopback_needs_nothing() -> None:
    """It only shows what is there."""
    (listener,) = check(_http()).listeners
    assert (listener.protocol, listener.token) == ("http", None)


def test_http_beyond_this_machine_needs_token_and_tls(tmp_path: Path) -> None:
    """Both are said at once."""
    found = "\n".join(problems(_http(endpoint="tcp:80")))
    assert "token_file: missing, as other machines can reach" in found
    assert "expected tls = require" in found
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    text = _http(f"token_file = {token}", "allow_insecure = yes", endpoint="tcp:80")
    (listener,) = check(text).listeners
    assert listener.token == b"0123456789abcdef"
    assert "0123456789abcdef" not in repr(listener)


def test_a_token_is_for_http_alone(tmp_path: Path) -> None:
    """NBD has no place for one; a file that others can read is refused."""
    assert "expected protocol = http" in problems(LISTEN + f"token_file = {tmp_path}\n" + EXPORT)[0]
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o644)
    assert "expected 0600" in problems(_http(f"token_file = {token}"))[0]


def test_http_has_tls_or_not(tmp_path: Path) -> None:
    """There is no way to ask for it later."""
    make_certificates(tmp_path)
    certificate = [f"tls_{key} = {tmp_path}/server-{key[:4]}.pem" for key in ("certificate", "key")]
    certificate[1] = f"tls_key = {tmp_path}/server-key.pem"
    assert "got allow, expected off or require" in problems(_http("tls = allow", *certificate))[0]
