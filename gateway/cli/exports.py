"""``exports`` and ``reopen``: what a running gateway serves."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from gateway.cli import words
from gateway.cli.done import Done
from gateway.cli.session import Session
from gateway.cli.texts import plural, size, table


def add(kinds: Any) -> None:
    """The commands, to the command line."""
    words.command(
        kinds, "exports", _exports, "what the running gateway serves: size, clients, storage"
    )
    reopen = words.command(
        kinds,
        "reopen",
        _reopen,
        "have the running gateway close an export's storage and open it anew",
        "This takes back a volume that another gateway has taken over, which can change it no more"
        " from then on. Refused while a client uses the export; who connects meanwhile waits.",
    )
    reopen.add_argument("export", metavar="EXPORT", type=words.name, help="of the gateway")


async def _exports(session: Session, given: Namespace) -> Done:
    value = await session.gateway().ask("GET", "exports")
    rows = [
        (
            one["name"],
            "-" if one["size"] is None else size(one["size"]),
            "open" if one["open"] else "not open",
            plural(one["clients"], "client"),
            f"{one['provider']}: {one['storage']}",
        )
        for one in value["exports"]
    ]
    return Done(value, table(rows) or "no exports")


async def _reopen(session: Session, given: Namespace) -> Done:
    value = await session.gateway().ask("POST", "exports", given.export, "reopen", value={})
    return Done(value, f"{given.export} is open: {size(value['size'])}")
