"""From what the command line says to the settings of a volume, and where a gateway would be."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from typing import Any

import attrs

from gateway import embedded, ini, settings, validation
from gateway.admin.wire import SOCKET, Cause, Problem
from gateway.cli.exits import Failure, wrong
from gateway.config import EMBEDDED_DATA_DIR, Configuration, GatewaySettings
from gateway.errors import ConfigurationError, UnknownExport
from gateway.export_sections import ExportSections
from gateway.maintenance import IVolumeStorage
from gateway.providers import Providers
from gateway.sections import Sections
from gateway.settings import BadValue, did_you_mean

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

#: Keys of an export's section that are not the provider's.
_NOT_ITS = ("provider", "description", "read_only", "tls_only", "tls_clients")


@attrs.frozen
class Address:
    """
    What ADDRESS means.

    Attributes:
        text: for people.
        name: of the export in the configuration; None for a URL.
        provider: an `IVolumeStorage`.
        settings: of it.
        state_dir: absolute.
        whole: a store and no volume in it.
        read_only: by the configuration.
    """

    text: str
    name: str | None
    provider: Any
    settings: Any = attrs.field(repr=False)
    state_dir: str
    whole: bool = False
    read_only: bool = False


def is_url(text: str) -> bool:
    """Whether ADDRESS is one, and no export's name."""
    return _URL.match(text) is not None


def resolve(text: str, given: Namespace, providers: Providers, store: bool = False) -> Address:
    """
    Look ADDRESS up. Reads files, asks no store.

    Args:
        given: ``config``, ``options``, ``state_dir``.
        store: a URL may be that of a store, or of a folder in it.

    Raises:
        ConfigurationError, Failure: with what is wrong; no secrets.
        UnknownExport: the configuration has no export of that name.
    """
    if is_url(text):
        return _url(text, given, providers, store)
    return _name(text, given, providers)


def names(given: Namespace, providers: Providers) -> list[str]:
    """The exports of the configuration that are volumes."""
    document = _document(given, providers)
    found = []
    for section, values in document.sections.items():
        kind, _, name = (part.strip() for part in section.partition(":"))
        if kind != "export":
            continue
        try:
            provider = providers.get(values.get("provider", ""))
        except BadValue:
            continue  # said when it is asked for
        if IVolumeStorage.providedBy(provider):
            found.append(name)
    return found


def socket_path(given: Namespace) -> str:
    """
    Where the gateway's socket would be.

    A file tells where its gateway has it, whatever else is kept elsewhere: of
    the file only ``[gateway]`` counts. Without one, ``state_dir`` tells, or else it is that of a
    gateway that was started here without a configuration.

    Raises:
        ConfigurationError: the file does not tell.
    """
    if given.socket is not None:
        return str(given.socket)
    told = given.state_dir if given.config is None else None
    return os.path.join(told or _state_dir(given), SOCKET)


def state_dir(given: Namespace) -> str:
    """
    For what the command keeps for itself; absolute.

    Raises:
        ConfigurationError: the configuration does not tell.
    """
    found = given.state_dir or (_own_state_dir() if given.config is None else _state_dir(given))
    return os.path.abspath(found)


def configuration(given: Namespace, providers: Providers) -> Configuration:
    """
    The whole configuration, without a look at what storage says of it.

    Raises:
        ConfigurationError: with every mistake in it.
    """
    if given.config is None:
        return embedded.configuration(os.path.abspath(EMBEDDED_DATA_DIR), providers=providers)
    document, problems = ini.load(given.config)
    return validation.check(document, problems, providers=providers, look_at_storage=False)


def changed(address: Address, values: dict[str, str]) -> Any:
    """
    The settings of an address with other values for some keys.

    Raises:
        ConfigurationError: they do not fit.
    """
    fields = {one.name: one for one in attrs.fields(type(address.settings))}
    converted = {}
    for key, value in values.items():
        try:
            convert = fields[key].metadata["convert"]
            if convert is settings.path:
                converted[key] = os.path.abspath(os.path.expanduser(value))
            else:
                converted[key] = convert(value)
        except BadValue as expected:
            raise wrong(f'{key}: got "{value}", expected {expected}') from None
    made = attrs.evolve(address.settings, **converted)
    problems = address.provider.problems(made, False)
    if problems:
        raise ConfigurationError(problems)
    return made


