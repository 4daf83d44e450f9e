"""Checks what a configuration says about exports."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import attrs
from twisted.logger import Logger

from gateway.config import ADVISED_EXPORT_NAME, MAX_EXPORT_NAME, ExportSettings, ExportSpec
from gateway.providers import Providers
from gateway.sections import Sections
from gateway.settings import BadValue, did_you_mean


class ExportSections:
    """The sections ``[export:NAME]``."""

    _log = Logger()

    def __init__(self, sections: Sections, providers: Providers, look: bool) -> None:
        """
        Args:
            look: ask providers what they find wrong on this machine.
        """
        self._sections = sections
        self._providers = providers
        self._look = look

    def export(self, section: str, name: str) -> ExportSpec | None:
        """One of them by itself; None if too little of it can be read."""
        self._check_name(section, name)
        values = self._sections.document.sections[section]
        common = {field.name for field in attrs.fields(ExportSettings)}
        provider = self._provider(section, values.get("provider"))
        settings = self._sections.read(
            ExportSettings, section, {key: values[key] for key in values if key in common}
        )
        if provider is None:
            return None
        own = {field.name for field in attrs.fields(provider.settings)} - common
        for key in values:
            if key not in common | own:
                self._sections.say(
                    section, key, f"unknown key{did_you_mean(key, sorted(common | own))}"
                )
        stored = self._sections.read(
            provider.settings, section, {key: values[key] for key in values if key in own}, name
        )
        if settings is None or stored is None:
            return None
        if self._look:
            found = self._ask(section, list, provider.problems, stored, settings.read_only) or []
            for problem in found:
                key, separator, _ = problem.partition(":")
                if separator and key in own:
                    self._sections.say(section, key, problem.partition(":")[2].strip())
                else:
                    self._sections.say(section, "", problem)
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
            self._sections.say(section, "provider", f'got "{name}", expected {expected}')
            return None

    def _ask(self, section: str, kind: type, question: Callable[..., Any], *args: Any) -> Any:
        """Call a provider; one that fails is one problem more and no traceback on the screen."""
        try:
            answer = question(*args)
            if not isinstance(answer, kind):
                raise TypeError(f"got {answer!r}, expected {kind.__name__}")
        except Exception as error:
            self._log.failure("storage provider failed while checking [{section}]", section=section)
            self._sections.say(section, "provider", f"the provider itself failed: {error!r}")
            return None
        return answer

    def _check_name(self, section: str, name: str) -> None:
        length = len(name.encode())
        if "\0" in name:
            self._sections.say(section, "", "got a NUL in the name of an export")
        if length > MAX_EXPORT_NAME:
            self._sections.say(
                section, "", f"got a name of {length} bytes, expected at most {MAX_EXPORT_NAME}"
            )
        elif length > ADVISED_EXPORT_NAME:
            self._log.warn(
                "the name of export {export} has more than {most} bytes; "
                "some clients refuse to use it",
                export=name,
                most=ADVISED_EXPORT_NAME,
            )

    def check_together(self, exports: list[ExportSpec], declared: list[str]) -> None:
        """
        All of them, with each other.

        Args:
            declared: names of all, also of those with mistakes.
        """
        holders: dict[Hashable, str] = {}
        for export in exports:
            if export.identity is None:
                continue
            key = (export.provider.name, export.identity)
            first = holders.setdefault(key, export.name)
            if first != export.name:
                self._sections.say(
                    self._sections.called("export", export.name),
                    "",
                    f"[export:{first}] and [export:{export.name}] are the same storage: "
                    f"{export.summary}",
                )
        if not declared and not any(
            section.startswith("export") for section in self._sections.document.sections
        ):
            self._sections.problems.append(
                f"{self._sections.document.name}: got no [export:NAME], expected some"
            )
