"""Checks what a configuration says about listeners."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from typing import Any

from twisted.logger import Logger

from gateway.addresses import endpoint, path_problem
from gateway.config import PROTOCOLS, ExportSpec, ListenerSpec, ListenSettings, TLSFiles, names
from gateway.sections import Sections
from gateway.settings import BadValue, did_you_mean
from gateway.tokens import token_in

_TLS_KEYS = ("tls_certificate", "tls_key", "tls_client_ca", "tls_client_crl", "tls_psk_file")


class ListenSections:
    """The sections ``[listen:NAME]``."""

    _log = Logger()

    def __init__(self, sections: Sections) -> None:
        self._sections = sections

    def listener(self, section: str, name: str) -> ListenerSpec | None:
        """One of them by itself; None if too little of it can be read."""
        settings = self._sections.read(ListenSettings, section)
        if settings is None:
            return None
        address = settings.endpoint.under(self._sections.document.base)
        self._check_socket(section, settings)
        tls, files, server_tls = self._tls(section, settings)
        if tls != "require" and not address.is_local and not settings.allow_insecure:
            self._sections.say(
                section,
                "endpoint",
                f'got "{address.text}", which other machines can reach, and tls = {tls}; expected '
                "tls = require, an interface such as 127.0.0.1, or allow_insecure = yes",
            )
        token = self._token(section, settings)
        if settings.protocol == "http":
            if tls == "allow":
                self._sections.say(section, "tls", "got allow, expected off or require for http")
            if settings.token_file is None and not address.is_local:
                self._sections.say(
                    section,
                    "token_file",
                    f'missing, as other machines can reach "{address.text}"; expected a file with '
                    "a token, or an interface such as 127.0.0.1",
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
            token=token,
        )

    def _token(self, section: str, settings: ListenSettings) -> bytes | None:
        if settings.token_file is None:
            return None
        if settings.protocol != "http":
            self._sections.say(
                section, "token_file", f"got it for {settings.protocol}, expected protocol = http"
            )
            return None
        try:
            return token_in(settings.token_file)
        except ValueError as problem:
            self._sections.say(section, "token_file", str(problem))
            return None

    def _check_socket(self, section: str, settings: ListenSettings) -> None:
        address = settings.endpoint.under(self._sections.document.base)
        if address.kind == "unix":
            problem = path_problem(address.path)
            if problem is not None:
                self._sections.say(section, "endpoint", problem)
            if address.mode is not None and settings.mode is not None:
                self._sections.say(
                    section, "mode", "the endpoint has a mode as well, expected one of them"
                )
        elif settings.mode is not None:
            self._sections.say(
                section, "mode", f"got it for {address.kind}, expected a unix endpoint"
            )

    def _tls(self, section: str, settings: ListenSettings) -> tuple[str, TLSFiles | None, Any]:
        given = {key for key in _TLS_KEYS if getattr(settings, key) is not None}
        mistakes = len(self._sections.problems)
        tls = settings.tls or ("require" if given else "off")
        if tls == "off":
            return tls, None, None
        if not given:
            needs = "tls_certificate and tls_key, or tls_psk_file"
            self._sections.say(section, "tls", f"tls = {tls} needs {needs}")
        for key, needs in (
            ("tls_certificate", "tls_key"),
            ("tls_key", "tls_certificate"),
            ("tls_client_ca", "tls_certificate"),
            ("tls_client_crl", "tls_client_ca"),
        ):
            if key in given and needs not in given:
                self._sections.say(section, key, f"{key} needs {needs} beside it")
        if "tls_psk_file" in given and len(given) > 1:
            # With a certificate in the same context OpenSSL passes keys over.
            self._sections.say(
                section, "tls_psk_file", "got certificates as well, expected one way per listener"
            )
        if len(self._sections.problems) > mistakes:
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
            self._sections.say(section, key, str(error))
        else:
            self._check_key_mode(section, settings.tls_key)
        return tls, files, server_tls

    def _check_key_mode(self, section: str, key: str | None) -> None:
        # Of key files for PSK this is checked where they are read.
        mode = stat.S_IMODE(os.stat(key).st_mode) if key is not None else 0
        if mode & 0o007:
            self._sections.say(
                section,
                "tls_key",
                f"{key}: got mode {mode:04o}, expected 0600: no access for others",
            )
        elif mode & 0o070:
            self._log.warn("{key}: a group has access to the private key", key=key)

    def check_together(
        self,
        listeners: list[ListenerSpec],
        exports: list[ExportSpec],
        declared: list[str],
        activated: bool,
    ) -> None:
        """
        All of them, with each other and with the exports.

        Args:
            declared: names of exports, also of those with mistakes.
            activated: sockets were handed over; gets a listener of its own
                for them if there is none.
        """
        tls_only = {export.name for export in exports if export.tls_only}
        addresses: dict[Hashable, str] = {}
        for listener in listeners:
            section = self._sections.called("listen", listener.name)
            for name in listener.exports or ():
                if name in tls_only and listener.tls == "off":
                    self._sections.say(
                        section, "exports", f'got "{name}", which is for TLS only, and tls = off'
                    )
            address = listener.address
            first = addresses.setdefault(address.place, listener.name)
            if first != listener.name and not address.is_any_port:
                self._sections.say(section, "endpoint", f"[listen:{first}] has the same one")
            if activated and address.kind != "systemd":
                self._sections.say(
                    section,
                    "endpoint",
                    f'got "{address.text}", expected systemd, as this process was started with '
                    "sockets of its own (LISTEN_FDS)",
                )
        # By the text: those of listeners with other mistakes as well.
        for section, values in self._sections.document.sections.items():
            if section.startswith("listen") and "exports" in values:
                for name in _names(values["exports"]):
                    if name not in declared:
                        hint = did_you_mean(name, declared)
                        self._sections.say(
                            section, "exports", f'got "{name}", which is no export{hint}'
                        )
        if any(section.startswith("listen") for section in self._sections.document.sections):
            return
        if activated:
            listeners.append(ListenerSpec("handed-over", PROTOCOLS[0], endpoint("systemd")))
        else:
            self._sections.problems.append(
                f"{self._sections.document.name}: got no [listen:NAME], expected some"
            )


def _names(text: str) -> tuple[str, ...]:
    try:
        return names(text) or ()
    except BadValue:
        return ()
