"""The rules of who imports whom, in setup.cfg, know every module that there is."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINGS = {"gateway.nbd", "gateway.http"}

_rules = ConfigParser()
_rules.read(ROOT / "setup.cfg")


def modules() -> set[str]:
    """What lies directly in the package."""
    folder = ROOT / "gateway"
    files = {f"gateway.{file.stem}" for file in folder.glob("*.py")} - {"gateway.__init__"}
    return files | {f"gateway.{file.parent.name}" for file in folder.glob("*/__init__.py")}


def listed(contract: str, key: str) -> set[str]:
    """The modules that a contract names under a key."""
    return set(_rules[f"importlinter:contract:{contract}"][key].split())


@pytest.mark.parametrize(
    ("contract", "beside"),
    [("law", {"backends"} | WINGS), ("nbd-stairs", set()), ("http-stairs", set())],
)
def test_every_module_is_law_or_forbidden(contract: str, beside: set[str]) -> None:
    """A new room of the stairwell is closed to the wings from its first day."""
    stairwell = modules() - listed("law", "source_modules") - WINGS
    assert listed(contract, "forbidden_modules") == stairwell | beside
