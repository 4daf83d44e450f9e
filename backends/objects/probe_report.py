"""What a probe found out about a store, and whether a volume may lie there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from gateway.settings import BadValue, words

#: What may be missing in a store, and what happens to a volume there.
DANGERS: Mapping[str, str] = {
    "conditional-put": (
        "two gateways that have the volume open at once overwrite each other's objects, and both"
        " tell their clients that all is well"
    ),
    "race": (
        "two gateways that open the volume in the same moment both become its only writer, and"
        " destroy each other's work"
    ),
    "list-after-put": (
        "a volume that is opened again may miss what was flushed last, and lose it for good"
    ),
    "range": "reads may give bytes of another place on the disk",
}

#: Seconds; requests whose time is further off are refused by AWS after 15 minutes.
SKEW_LIMIT = 300.0

_VERSION = 1


def unsafe_names(value: str) -> frozenset[str]:
    """Some of conditional-put, race, list-after-put, range, separated by commas."""
    names = words(value)
    for name in names:
        if name not in DANGERS:
            raise BadValue(f"some of {', '.join(DANGERS)}, separated by commas")
    return frozenset(names)


@attrs.frozen
class Report:
    """
    The outcome of one probe.

    Attributes:
        store: what was probed, as it describes itself.
        when: seconds since 1970.
        unsafe: names of `DANGERS`, in that order, that were found.
        seen: for each of them, what the store did.
        warnings: what does no harm to the data, one text each.
    """

    store: str
    when: float
    unsafe: list[str] = attrs.field(factory=list)
    seen: dict[str, str] = attrs.field(factory=dict)
    warnings: list[str] = attrs.field(factory=list)

    def to_json(self) -> str:
        """Everything, in one line."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """
        Raises:
            ValueError: it is not what `to_json` makes.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.pop("version", None) != _VERSION:
            raise ValueError(f"got {text[:40]!r}, expected a report of version {_VERSION}")
        names = {field.name for field in attrs.fields(cls)}
        if values.keys() != names:
            raise ValueError(f"got the fields {sorted(values)}, expected {sorted(names)}")
        report = cls(**values)
        report.check()
        return report

    def check(self) -> None:
        """
        Raises:
            ValueError: a value is of another kind than it should be.
        """
        good = (
            isinstance(self.store, str)
            and isinstance(self.when, (int, float))
            and _is_list(self.unsafe)
            and _is_list(self.warnings)
            and isinstance(self.seen, dict)
            and all(isinstance(text, str) for text in self.seen.values())
            and set(self.unsafe) <= DANGERS.keys()
            and set(self.unsafe) == self.seen.keys()
        )
        if not good:
            raise ValueError("got values of other kinds, expected those of a report")


def refusal(report: Report, allowed: Collection[str]) -> str | None:
    """
    Why no volume is opened in the store.

    Args:
        allowed: names of `DANGERS` that the operator accepts.

    Returns:
        One line for each danger found that is not allowed; None if there is none.
    """
    dangers = [name for name in report.unsafe if name not in allowed]
    if not dangers:
        return None
    lines = [f"{report.store} is not safe for a volume:"]
    lines += [f"{name}: {report.seen[name]}; so {DANGERS[name]}" for name in dangers]
    lines.append(f"to use it all the same: allow_unsafe = {', '.join(report.unsafe)}")
    return "\n".join(lines)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
