"""What a configuration says: its keys, their defaults, and the values that come out."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from typing import Any

import attrs

from gateway.addresses import Address, endpoint
from gateway.settings import (
    BadValue,
    boolean,
    choice,
    octal_mode,
    path,
    seconds,
    setting,
    text,
    words,
)

#: Bytes. The NBD protocol's limit on a name.
MAX_EXPORT_NAME = 4096

#: Bytes. What every client and tool can take.
ADVISED_EXPORT_NAME = 256

#: ``protocol =`` of a listener.
PROTOCOLS = ("nbd", "http")

#: ``state_dir`` of a gateway without a configuration file, unless it is told another.
EMBEDDED_DATA_DIR = "nbdgateway-data"

_CLIENT_NAME = re.compile(r"(cn|san|psk):.+")


def number(value: str) -> int:
    """A whole number of one or more."""
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
        raise BadValue("a whole number of one or more")
    return int(value)


def names(value: str) -> tuple[str, ...] | None:
    """Either * for all, or names of exports separated by commas."""
    if value == "*":
        return None
    items = tuple(filter(None, (item.strip() for item in re.split(r"[,\n]", value))))
    if not items:
        raise BadValue("* or names of exports, separated by commas")
    return items


def client_names(value: str) -> frozenset[str]:
    """Names of clients such as cn:vm17, san:vm.example or psk:alice, separated by commas."""
    items = words(value)
    if not all(map(_CLIENT_NAME.fullmatch, items)):
        raise BadValue("names such as cn:vm17, san:vm.example, psk:alice, separated by commas")
    return frozenset(items)


@attrs.frozen
class GatewaySettings:
    """The section ``[gateway]``."""

    state_dir: str = setting(
        path,
        "Directory for files that have to survive a restart, and for the operators' socket where "
        "there are volumes; whoever needs it creates it. "
        "The default is `nbdgateway-state` beside the configuration file.",
        "",
    )
    default_export: str = setting(
        text,
        "What the empty export name means. With exactly one export, that one is the default.",
        "",
    )
    shutdown_timeout: float = setting(
        seconds,
        "How long requests may take to finish when the gateway stops, and then, anew, how long "
        "exports may take to be flushed and closed. Those that were not are named in the log, "
        "and the exit status is 1.",
        30.0,
    )
    threads: int = setting(number, "How many storage calls may wait for a disk at once.", 16)
    log_format: str = setting(
        choice("auto", "text", "json"),
        "Lines of the log for people, or one JSON object each; `auto` is text on a terminal and "
        "JSON elsewhere. With twistd's `--syslog` or `--logger` it means nothing.",
        "auto",
    )
    slow_operation: float = setting(
        seconds,
        "A request that storage answers later than this is a line in the log, with the stage "
        "that took the time; 0 for no such lines.",
        0.5,
    )

    def directory(self, base: str) -> str:
        """``state_dir``, or its default beside the configuration file, which lies in ``base``."""
        return self.state_dir or os.path.join(base, "nbdgateway-state")


@attrs.frozen
class ListenSettings:
    """A section ``[listen:NAME]``; the name is free."""

    protocol: str = setting(choice(*PROTOCOLS), "What is spoken.", "nbd")
    endpoint: Address = setting(
        endpoint,
        "Where: any Twisted server endpoint string, such as `tcp:10809:interface=127.0.0.1`, "
        "`tcp6:10809`, `unix:/run/nbd.sock`, `systemd:INET:name=nbd`. `systemd` alone means "
        "every socket handed over that no other listener takes.",
    )
    exports: tuple[str, ...] | None = setting(
        names, "What is offered here. The default is `*`, all.", None
    )
    tls: str = setting(
        choice("off", "allow", "require"),
        "The default is `require` with a certificate or a key file, and else `off`. `allow` "
        "stops nobody who can change what is sent, except for exports with `tls_only`. HTTP "
        "has no `allow`.",
        "",
    )
    tls_certificate: str | None = setting(
        path, "Our certificate in PEM, followed by those between it and its root.", None
    )
    tls_key: str | None = setting(
        path,
        "The private key of `tls_certificate`, in PEM; a file to which others have no access. "
        "Access for a group is mentioned in the log.",
        None,
    )
    tls_client_ca: str | None = setting(
        path, "Roots of clients' certificates. With it, every TLS client must show one.", None
    )
    tls_client_crl: str | None = setting(path, "Lists of revoked client certificates.", None)
    tls_psk_file: str | None = setting(
        path, "Pre-shared keys, `identity:hexkey` per line; instead of a certificate.", None
    )
    token_file: str | None = setting(
        path,
        "Of HTTP: a file, for its owner only, with the token that clients have to show, except "
        "on a Unix socket and for `/healthz` and `/readyz`. Needed beyond this machine, and for "
        "changes.",
        None,
    )
    allow_insecure: bool = setting(
        boolean,
        "Listen beyond this machine though not every client has to use TLS: anyone who "
        "reaches the port can read and change the disks.",
        False,
    )
    mode: int | None = setting(
        octal_mode, "Permissions of a Unix socket. The default is 0660.", None
    )
    max_connections: int = setting(number, "More connections are closed at once.", 1024)
    handshake_timeout: float = setting(
        seconds, "How long a client of NBD may take from connecting to choosing an export.", 10.0
    )


@attrs.frozen
class ExportSettings:
    """A section ``[export:NAME]``; the name is the one clients ask for."""

    provider: str = setting(text, "Where the bytes live: the name of a storage provider.")
    description: str = setting(text, "One line for people, shown to clients that list.", "")
    read_only: bool = setting(boolean, "Refuse every change.", False)
    tls_only: bool = setting(boolean, "Never offer it in clear text.", False)
    tls_clients: frozenset[str] = setting(
        client_names,
        "Who may use it, by what their TLS handshake proved: `cn:` and `san:` from a "
        "certificate, `psk:` an identity. Implies `tls_only`. Without it: everyone.",
        frozenset(),
    )


@attrs.frozen
class TLSFiles:
    """
    The files that a listener's TLS is made of, as absolute paths.

    Either ``psk``, or ``certificate`` and ``key`` with what else is wanted.
    """

    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    client_crl: str | None = None
    psk: str | None = None

    def load(self) -> Any:
        """
        A `gateway.nbd.tls.ServerTLS`.

        Raises:
            ValueError: a file is missing or not what it should be.
        """
        # Late: cryptography is only loaded where TLS is asked for.
        from gateway.nbd.tls import ServerTLS

        if self.psk is not None:
            return ServerTLS.psk(self.psk)
        assert self.certificate is not None and self.key is not None, "checked by the reader"
        return ServerTLS.x509(self.certificate, self.key, self.client_ca, self.client_crl)


@attrs.frozen
class ListenerSpec:
    """
    One listener, checked.

    Attributes:
        name: the section's, without ``listen:``.
        exports: names, or None for all.
        tls: ``off``, ``allow`` or ``require``.
        tls_files: None if ``tls`` is ``off``.
        server_tls: a `gateway.nbd.tls.ServerTLS`, what ``tls_files`` held when the
            configuration was read. Reading them may wait for a disk, so that
            it is done together with the rest.
        mode: permissions of a Unix socket.
        handshake_timeout: seconds.
        token: what clients of HTTP have to show; None if there is none.
    """

    name: str
    protocol: str
    address: Address
    exports: tuple[str, ...] | None = None
    tls: str = "off"
    tls_files: TLSFiles | None = None
    server_tls: Any = attrs.field(default=None, eq=False, repr=False)
    allow_insecure: bool = False
    mode: int = 0o660
    max_connections: int = 1024
    handshake_timeout: float = 10.0
    token: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class ExportSpec:
    """
    One export, checked.

    Attributes:
        provider: an `IStorageProvider`.
        settings: of the provider's own settings class.
        identity: what the provider says the export will hold; None if that
            may be opened any number of times.
        summary: where the bytes live, in one line.
    """

    name: str
    # Each reading of a file makes new ones; they hold no state.
    provider: Any = attrs.field(eq=lambda provider: provider.name)
    settings: Any
    read_only: bool = False
    description: str = ""
    tls_only: bool = False
    tls_clients: frozenset[str] = frozenset()
    identity: Hashable | None = None
    summary: str = ""

    def holds_as(self, other: ExportSpec) -> bool:
        """Whether an export opened for ``other`` serves for this one as well."""
        return (self.provider.name, self.settings, self.read_only) == (
            other.provider.name,
            other.settings,
            other.read_only,
        )


@attrs.frozen
class Configuration:
    """
    A whole configuration, checked.

    Attributes:
        name: what messages call it.
        state_dir: absolute; need not exist yet.
        default_export: None if the empty name means nothing.
        shutdown_timeout: seconds.
        threads: for storage calls that wait.
        log_format: see `gateway.log_target`.
        slow_operation: seconds; 0 for none.
    """

    name: str
    state_dir: str
    default_export: str | None
    listeners: tuple[ListenerSpec, ...]
    exports: tuple[ExportSpec, ...]
    shutdown_timeout: float = 30.0
    threads: int = 16
    log_format: str = "auto"
    slow_operation: float = 0.5

    def lines(self) -> list[str]:
        """What ``--check`` prints."""
        lines = [f"state_dir {self.state_dir}"]
        for export in self.exports:
            notes = [export.provider.name, export.summary]
            if export.read_only:
                notes.append("read-only")
            if export.tls_clients:
                notes.append(f"TLS clients {', '.join(sorted(export.tls_clients))}")
            elif export.tls_only:
                notes.append("TLS only")
            if export.name == self.default_export:
                notes.append("default")
            lines.append(f"export {export.name}: {'; '.join(filter(None, notes))}")
        for listener in self.listeners:
            offered = "*" if listener.exports is None else ", ".join(listener.exports)
            lines.append(
                f"listen {listener.name}: {listener.protocol} on {listener.address.text}; "
                f"exports {offered}; tls {listener.tls}"
            )
        return lines
