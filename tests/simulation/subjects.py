"""What the simulation runs: the volume, or a toy that is broken on purpose."""

from __future__ import annotations

from tests.simulation.toy import ToySubject


def subject_named(name, seed):
    """
    Args:
        name: ``volume``, ``toy``, or ``toy:`` and names of bugs.
    """
    kind, _, bugs = name.partition(":")
    if kind == "toy":
        return ToySubject(*filter(None, bugs.split(",")))
    raise ValueError(f"got {name!r}, expected volume or toy")
