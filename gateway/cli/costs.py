"""``cost``: what a volume costs a month."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, replace
from typing import Any

from gateway.cli import pricing, words
from gateway.cli.done import Done
from gateway.cli.exits import wrong
from gateway.cli.pricing import Item, Prices, Workload
from gateway.cli.session import Session
from gateway.cli.texts import table
from gateway.settings import BadValue


def add(kinds: Any) -> None:
    """The command, to the command line."""
    cost = words.command(
        kinds,
        "cost",
        _cost,
        "what a volume costs a month",
        "For being there, by what it takes in its store; and for being used as the options say,"
        " computed from what a gateway asks of its store. Prices are those of S3 Standard in"
        " us-east-1 unless a file says otherwise: [prices] put, get (for 1,000 requests), storage"
        " (for a GB and month), egress (for a GB).",
    )
    words.address(cost)
    cost.add_argument("--prices", metavar="FILE", help="an INI file")
    cost.add_argument(
        "--writes", metavar="SIZE", type=words.size, default=0, help="bytes a second, on average"
    )
    cost.add_argument(
        "--reads",
        metavar="SIZE",
        type=words.size,
        default=0,
        help="bytes a second that no cache has, on average",
    )
    cost.add_argument(
        "--read-size", metavar="SIZE", type=words.size, default=65536, help="of one read (64K)"
    )
    cost.add_argument(
        "--flushes", metavar="N", type=_rate, default=0.0, help="a second, on average"
    )


def _rate(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


async def _cost(session: Session, given: Namespace) -> Done:
    address = session.address(given.address)
    prices = await session.runtime.call_in_thread(_prices, given.prices)
    with session.progress("measuring", "nothing was changed") as tell:
        usage = await session.place(address).usage(tell)
    journal = address.settings.durability == "journal"
    workload = Workload(
        writes=given.writes,
        reads=given.reads,
        read_size=given.read_size,
        flushes=given.flushes,
        journal=journal,
        upload_delay=address.settings.upload_delay,
    )
    kept, used = pricing.keeping(usage, prices), pricing.using(workload, prices)
    total = sum(item.dollars for item in [*kept, *used])
    value = {
        "prices": asdict(prices),
        "keeping": [asdict(item) for item in kept],
        "using": [asdict(item) for item in used],
        "dollars_a_month": total,
    }
    lines = [table(_rows([*kept, *used])), f"${total:,.2f} a month"]
    if given.flushes and not journal:
        other = sum(one.dollars for one in pricing.using(replace(workload, journal=True), prices))
        saved = sum(one.dollars for one in used) - other
        lines.append(f"durability = journal would save ${saved:,.2f} of it")
    return Done(value, "\n".join(lines))


def _rows(items: list[Item]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for item in items:
        if item.amount:
            amount = f"{item.amount:,.2f}" if item.unit == "GB" else f"{item.amount:,.0f}"
            rows.append((item.what, f"{amount} {item.unit}", f"${item.dollars:,.2f}"))
    return rows or [("nothing", "", "$0.00")]


def _prices(name: str | None) -> Prices:
    """Blocks."""
    if name is None:
        return Prices()
    try:
        with open(name, encoding="utf-8") as file:
            return pricing.read_prices(file.read(), name)
    except OSError as error:
        raise wrong(f"{name}: {error.strerror}") from None
    except (BadValue, UnicodeDecodeError) as problem:
        raise wrong(str(problem)) from None
