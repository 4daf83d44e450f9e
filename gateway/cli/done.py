"""What a command came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.cli.exits import Exit


@dataclass(frozen=True, slots=True)
class Done:
    """
    A command's result.

    Attributes:
        value: for programs, as JSON. Keys stay; new ones may come.
        text: for people.
        status: to exit with: what was asked for was done, and found something.
        elsewhere: standard output is somebody else's; this goes to standard error.
    """

    value: Any
    text: str
    status: int = Exit.OK
    elsewhere: bool = False