def _url(text: str, given: Namespace, providers: Providers, store: bool) -> Address:
    scheme = text.partition(":")[0].lower()
    provider = _for_scheme(scheme, providers)
    try:
        values = {**provider.values(text, store), **_options(given)}
    except BadValue as expected:
        # Not quoted: it may hold what must not be shown.
        raise wrong(f"ADDRESS: got a URL of {scheme}, expected {expected}") from None
    read, problems = settings.read(
        provider.settings, values, os.getcwd(), lambda key: f"ADDRESS: {key}".rstrip(": "), "-"
    )
    if read is None:
        raise ConfigurationError(problems)
    whole = "prefix" not in values
    if whole:
        read = attrs.evolve(read, prefix="")
    else:
        # Who reads need not be able to write; where a volume is made there may be nothing yet.
        if provider.problems(read, True) and (problems := provider.problems(read, False)):
            raise ConfigurationError(problems)
    state_dir = given.state_dir or _own_state_dir()
    shown = text if whole else provider.url(read)
    return Address(shown, None, provider, read, os.path.abspath(state_dir), whole)


def _for_scheme(scheme: str, providers: Providers) -> Any:
    known: list[str] = []
    for name in providers.names():
        try:
            provider = providers.get(name)
        except BadValue:
            continue
        if IVolumeStorage.providedBy(provider):
            if scheme in provider.schemes:
                return provider
            known += provider.schemes
    raise wrong(f"ADDRESS: got a URL of {scheme}, expected one of {', '.join(sorted(known))}")


def _options(given: Namespace) -> dict[str, str]:
    found = {}
    for text in given.options or ():
        key, separator, value = text.partition("=")
        try:
            settings.check_public(key)
        except BadValue as expected:
            raise wrong(f"-o: expected {expected}") from None
        if not separator or not key:
            raise wrong(f"-o: got {key[:40]!r}, expected KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def _name(name: str, given: Namespace, providers: Providers) -> Address:
    if given.socket is not None:
        raise wrong(
            f"{name}: with --socket only a gateway that has it open can be asked, and it has not;"
            " expected --config, or a URL"
        )
    document = _document(given, providers)
    sections = Sections(document, [])
    found = {}
    for section in document.sections:
        kind, _, called = (part.strip() for part in section.partition(":"))
        if kind == "export":
            found[called] = section
    if name not in found:
        hint = did_you_mean(name, [*found])
        raise UnknownExport(f"{document.name}: there is no export {name[:100]!r}{hint}")
    options = _options(given)
    document.sections[found[name]].update(options)
    spec = ExportSections(sections, providers, True).export(found[name], name)
    if spec is None or sections.problems:
        raise _mistakes(document, sections.problems, providers)
    if not IVolumeStorage.providedBy(spec.provider):
        raise not_a_volume(name, "its storage is no volume")
    state_dir = given.state_dir or _state_dir(given)
    return Address(
        name,
        name,
        spec.provider,
        spec.settings,
        os.path.abspath(state_dir),
        read_only=spec.read_only,
    )


def not_a_volume(name: str, why: str) -> Failure:
    """An export is none that this can be done with."""
    return Failure(
        Problem(Cause.NOT_A_VOLUME, f"export {name} has no snapshots and cannot be changed: {why}")
    )


def _document(given: Namespace, providers: Providers) -> ini.Document:
    if given.config is None:
        return embedded.document(os.path.abspath(EMBEDDED_DATA_DIR))
    document, problems = ini.load(given.config)
    if problems:
        raise _mistakes(document, problems, providers)
    return document


def _mistakes(
    document: ini.Document, problems: list[str], providers: Providers
) -> ConfigurationError:
    """All that is wrong with a file, once some of it matters: nobody mends it line by line."""
    try:
        validation.check(document, problems, providers=providers, look_at_storage=False)
    except ConfigurationError as every:
        return every
    return ConfigurationError(problems)


def _own_state_dir() -> str:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "nbdgateway")


def _state_dir(given: Namespace) -> str:
    if given.config is None:
        return EMBEDDED_DATA_DIR
    document, problems = ini.load(given.config)
    found: GatewaySettings | None = GatewaySettings()
    if "gateway" in document.sections:
        sections = Sections(document, [])
        found = sections.read(GatewaySettings, "gateway")
        if found is None:
            raise _mistakes(document, problems + sections.problems, Providers())
    assert found is not None
    return found.directory(document.base)
