"""Checks a configuration as a whole and finds every mistake in it at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import attrs
from twisted.logger import Logger

from gateway import ini
from gateway.addresses import endpoint, path_problem
from gateway.config import (
    ADVISED_EXPORT_NAME,
    MAX_EXPORT_NAME,
    PROTOCOLS,
    Configuration,
    ExportSettings,
    ExportSpec,
    GatewaySettings,
    ListenerSpec,
    ListenSettings,
    TLSFiles,
    names,
)
from gateway.errors import ConfigurationError
from gateway.providers import Providers
from gateway.settings import BadValue, did_you_mean, read

S = TypeVar("S")

_log = Logger()

_TLS_KEYS = ("tls_certificate", "tls_key", "tls_client_ca", "tls_client_crl", "tls_psk_file")


def load(
    path: str, *, activated: bool = False, providers: Providers | None = None
) -> Configuration:
    """
    Read and check a configuration file.

    Args:
        path: as the operator named it.
        activated: sockets were handed over; listeners then take those and
            open no others.
        providers: where providers are looked up.

    Raises:
        ConfigurationError: with every mistake in the file.
    """
    document, problems = ini.load(path)
    return check(document, problems, activated=activated, providers=providers)


def check(
    document: ini.Document,
    problems: list[str],
    *,
    activated: bool = False,
    providers: Providers | None = None,
    look_at_storage: bool = True,
) -> Configuration:
    """
    The same for a document that is at hand.

    Args:
        problems: mistakes found earlier.
        look_at_storage: ask providers what they find wrong on this machine.
    """
    reader = _Reader(document, providers or Providers(), look_at_storage)
    reader.problems += problems
    configuration = reader.configuration(activated)
    if reader.problems or configuration is None:
        raise ConfigurationError(_in_file_order(reader.problems, document.name))
    return configuration


def _in_file_order(problems: list[str], name: str) -> list[str]:
    def line(problem: str) -> int:
        number = problem.removeprefix(f"{name}:").partition(":")[0]
        return int(number) if number.isdecimal() else 0

    return sorted(dict.fromkeys(problems), key=line)


def _names(text: str) -> tuple[str, ...]:
    try:
        return names(text) or ()
    except BadValue:
        return ()


class _Reader:
    """Goes through one document, collecting problems."""

    def __init__(self, document: ini.Document, providers: Providers, look: bool) -> None:
        self._document = document
        self._providers = providers
        self._look = look
        self.problems: list[str] = []

    def configuration(self, activated: bool) -> Configuration | None:
        gateway: GatewaySettings | None = None
        listeners: list[ListenerSpec] = []
        exports: list[ExportSpec] = []
        # Those with mistakes count as named, so that one is not reported twice.
        declared: list[str] = []
        if "gateway" not in self._document.sections:
            gateway = GatewaySettings()
        for section in self._document.sections:
            kind, separator, name = (part.strip() for part in section.partition(":"))
            if section == "gateway":
                gateway = self._read(GatewaySettings, section)
            elif kind == "listen" and name:
                listener = self._listener(section, name)
                if listener is not None:
                    listeners.append(listener)
            elif kind == "export" and name:
                if name in declared:
                    self._say(section, "", f"there is another export called {name}")
                declared.append(name)
                export = self._export(section, name)
                if export is not None:
                    exports.append(export)
            elif kind in ("listen", "export"):
                self._say(section, "", f"got no name, expected [{kind}:NAME]")
            else:
                known = ["gateway", "listen:NAME", "export:NAME"]
                hint = did_you_mean(kind + (":NAME" if separator else ""), known)
                self._say(section, "", f"unknown section{hint}")
        self._check_exports(exports, declared)
        self._check_listeners(listeners, exports, declared, activated)
        default = self._default(declared)
        if gateway is None:
            return None
        return Configuration(
            name=self._document.name,
            state_dir=gateway.state_dir or os.path.join(self._document.base, "nbdgateway-state"),
            default_export=default,
            listeners=tuple(listeners),
            exports=tuple(exports),
            shutdown_timeout=gateway.shutdown_timeout,
            threads=gateway.threads,
        )

    def _say(self, section: str, key: str, problem: str) -> None:
        self.problems.append(f"{self._document.where(section, key)}: {problem}")

    def _read(
        self, settings_class: type[S], section: str, values: dict[str, str] | None = None
    ) -> S | None:
        if values is None:
            values = self._document.sections[section]
        settings, problems = read(
            settings_class,
            values,
            self._document.base,
            lambda key: self._document.where(section, key),
        )
        self.problems += problems
        return settings

    def _default(self, declared: list[str]) -> str | None:
        wanted = self._document.sections.get("gateway", {}).get("default_export")
        if not wanted:
            return declared[0] if len(declared) == 1 else None
        if wanted not in declared:
            hint = did_you_mean(wanted, declared)
            self._say("gateway", "default_export", f'got "{wanted}", which is no export{hint}')
        return wanted

    # Listeners

    def _listener(self, section: str, name: str) -> ListenerSpec | None:
        settings = self._read(ListenSettings, section)
        if settings is None:
            return None
        address = settings.endpoint.under(self._document.base)
        self._check_socket(section, settings)
        tls, files, server_tls = self._tls(section, settings)
        if tls != "require" and not address.is_local and not settings.allow_insecure:
            self._say(
                section,
                "endpoint",
                f'got "{address.text}", which other machines can reach, and tls = {tls}; expected '
                "tls = require, an interface such as 127.0.0.1, or allow_insecure = yes",
            )
        return ListenerSpec(
            name=name,
            protocol=settings.protocol,
            address=address,
            exports=settings.exports,
            tls=tls,
            tls_files=files,
            server_tls=server_tls,
            allow_insecure=settings.allow_insecure,
            mode=settings.mode or address.mode or 0o660,
            max_connections=settings.max_connections,
            handshake_timeout=settings.handshake_timeout,
        )

    def _check_socket(self, section: str, settings: ListenSettings) -> None:
        address = settings.endpoint.under(self._document.base)
        if address.kind == "unix":
            problem = path_problem(address.path)
            if problem is not None:
                self._say(section, "endpoint", problem)
            if address.mode is not None and settings.mode is not None:
                self._say(section, "mode", "the endpoint has a mode as well, expected one of them")
        elif settings.mode is not None:
            self._say(section, "mode", f"got it for {address.kind}, expected a unix endpoint")

    def _tls(self, section: str, settings: ListenSettings) -> tuple[str, TLSFiles | None, Any]:
        given = {key for key in _TLS_KEYS if getattr(settings, key) is not None}
        mistakes = len(self.problems)
        tls = settings.tls or ("require" if given else "off")
        if tls == "off":
            return tls, None, None
        if not given:
            needs = "tls_certificate and tls_key, or tls_psk_file"
            self._say(section, "tls", f"tls = {tls} needs {needs}")
        for key, needs in (
            ("tls_certificate", "tls_key"),
            ("tls_key", "tls_certificate"),
            ("tls_client_ca", "tls_certificate"),
            ("tls_client_crl", "tls_client_ca"),
        ):
            if key in given and needs not in given:
                self._say(section, key, f"{key} needs {needs} beside it")
        if "tls_psk_file" in given and len(given) > 1:
            # With a certificate in the same context OpenSSL passes keys over.
            self._say(
                section, "tls_psk_file", "got certificates as well, expected one way per listener"
            )
        if len(self.problems) > mistakes:
            return tls, None, None
        files = TLSFiles(
            settings.tls_certificate,
            settings.tls_key,
            settings.tls_client_ca,
            settings.tls_client_crl,
            settings.tls_psk_file,
        )
        try:
            server_tls = files.load()
        except ValueError as error:
            server_tls = None
            key = next(
                (key for key in _TLS_KEYS if str(error).startswith(f"{getattr(settings, key)}:")),
                "tls_certificate" if "tls_certificate" in given else "tls_psk_file",
            )
            self._say(section, key, str(error))
        else:
            self._check_key_mode(section, settings.tls_key)
        return tls, files, server_tls

    def _check_key_mode(self, section: str, key: str | None) -> None:
        # Of key files for PSK this is checked where they are read.
        mode = stat.S_IMODE(os.stat(key).st_mode) if key is not None else 0
        if mode & 0o007:
            self._say(
                section,
                "tls_key",
                f"{key}: got mode {mode:04o}, expected 0600: no access for others",
            )
        elif mode & 0o070:
            _log.warn("{key}: a group has access to the private key", key=key)

    def _check_listeners(
        self,
        listeners: list[ListenerSpec],
        exports: list[ExportSpec],
        declared: list[str],
        activated: bool,
    ) -> None:
        tls_only = {export.name for export in exports if export.tls_only}
        addresses: dict[Hashable, str] = {}
        for listener in listeners:
            section = self._section("listen", listener.name)
            for name in listener.exports or ():
                if name in tls_only and listener.tls == "off":
                    self._say(
                        section, "exports", f'got "{name}", which is for TLS only, and tls = off'
                    )
            address = listener.address
            first = addresses.setdefault(address.place, listener.name)
            if first != listener.name and not address.is_any_port:
                self._say(section, "endpoint", f"[listen:{first}] has the same one")
            if activated and address.kind != "systemd":
                self._say(
                    section,
                    "endpoint",
                    f'got "{address.text}", expected systemd, as this process was started with '
                    "sockets of its own (LISTEN_FDS)",
                )
        # By the text: those of listeners with other mistakes as well.
        for section, values in self._document.sections.items():
            if section.startswith("listen") and "exports" in values:
                for name in _names(values["exports"]):
                    if name not in declared:
                        hint = did_you_mean(name, declared)
                        self._say(section, "exports", f'got "{name}", which is no export{hint}')
        if any(section.startswith("listen") for section in self._document.sections):
            return
        if activated:
            listeners.append(ListenerSpec("handed-over", PROTOCOLS[0], endpoint("systemd")))
        else:
            self.problems.append(f"{self._document.name}: got no [listen:NAME], expected some")

    # Exports

    def _export(self, section: str, name: str) -> ExportSpec | None:
        self._check_name(section, name)
        values = self._document.sections[section]
        common = {field.name for field in attrs.fields(ExportSettings)}
        provider = self._provider(section, values.get("provider"))
        settings = self._read(
            ExportSettings, section, {key: values[key] for key in values if key in common}
        )
        if provider is None:
            return None
        own = {field.name for field in attrs.fields(provider.settings)} - common
        for key in values:
            if key not in common | own:
                self._say(section, key, f"unknown key{did_you_mean(key, sorted(common | own))}")
        stored = self._read(
            provider.settings, section, {key: values[key] for key in values if key in own}
        )
        if settings is None or stored is None:
            return None
        if self._look:
            found = self._ask(section, list, provider.problems, stored, settings.read_only) or []
            for problem in found:
                key, separator, _ = problem.partition(":")
                if separator and key in own:
                    self._say(section, key, problem.partition(":")[2].strip())
                else:
                    self._say(section, "", problem)
        return ExportSpec(
            name=name,
            provider=provider,
            settings=stored,
            read_only=settings.read_only,
            description=settings.description,
            tls_only=settings.tls_only or bool(settings.tls_clients),
            tls_clients=settings.tls_clients,
            identity=self._ask(section, object, provider.identity, stored),
            summary=self._ask(section, str, provider.describe, stored) or "",
        )

    def _provider(self, section: str, name: str | None) -> Any:
        if not name:
            return None  # said by reading ExportSettings
        try:
            return self._providers.get(name)
        except BadValue as expected:
            self._say(section, "provider", f'got "{name}", expected {expected}')
            return None

    def _ask(self, section: str, kind: type, question: Callable[..., Any], *args: Any) -> Any:
        """Call a provider; one that fails is one problem more and no traceback on the screen."""
        try:
            answer = question(*args)
            if not isinstance(answer, kind):
                raise TypeError(f"got {answer!r}, expected {kind.__name__}")
        except Exception as error:
            _log.failure("storage provider failed while checking [{section}]", section=section)
            self._say(section, "provider", f"the provider itself failed: {error!r}")
            return None
        return answer

    def _check_name(self, section: str, name: str) -> None:
        length = len(name.encode())
        if "\0" in name:
            self._say(section, "", "got a NUL in the name of an export")
        if length > MAX_EXPORT_NAME:
            self._say(
                section, "", f"got a name of {length} bytes, expected at most {MAX_EXPORT_NAME}"
            )
        elif length > ADVISED_EXPORT_NAME:
            _log.warn(
                "the name of export {export} has more than {most} bytes; "
                "some clients refuse to use it",
                export=name,
                most=ADVISED_EXPORT_NAME,
            )

    def _check_exports(self, exports: list[ExportSpec], declared: list[str]) -> None:
        holders: dict[Hashable, str] = {}
        for export in exports:
            if export.identity is None:
                continue
            key = (export.provider.name, export.identity)
            first = holders.setdefault(key, export.name)
            if first != export.name:
                self._say(
                    self._section("export", export.name),
                    "",
                    f"[export:{first}] and [export:{export.name}] are the same storage: "
                    f"{export.summary}",
                )
        if not declared and not any(
            section.startswith("export") for section in self._document.sections
        ):
            self.problems.append(f"{self._document.name}: got no [export:NAME], expected some")

    def _section(self, kind: str, name: str) -> str:
        """The section's text as written in the file: there may be spaces in it."""
        for section in self._document.sections:
            head, _, tail = section.partition(":")
            if (head.strip(), tail.strip()) == (kind, name):
                return section
        return f"{kind}:{name}"
