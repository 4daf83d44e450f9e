"""How slow and how faulty the store is: latency, bandwidth, fault rates."""

from __future__ import annotations

import json
import random

import attrs

#: What may befall a request; each is a rate in `Faults`.
KINDS = ("slow_down", "error_before", "error_after", "reset_before", "reset_after", "stall")


def _rate(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{attribute.name}: got {value!r}, expected a rate from 0 to 1")


def _seconds(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{attribute.name}: got {value!r}, expected 0 or more")


@attrs.frozen
class Faults:
    """
    The part of the requests, from 0 to 1, to which something happens; at most one thing to each.

    Attributes:
        slow_down: 503 SlowDown, nothing was done.
        error_before: 500, nothing was done.
        error_after: 500 although it was done.
        reset_before: the connection is cut, nothing was done.
        reset_after: the connection is cut although it was done.
        stall: the answer comes ``stall_seconds`` later.
        stall_seconds: seconds.
    """

    slow_down: float = attrs.field(default=0.0, validator=_rate)
    error_before: float = attrs.field(default=0.0, validator=_rate)
    error_after: float = attrs.field(default=0.0, validator=_rate)
    reset_before: float = attrs.field(default=0.0, validator=_rate)
    reset_after: float = attrs.field(default=0.0, validator=_rate)
    stall: float = attrs.field(default=0.0, validator=_rate)
    stall_seconds: float = attrs.field(default=10.0, validator=_seconds)

    def __attrs_post_init__(self) -> None:
        total = sum(getattr(self, kind) for kind in KINDS)
        if total > 1:
            raise ValueError(f"faults: got rates that add up to {total:g}, expected at most 1")

    def draw(self, rng: random.Random) -> str | None:
        """What befalls the next request: one of `KINDS`, or None."""
        chance = rng.random()
        for kind in KINDS:
            chance -= getattr(self, kind)
            if chance < 0:
                return kind
        return None


@attrs.frozen
class Conditions:
    """
    How requests fare.

    Attributes:
        put, get, list: seconds until the answer to one; ``get`` is also for head and deletes.
        bandwidth: bytes a second of one request's data, either way; 0 for no limit.
        faults: see there.
    """

    put: float = attrs.field(default=0.0, validator=_seconds)
    get: float = attrs.field(default=0.0, validator=_seconds)
    list: float = attrs.field(default=0.0, validator=_seconds)
    bandwidth: float = attrs.field(default=0.0, validator=_seconds)
    faults: Faults = Faults()

    def duration(self, verb: str, size: int) -> float:
        """Seconds from the request's arrival to its answer, for ``size`` bytes of data."""
        latency = {"PUT": self.put, "LIST": self.list}.get(verb, self.get)
        return latency + (size / self.bandwidth if self.bandwidth else 0.0)

    @classmethod
    def from_json(cls, text: str | bytes, base: Conditions | None = None) -> Conditions:
        """
        Parse what `as_json` makes; what is missing is as in ``base``, or 0.

        Raises:
            ValueError: with what was wrong.
        """
        given = json.loads(text)
        if not isinstance(given, dict):
            raise ValueError(f"got {given!r}, expected a JSON object")
        base = base or cls()
        faults = given.pop("faults", {})
        try:
            return attrs.evolve(base, faults=attrs.evolve(base.faults, **faults), **given)
        except TypeError as problem:
            raise ValueError(str(problem)) from None

    def as_json(self) -> str:
        """For the wire."""
        return json.dumps(attrs.asdict(self))


#: Named ones. "near" is a store in the same region, "far" what turbopuffer.com publishes of S3.
PROFILES = {
    "none": Conditions(),
    "near": Conditions(put=0.030, get=0.015, list=0.030, bandwidth=100e6),
    "far": Conditions(put=0.100, get=0.063, list=0.100, bandwidth=100e6),
}
