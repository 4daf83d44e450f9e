"""
What clients ask for, counted: plain numbers of each connection, added up for each export.

Counting is on the path of every request. So a request that is answered in the
same turn costs two additions and no look at a clock; only one that had to wait
is timed. Everything else is worked out when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: What a request can be, in the order of NBD's numbers, so that counting needs no table.
#: ``refused`` stands for all that were not begun, as they were wrong or came too late.
OPS = ("read", "write", "refused", "flush", "trim", "cache", "write_zeroes", "block_status")

READ = OPS.index("read")
REFUSED = OPS.index("refused")

#: Why requests fail.
ERRORS = (
    "not_permitted",
    "io",
    "no_memory",
    "invalid",
    "no_space",
    "overflow",
    "not_supported",
    "shutting_down",
)

#: Why clients did not get to use an export.
FAILURES = ("timeout", "tls", "protocol", "unknown_export", "export_unavailable", "needs_tls")

#: Seconds; what took no waiting counts in the first.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


class Traffic:
    """
    Requests by kind, as in `OPS`; all numbers only grow, but for ``waiting``.

    Attributes:
        requests: begun, or refused.
        bytes: that they were about: read, written, zeroed, trimmed.
        waiting: begun, and storage has not answered.
        abandoned: of clients that went away before storage had answered.
        errors: by a word of `ERRORS`.
        seconds: what those that waited took together.
        took: of those that waited, how many were answered within each of
            `BOUNDS`, and later.
    """

    __slots__ = ("abandoned", "bytes", "errors", "requests", "seconds", "took", "waiting")

    def __init__(self) -> None:
        self.requests = [0] * len(OPS)
        self.bytes = [0] * len(OPS)
        self.waiting = [0] * len(OPS)
        self.abandoned = [0] * len(OPS)
        self.errors: dict[str, int] = {}
        self.seconds = [0.0] * len(OPS)
        self.took = [[0] * (len(BOUNDS) + 1) for _ in OPS]

    def fail(self, error: str) -> None:
        """Count a request that was answered with an error, one of `ERRORS`."""
        self.errors[error] = self.errors.get(error, 0) + 1

    def answered(self, op: int, seconds: float) -> None:
        """Count the answer of one that waited."""
        self.waiting[op] -= 1
        self.seconds[op] += seconds
        self.took[op][bisect_left(BOUNDS, seconds)] += 1

    def latencies(self, op: int) -> list[int]:
        """How many requests were answered within each of `BOUNDS`, and later."""
        counts = list(self.took[op])
        at_once = self.requests[op] - self.waiting[op] - self.abandoned[op] - sum(counts)
        counts[0] += at_once
        return counts

    @property
    def in_flight(self) -> int:
        """Requests that storage has not answered."""
        return sum(self.waiting)

    @property
    def bytes_read(self) -> int:
        """Bytes that were read."""
        return self.bytes[READ]

    @property
    def bytes_written(self) -> int:
        """Bytes that were written, without those that were zeroed."""
        return self.bytes[OPS.index("write")]

    @property
    def failed(self) -> int:
        """Requests that were answered with an error."""
        return sum(self.errors.values())

    def figures(self) -> dict[str, Any]:
        """All of it for JSON: by kind, without kinds that there were none of."""
        return {
            "requests": {
                op: number for op, number in zip(OPS, self.requests, strict=True) if number
            },
            "bytes": {op: number for op, number in zip(OPS, self.bytes, strict=True) if number},
            "in_flight": self.in_flight,
            "errors": dict(self.errors),
        }

    def add(self, other: Traffic) -> None:
        """Count what another has counted as well."""
        for mine, others in (
            (self.requests, other.requests),
            (self.bytes, other.bytes),
            (self.waiting, other.waiting),
            (self.abandoned, other.abandoned),
            *zip(self.took, other.took, strict=True),
        ):
            for op, number in enumerate(others):
                mine[op] += number
        for op, seconds in enumerate(other.seconds):
            self.seconds[op] += seconds
        for error, number in other.errors.items():
            self.errors[error] = self.errors.get(error, 0) + number

    def abandon(self) -> None:
        """The client is gone: what storage still answers is nobody's any more."""
        for op, number in enumerate(self.waiting):
            self.abandoned[op] += number
        self.waiting = [0] * len(OPS)


@dataclass(eq=False, slots=True)
class Connection:
    """
    A client that uses an export.

    Attributes:
        protocol: such as ``nbd``.
        peer: who it is, for people.
        export: as the client asked for it, in its canonical form.
        account: the export of the configuration that it counts for.
        since: seconds since 1970.
        tls: whether it is encrypted.
        names: what TLS proved it to be.
    """

    protocol: str
    peer: str
    export: str
    account: str
    since: float
    tls: bool = False
    names: frozenset[str] = frozenset()
    traffic: Traffic = field(default_factory=Traffic)


class Connections:
    """
    All clients of one gateway, and what those did that are gone.

    Args:
        wall: seconds since 1970, for people.

    Attributes:
        current: the clients there are, the oldest first.
        accepted, turned_away: connections by protocol; the latter were too many.
        failures: attempts to use an export that came to nothing, by protocol and
            a word of `FAILURES`.
        account_of: which export of the configuration a name counts for.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._past: dict[tuple[str, str], Traffic] = {}
        self.current: dict[Connection, None] = {}
        self.accepted: dict[str, int] = {}
        self.turned_away: dict[str, int] = {}
        self.failures: dict[tuple[str, str], int] = {}
        self.account_of: Callable[[str], str] = str

    def accept(self, protocol: str) -> None:
        """Count one that was let in."""
        self.accepted[protocol] = self.accepted.get(protocol, 0) + 1

    def turn_away(self, protocol: str) -> None:
        """Count one that was too many."""
        self.turned_away[protocol] = self.turned_away.get(protocol, 0) + 1

    def fail(self, protocol: str, reason: str) -> None:
        """Count one that came to nothing, by a word of `FAILURES`."""
        self.failures[protocol, reason] = self.failures.get((protocol, reason), 0) + 1

    def enter(
        self,
        protocol: str,
        peer: str,
        export: str,
        traffic: Traffic,
        tls: bool = False,
        names: frozenset[str] = frozenset(),
    ) -> Connection:
        """A client begins to use an export."""
        connection = Connection(
            protocol, peer, export, self.account_of(export), self._wall(), tls, names, traffic
        )
        self.current[connection] = None
        return connection

    def leave(self, connection: Connection) -> None:
        """It is gone; what it did counts on."""
        del self.current[connection]
        key = connection.account, connection.protocol
        connection.traffic.abandon()
        self._past.setdefault(key, Traffic()).add(connection.traffic)

    def totals(self) -> dict[tuple[str, str], Traffic]:
        """All that was ever done, by export of the configuration and protocol."""
        totals: dict[tuple[str, str], Traffic] = {}
        for key, traffic in self._past.items():
            totals.setdefault(key, Traffic()).add(traffic)
        for one in self.current:
            totals.setdefault((one.account, one.protocol), Traffic()).add(one.traffic)
        return totals

    def total_of(self, account: str) -> Traffic:
        """All that was ever done on one export of the configuration."""
        total = Traffic()
        for (export, _), traffic in self._past.items():
            if export == account:
                total.add(traffic)
        for one in self.current:
            if one.account == account:
                total.add(one.traffic)
        return total

    def forget(self, accounts: set[str]) -> None:
        """Drop what was done on exports other than these, as they are no longer there."""
        for key in [key for key in self._past if key[0] not in accounts]:
            del self._past[key]
