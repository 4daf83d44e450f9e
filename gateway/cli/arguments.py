"""The command line: its groups of commands, and its help."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any

from gateway import __version__
from gateway.cli import (
    changes,
    checks,
    completing,
    configuring,
    costs,
    credentials,
    exports,
    running_commands,
    snapshots,
    stores,
    transfers,
    volumes,
    words,
)
from gateway.cli.exits import MEANINGS
from gateway.config import EMBEDDED_DATA_DIR

#: What adds commands, one module each, in the order in which the help has them.
GROUPS: tuple[Callable[[Any], None], ...] = (
    volumes.add,
    snapshots.add,
    changes.add,
    stores.add,
    checks.add,
    transfers.add,
    running_commands.add,
    costs.add,
    exports.add,
    configuring.add,
    credentials.add,
    completing.add,
)

_DESCRIPTION = """\
Looks after volumes: those of a gateway that runs, and those that none serves.
"""

_EPILOG = f"""\
ADDRESS is the name of an export of the configuration (--config), or a URL:
s3://BUCKET/FOLDER/VOLUME, with further keys behind it as in
?endpoint_url=https://s3.example, or file:///DIRECTORY/VOLUME. No URL holds a
secret: credentials and keys come from files.

A volume that the configuration's gateway has open is changed by that gateway,
under its clients. Any other is taken over for the time that a command takes,
and refused while somebody else holds it.

The gateway is found by the state_dir of its configuration, where it has a Unix
socket, admin.sock, for its own user; without --config and --socket, in
./{EMBEDDED_DATA_DIR}, where `twistd nbdgateway` without a configuration has it.

examples:
  nbdgateway volume create s3://disks/vm1?region=eu-central-1 200G
  nbdgateway volume list s3://disks
  nbdgateway --config gw.ini exports
  nbdgateway --config gw.ini snapshot create vm1 before-upgrade
  nbdinfo nbd://localhost/vm1@before-upgrade
  nbdgateway --config gw.ini clone vm1 before-upgrade vm1-test
  nbdgateway --config gw.ini volume resize vm1 400G
  nbdgateway --config gw.ini volume info vm1 --json | jq .gateway.facts.stored_bytes

exit status:
{"".join(f"  {status.value}  {meaning}{chr(10)}" for status, meaning in MEANINGS.items())}"""


def parse(arguments: Sequence[str] | None) -> Namespace:
    """
    What was said: ``run``, a `gateway.cli.words.Run`; the common options; what ``run`` needs;
    ``parser``, of the whole command line; and ``command``, what stands behind ``--``.

    Raises:
        SystemExit: 2 when it cannot be understood, 0 after ``--help``.
    """
    parser = build()
    said = [*(sys.argv[1:] if arguments is None else arguments)]
    command: list[str] = []
    if "run" in said and "--" in said:
        # What is behind it is somebody else's, options and all.
        behind = said.index("--")
        said, command = said[:behind], said[behind + 1 :]
    given = parser.parse_args(said)
    given.command = command
    given.parser = parser
    if given.config is not None and given.socket is not None:
        parser.error("got --config and --socket, expected one of them")
    return given


def build() -> ArgumentParser:
    """The parser of the whole command line; manuals and completion are made of it as well."""
    parser = ArgumentParser(
        prog="nbdgateway",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nbdgateway {__version__}")
    words.common(parser)
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in GROUPS:
        add(kinds)
    return parser
