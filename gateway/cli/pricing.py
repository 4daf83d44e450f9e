"""What a volume costs a month, from what it takes and how it is used; computed, asked of nobody."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, fields, replace

from gateway.info import MIB
from gateway.maintenance import Usage
from gateway.settings import BadValue, did_you_mean

#: Seconds and bytes as bills have them.
MONTH = 30 * 86400
GB = 10**9

#: What a gateway does by default: bytes of an object; seconds that changes wait for more to come,
#: without a journal and with one.
_OBJECT = 8 * MIB
_UPLOAD_DELAYS = (2.0, 30.0)
_CHECKPOINT_EACH = 128
#: Requests of one checkpoint: its object, a superblock, a listing before and one before deleting.
_CHECKPOINT_REQUESTS = 4
#: Bytes that a GET brings when reads are scattered, and when they are not.
_FRAME = 64 * 1024


@dataclass(frozen=True)
class Prices:
    """
    Dollars, as object stores bill: by default S3 Standard in us-east-1, November 2026.

    Attributes:
        put: for 1,000 PUT or LIST requests.
        get: for 1,000 GET or HEAD requests.
        storage: for a GB (10^9 bytes) kept for a month.
        egress: for a GB that leaves; nothing where the gateway is in the same region.
    """

    put: float = 0.005
    get: float = 0.0004
    storage: float = 0.023
    egress: float = 0.0


@dataclass(frozen=True)
class Workload:
    """
    How a disk is used, on average.

    Attributes:
        writes: bytes a second that clients write.
        reads: bytes a second that no cache has.
        read_size: bytes of one such read.
        flushes: a second.
        journal: they end in a journal on the gateway's disk, not in the store.
        upload_delay: seconds that changes may wait for more to come; None for the default.
        moved: bytes that the collector moves for each byte that is written.
    """

    writes: float = 0.0
    reads: float = 0.0
    read_size: float = float(_FRAME)
    flushes: float = 0.0
    journal: bool = False
    upload_delay: float | None = None
    moved: float = 0.5


@dataclass(frozen=True)
class Item:
    """
    One line of a bill.

    Attributes:
        what: for people.
        amount: of it in a month, in ``unit``.
        dollars: a month.
    """

    what: str
    amount: float
    unit: str
    dollars: float


def read_prices(text: str, where: str) -> Prices:
    """
    Prices from an INI text: a section ``[prices]`` with any of the fields of `Prices`.

    Raises:
        BadValue: a key or a value is wrong; the text says which.
    """
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        section: Mapping[str, str] = parser["prices"]
    except (Error, KeyError):
        raise BadValue(f"{where}: expected an INI file with a section [prices]") from None
    known = [field.name for field in fields(Prices)]
    found = {}
    for key, value in section.items():
        if key not in known:
            raise BadValue(f"{where}: {key}: unknown key{did_you_mean(key, known)}")
        try:
            found[key] = float(value)
        except ValueError:
            found[key] = -1.0
        if not 0 <= found[key] < float("inf"):
            raise BadValue(f"{where}: {key}: got {value!r}, expected dollars, zero or more")
    return replace(Prices(), **found)


def keeping(usage: Usage, prices: Prices) -> list[Item]:
    """What it costs that a volume is there, by what the bytes are for."""
    maps = usage.stored - usage.stored_data - usage.orphans
    snapshots = sum(one.unique for one in usage.snapshots)
    # What deleting them one by one would free; what several share counts as the disk's.
    current = max(usage.stored_data - usage.dead - snapshots, 0)
    parts = (
        ("data of the disk", current),
        ("only in snapshots", snapshots),
        ("overwritten, not collected yet", usage.dead),
        ("maps and superblocks", maps),
        ("left over by crashes", usage.orphans),
    )
    return [Item(what, size / GB, "GB", size / GB * prices.storage) for what, size in parts]


def using(workload: Workload, prices: Prices) -> list[Item]:
    """What it costs to use it so; the requests that a gateway makes with its default settings."""
    written = workload.writes
    puts = 0.0
    if written > 0:
        # An object goes out when it is full, and when a flush asks. File systems flush when they
        # have written; without flushes it goes out when it has waited.
        asked = 0.0 if workload.journal else workload.flushes
        delay = workload.upload_delay or _UPLOAD_DELAYS[workload.journal]
        puts = max(written / _OBJECT, asked or 1 / delay)
    moves = written * workload.moved / _OBJECT
    checkpoints = (puts + moves) / _CHECKPOINT_EACH
    gets = workload.reads / max(workload.read_size, 1.0) + moves
    requests = (puts + moves + checkpoints * _CHECKPOINT_REQUESTS) * MONTH
    return [
        Item("PUT and LIST requests", requests, "requests", requests / 1000 * prices.put),
        Item("GET requests", gets * MONTH, "requests", gets * MONTH / 1000 * prices.get),
        Item(
            "bytes that leave the store",
            workload.reads * MONTH / GB,
            "GB",
            workload.reads * MONTH / GB * prices.egress,
        ),
    ]
