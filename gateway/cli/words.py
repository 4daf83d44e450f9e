"""The words of a command line: how a command is added, and what its arguments may be."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Coroutine
from typing import Any

from gateway import settings
from gateway.cli.done import Done
from gateway.cli.session import Session
from gateway.settings import BadValue

#: What a command is; see `gateway.cli.session`.
Run = Callable[[Session, Namespace], Coroutine[Any, Any, Done]]

#: What ADDRESS is, in one line.
ADDRESS = "an export of the configuration, or a URL: s3://BUCKET/VOLUME, file:///DIRECTORY/VOLUME"


def group(kinds: Any, word: str, help: str, more: str = "") -> Any:
    """
    A word that commands follow.

    Returns:
        Where they are added, with `command`.
    """
    parser = kinds.add_parser(
        word, help=help, description=f"{_first_up(help)}. {more}".strip(), allow_abbrev=False
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def command(kinds: Any, word: str, run: Run, help: str, more: str = "") -> ArgumentParser:
    """
    A command; the caller adds its arguments.

    Args:
        kinds: of the command line, or of a `group`.
        help: in a list of commands, in one line.
        more: what its own ``--help`` says as well.
    """
    parser: ArgumentParser = kinds.add_parser(
        word, help=help, description=f"{_first_up(help)}. {more}".strip(), allow_abbrev=False
    )
    parser.set_defaults(run=run)
    # Also behind the command, without undoing what stands before it.
    common(parser, argparse.SUPPRESS, argparse.SUPPRESS)
    return parser


def common(parser: ArgumentParser, path: Any = None, flag: Any = False) -> None:
    """What every command may be told."""
    parser.add_argument(
        "--config", "-c", metavar="FILE", default=path, help="the gateway's configuration"
    )
    parser.add_argument("--socket", metavar="PATH", default=path, help="the gateway's admin.sock")
    parser.add_argument(
        "-o",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=path,
        help="a further key of the storage provider, as in a section of the configuration;"
        " may be given again",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIRECTORY",
        default=path,
        help="for journals and what is known of stores, instead of the configuration's; without"
        " --config, also where the gateway's admin.sock is looked for",
    )
    parser.add_argument(
        "--json", action="store_true", default=flag, help="answer as JSON, errors as well"
    )
    parser.add_argument(
        "--quiet", "-q", action="store_true", default=flag, help="do not show progress"
    )
    parser.add_argument(
        "--yes", "-y", action="store_true", default=flag, help="do not ask before deleting"
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        default=flag,
        help="although somebody else holds it: their clients get errors from then on",
    )


def address(parser: ArgumentParser, optional: bool = False, help: str = ADDRESS) -> None:
    """ADDRESS, as ``given.address``."""
    if optional:
        parser.add_argument("address", metavar="ADDRESS", type=name, nargs="?", help=help)
    else:
        parser.add_argument("address", metavar="ADDRESS", type=name, help=help)


def name(text: str) -> str:
    """The ``type`` of names."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected UTF-8") from None
    return text


def with_snapshot(text: str) -> tuple[str, str | None]:
    """ADDRESS, and the snapshot behind its last ``@``, if there is one."""
    head, at, last = text.rpartition("@")
    if not at or not head or "/" in last:
        return text, None
    return head, last


def size(text: str) -> int:
    """The ``type`` of bytes, such as 200G."""
    try:
        return settings.size(text)
    except BadValue as expected:
        raise argparse.ArgumentTypeError(f'got "{text}", expected {expected}') from None


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]
