"""What each command asks the gateway, and what it says when that is done."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from gateway.admin.wire import path
from gateway.cli.client import Client
from gateway.cli.texts import moment, plural, size, table


@dataclass(frozen=True, slots=True)
class Done:
    """
    A command's result.

    Attributes:
        value: for programs, as JSON. Keys stay; new ones may come.
        text: for people.
    """

    value: Any
    text: str


def list_exports(client: Client, given: Namespace) -> Done:
    """Every export."""
    value = client.ask("GET", path("exports"))
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


def info(client: Client, given: Namespace) -> Done:
    """One export and its facts."""
    value = client.ask("GET", path("exports", given.export))
    rows = [(key, _plain(key, one)) for key, one in value.items() if key != "facts"]
    rows += [(key, _plain(key, one)) for key, one in value.get("facts", {}).items()]
    return Done(value, table(rows))


def list_snapshots(client: Client, given: Namespace) -> Done:
    """The snapshots of an export, the oldest first."""
    value = client.ask("GET", path("exports", given.export, "snapshots"))
    rows = [(one["name"], moment(one["created"]), size(one["size"])) for one in value["snapshots"]]
    return Done(value, table(rows) or "no snapshots")


def create_snapshot(client: Client, given: Namespace) -> Done:
    """Take a snapshot."""
    name = given.name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    value = client.ask("POST", path("exports", given.export, "snapshots"), {"name": name})
    text = f"snapshot {value['name']} is taken; clients read it as {given.export}@{value['name']}"
    return Done(value, text)


def delete_snapshot(client: Client, given: Namespace) -> Done:
    """Delete a snapshot."""
    client.ask("DELETE", path("exports", given.export, "snapshots", given.name))
    value = {"export": given.export, "snapshot": given.name}
    return Done(value, f"snapshot {given.name} is deleted")


def roll_back(client: Client, given: Namespace) -> Done:
    """Make an export what a snapshot is."""
    where = path("exports", given.export, "rollback")
    value = client.ask("POST", where, {"snapshot": given.name})
    return Done(value, f"{given.export} is what it was in snapshot {given.name}")


def clone(client: Client, given: Namespace) -> Done:
    """Make a volume of a snapshot."""
    wish = {"snapshot": given.snapshot, "name": given.new}
    value = client.ask("POST", path("exports", given.export, "clones"), wish)
    return Done(
        value,
        f"volume {given.new} is made of {given.export}@{given.snapshot}. To serve it, add a"
        f" section [export:...]\nwith the keys of [export:{given.export}], but"
        f" prefix = {given.new}, and reload.",
    )


def resize(client: Client, given: Namespace) -> Done:
    """Make an export larger."""
    where = path("exports", given.export, "resize")
    value = client.ask("POST", where, {"size": given.size})
    return Done(
        value, f"{given.export} has {size(value['size'])}; clients see it when they connect anew"
    )


def collect(client: Client, given: Namespace) -> Done:
    """Give space back to the store."""
    value = client.ask("POST", path("exports", given.export, "collect"), {})
    emptied, swept = plural(value["emptied"], "object"), plural(value["swept"], "left-over object")
    return Done(value, f"{emptied} emptied, {swept} deleted")


def _plain(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "size" or key.endswith("_bytes"):
        return f"{size(value)} ({value} bytes)"
    return str(value)
