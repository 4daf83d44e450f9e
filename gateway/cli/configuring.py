"""``init`` and ``config ...``: a configuration to start from, and what one says."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import attrs

from gateway import config_template, validation
from gateway.admin.wire import Cause, Problem
from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.exits import Failure, wrong
from gateway.cli.session import Session
from gateway.config import Configuration, ExportSettings
from gateway.config_reference import written


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    init = words.command(
        kinds,
        "init",
        _init,
        "write a configuration to start from",
        "With comments that explain every key. What it has can be served at once.",
    )
    init.add_argument(
        "file", metavar="FILE", nargs="?", default="gw.ini", help="gw.ini; - prints it"
    )
    init.add_argument("--force", action="store_true", help="although there is one already")
    config = words.group(kinds, "config", "check a configuration, or show what it comes to")
    check = words.command(
        config,
        "check",
        _check,
        "say all that is wrong with a configuration, or what would be served",
        "Nothing is opened or asked. Exit status 2 if there are mistakes.",
    )
    check.add_argument("file", metavar="FILE", nargs="?", help="gw.ini, or that of --config")
    show = words.command(
        config,
        "show",
        _show,
        "show every key of a configuration with its value, also those that it leaves out",
        "In the form of a configuration. Secrets do not stand in it: they are in files of"
        " their own, which are named and not read.",
    )
    show.add_argument("file", metavar="FILE", nargs="?", help="gw.ini, or that of --config")


async def _init(session: Session, given: Namespace) -> Done:
    text = config_template.text(given.file if given.file != "-" else "gw.ini")
    if given.file == "-":
        return Done({"text": text}, text.rstrip("\n"))
    try:
        await session.runtime.call_in_thread(_write, given.file, text, given.force)
    except FileExistsError:
        raise Failure(
            Problem(Cause.REFUSED, f"{given.file}: there is one already; expected --force")
        ) from None
    except OSError as error:
        raise wrong(f"{given.file}: {error.strerror}") from None
    return Done(
        {"file": given.file},
        f"{given.file} is written; twistd -n nbdgateway --config {given.file} serves it",
    )


async def _check(session: Session, given: Namespace) -> Done:
    configuration = await _load(session, given)
    lines = configuration.lines()
    return Done({"file": configuration.name, "served": lines}, "\n".join(lines))


async def _show(session: Session, given: Namespace) -> Done:
    configuration = await _load(session, given)
    sections = _sections(configuration)
    text = "\n\n".join(
        "\n".join([f"[{name}]", *(f"{key} = {value}".rstrip() for key, value in keys.items())])
        for name, keys in sections.items()
    )
    return Done(sections, text)


async def _load(session: Session, given: Namespace) -> Configuration:
    if given.file is not None and given.config is not None:
        raise wrong("got a FILE and --config, expected one of them")
    name = given.file or given.config or "gw.ini"
    configuration: Configuration = await session.runtime.call_in_thread(validation.load, name)
    return configuration


def _sections(configuration: Configuration) -> dict[str, dict[str, str]]:
    """Section to key to value, all as texts."""
    sections = {
        "gateway": {
            "state_dir": configuration.state_dir,
            "default_export": configuration.default_export or "",
            "shutdown_timeout": f"{configuration.shutdown_timeout:g}",
            "threads": str(configuration.threads),
        }
    }
    for listener in configuration.listeners:
        files = attrs.asdict(listener.tls_files) if listener.tls_files is not None else {}
        sections[f"listen:{listener.name}"] = {
            "protocol": listener.protocol,
            "endpoint": listener.address.text,
            "exports": "*" if listener.exports is None else ", ".join(listener.exports),
            "tls": listener.tls,
            **{f"tls_{key}": value or "" for key, value in files.items()},
            "allow_insecure": "yes" if listener.allow_insecure else "no",
            "mode": f"{listener.mode:04o}" if listener.address.kind == "unix" else "",
            "max_connections": str(listener.max_connections),
            "handshake_timeout": f"{listener.handshake_timeout:g}",
        }
    for export in configuration.exports:
        common = {
            field.name: written(field, getattr(export, field.name))
            for field in attrs.fields(ExportSettings)
            if field.name != "provider"
        }
        own = {
            field.name: written(field, getattr(export.settings, field.name))
            for field in attrs.fields(type(export.settings))
        }
        sections[f"export:{export.name}"] = {"provider": export.provider.name, **common, **own}
    return sections


def _write(name: str, text: str, force: bool) -> None:
    """Blocks."""
    with open(name, "w" if force else "x", encoding="utf-8") as file:
        file.write(text)
