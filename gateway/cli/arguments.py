"""The command line: what can be said, and its help."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any

from gateway import __version__, settings
from gateway.cli import commands
from gateway.cli.client import Client
from gateway.cli.commands import Done
from gateway.cli.exits import MEANINGS
from gateway.config import EMBEDDED_DATA_DIR
from gateway.settings import BadValue

Run = Callable[[Client, Namespace], Done]

_DESCRIPTION = """\
Looks after the volumes of a running gateway: snapshots, clones, sizes, space.

Clients stay connected meanwhile; only `snapshot rollback` wants them gone.
"""

_EPILOG = f"""\
The gateway is found by the state_dir of its configuration (--config), where it
has a Unix socket, admin.sock, for its own user; without --config and --socket,
in ./{EMBEDDED_DATA_DIR}, where `twistd nbdgateway` without a configuration has it.

examples:
  nbdgateway --config gw.ini list
  nbdgateway --config gw.ini snapshot create vm1 before-upgrade
  nbdinfo nbd://localhost/vm1@before-upgrade
  nbdgateway --config gw.ini clone vm1 before-upgrade vm1-test
  nbdgateway --config gw.ini resize vm1 200G
  nbdgateway --config gw.ini info vm1 --json | jq .facts.stored_bytes

exit status:
{"".join(f"  {status.value}  {meaning}{chr(10)}" for status, meaning in MEANINGS.items())}"""


def parse(arguments: Sequence[str] | None) -> Namespace:
    """
    What was said: ``run``, a `Run`; ``config``, ``socket``, ``json``; and what ``run`` needs.

    Raises:
        SystemExit: 2 when it cannot be understood, 0 after ``--help``.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.config is not None and given.socket is not None:
        parser.error("got --config and --socket, expected one of them")
    return given


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="nbdgateway",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nbdgateway {__version__}")
    _add_common(parser, None, False)
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(kinds, "list", commands.list_exports, "every export: size, clients, storage")
    _add(kinds, "info", commands.info, "one export, and what its volume knows of itself", "export")
    _add_snapshot(kinds)
    clone = _add(
        kinds,
        "clone",
        commands.clone,
        "make a new volume of a snapshot, in the same store",
        "export",
        "snapshot",
        more="The clone shares what it has in common with the snapshot, which cannot be deleted "
        "as long as the clone is there. Nothing is copied.",
    )
    clone.add_argument(
        "new", metavar="NEW", type=_name, help="what its own export will have as its prefix"
    )
    resize = _add(
        kinds,
        "resize",
        commands.resize,
        "make a disk larger",
        "export",
        more="It cannot be made smaller. Clients see the new size when they connect anew.",
    )
    resize.add_argument(
        "size", metavar="SIZE", type=_size, help="bytes of the whole disk, also as 200G or 1T"
    )
    _add(
        kinds,
        "gc",
        commands.collect,
        "give space back to the store now",
        "export",
        more="The gateway does it by itself as well, now and then. What a snapshot needs stays.",
    )
    return parser


def _add_snapshot(kinds: Any) -> None:
    snapshot = kinds.add_parser(
        "snapshot",
        help="take, list and delete snapshots, and go back to one",
        description="Snapshots are read as EXPORT@NAME, by the clients that may use EXPORT.",
        allow_abbrev=False,
    )
    deeds = snapshot.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = _add(
        deeds,
        "create",
        commands.create_snapshot,
        "keep a disk as it is now",
        "export",
        more="With every write that was answered before; what a client holds back in its own "
        "caches is not in it. Space is taken by what changes afterwards.",
    )
    create.add_argument(
        "name",
        metavar="NAME",
        type=_name,
        nargs="?",
        help="1 to 100 of A-Z a-z 0-9 . _ - : (the time, if there is none)",
    )
    _add(deeds, "list", commands.list_snapshots, "the snapshots of an export", "export")
    _add(deeds, "delete", commands.delete_snapshot, "give a snapshot up", "export", "name")
    _add(
        deeds,
        "rollback",
        commands.roll_back,
        "make a disk what it was",
        "export",
        "name",
        more="What was written since is gone, unless another snapshot has it. Refused while a "
        "client uses the export or reads a snapshot of it; who connects meanwhile waits.",
    )


_HELP = {
    "export": "an export of the gateway",
    "name": "of a snapshot",
    "snapshot": "one of the export's snapshots",
}


def _add(
    kinds: Any, word: str, run: Run, help: str, *positional: str, more: str = ""
) -> ArgumentParser:
    first = help[0].upper() + help[1:]
    parser: ArgumentParser = kinds.add_parser(
        word, help=help, description=f"{first}. {more}".strip(), allow_abbrev=False
    )
    parser.set_defaults(run=run)
    for name in positional:
        parser.add_argument(name, metavar=name.upper(), type=_name, help=_HELP[name])
    # Also behind the command, without undoing what stands before it.
    _add_common(parser, argparse.SUPPRESS, argparse.SUPPRESS)
    return parser


def _add_common(parser: ArgumentParser, path: Any, flag: Any) -> None:
    parser.add_argument(
        "--config", "-c", metavar="FILE", default=path, help="the gateway's configuration"
    )
    parser.add_argument("--socket", metavar="PATH", default=path, help="the gateway's admin.sock")
    parser.add_argument(
        "--json", action="store_true", default=flag, help="answer as JSON, errors as well"
    )


def _name(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected UTF-8") from None
    return text


def _size(text: str) -> int:
    try:
        return settings.size(text)
    except BadValue as expected:
        raise argparse.ArgumentTypeError(f'got "{text}", expected {expected}') from None
