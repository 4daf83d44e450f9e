"""What was asked of the store, and what a provider would charge for it."""

from __future__ import annotations

import attrs

#: What can be asked; ``DELETES`` removes many objects, ``OTHER`` is anything about the bucket.
VERBS = ("PUT", "GET", "HEAD", "LIST", "DELETE", "DELETES", "OTHER")

#: US dollars for a million requests; deleting is free. Amazon S3 Standard, us-east-1.
PRICES = {"PUT": 5.0, "LIST": 5.0, "OTHER": 5.0, "GET": 0.4, "HEAD": 0.4}
#: US dollars for a GiB kept for a month.
KEEPING = 0.023


@attrs.define
class Counter:
    """
    Requests of one kind.

    Attributes:
        requests: that came, failed ones included.
        not_found: answered with 404.
        failed: answered with another status of 400 or more.
        faults: that a fault befell.
        received: bytes of objects that clients sent.
        sent: bytes of objects that were sent to clients.
    """

    requests: int = 0
    not_found: int = 0
    failed: int = 0
    faults: int = 0
    received: int = 0
    sent: int = 0


class Counters:
    """Everything since the last reset, by verb."""

    def __init__(self) -> None:
        self.by_verb = {verb: Counter() for verb in VERBS}

    def note(self, verb: str, status: int, received: int, sent: int) -> None:
        """One answered request."""
        counter = self.by_verb[verb]
        counter.requests += 1
        counter.received += received
        counter.sent += sent
        if status == 404:
            counter.not_found += 1
        elif status >= 400:
            counter.failed += 1

    def as_dict(self) -> dict[str, dict[str, int]]:
        """For JSON."""
        return {verb: attrs.asdict(counter) for verb, counter in self.by_verb.items()}


def dollars(requests: dict[str, int]) -> float:
    """The price in US dollars of so many requests, by verb."""
    return sum(PRICES.get(verb, 0.0) * number for verb, number in requests.items()) / 1e6
