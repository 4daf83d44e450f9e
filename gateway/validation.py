"""Checks a configuration as a whole and finds every mistake in it at once."""

from __future__ import annotations

from gateway import ini
from gateway.config import Configuration, ExportSpec, GatewaySettings, ListenerSpec
from gateway.errors import ConfigurationError
from gateway.export_sections import ExportSections
from gateway.listen_sections import ListenSections
from gateway.providers import Providers
from gateway.sections import Sections
from gateway.settings import did_you_mean


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
    sections = Sections(document, problems)
    exports = ExportSections(sections, providers or Providers(), look_at_storage)
    configuration = _configuration(sections, ListenSections(sections), exports, activated)
    if sections.problems or configuration is None:
        raise ConfigurationError(_in_file_order(sections.problems, document.name))
    return configuration


def _in_file_order(problems: list[str], name: str) -> list[str]:
    def line(problem: str) -> int:
        number = problem.removeprefix(f"{name}:").partition(":")[0]
        return int(number) if number.isdecimal() else 0

    return sorted(dict.fromkeys(problems), key=line)


def _configuration(
    sections: Sections, listen: ListenSections, export: ExportSections, activated: bool
) -> Configuration | None:
    document = sections.document
    gateway: GatewaySettings | None = None
    listeners: list[ListenerSpec] = []
    exports: list[ExportSpec] = []
    # Those with mistakes count as named, so that one is not reported twice.
    declared: list[str] = []
    if "gateway" not in document.sections:
        gateway = GatewaySettings()
    for section in document.sections:
        kind, separator, name = (part.strip() for part in section.partition(":"))
        if section == "gateway":
            gateway = sections.read(GatewaySettings, section)
        elif kind == "listen" and name:
            listener = listen.listener(section, name)
            if listener is not None:
                listeners.append(listener)
        elif kind == "export" and name:
            if name in declared:
                sections.say(section, "", f"there is another export called {name}")
            declared.append(name)
            found = export.export(section, name)
            if found is not None:
                exports.append(found)
        elif kind in ("listen", "export"):
            sections.say(section, "", f"got no name, expected [{kind}:NAME]")
        else:
            known = ["gateway", "listen:NAME", "export:NAME"]
            hint = did_you_mean(kind + (":NAME" if separator else ""), known)
            sections.say(section, "", f"unknown section{hint}")
    export.check_together(exports, declared)
    listen.check_together(listeners, exports, declared, activated)
    default = _default(sections, declared)
    if gateway is None:
        return None
    return Configuration(
        name=document.name,
        state_dir=gateway.directory(document.base),
        default_export=default,
        listeners=tuple(listeners),
        exports=tuple(exports),
        shutdown_timeout=gateway.shutdown_timeout,
        threads=gateway.threads,
        log_format=gateway.log_format,
        slow_operation=gateway.slow_operation,
    )


def _default(sections: Sections, declared: list[str]) -> str | None:
    wanted = sections.document.sections.get("gateway", {}).get("default_export")
    if not wanted:
        return declared[0] if len(declared) == 1 else None
    if wanted not in declared:
        hint = did_you_mean(wanted, declared)
        sections.say("gateway", "default_export", f'got "{wanted}", which is no export{hint}')
    return wanted
