"""A page of the documentation as blocks to execute: by heading, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.service.twistd import ROOT


@dataclass(frozen=True)
class Block:
    """
    One fenced block.

    Attributes:
        heading: that it stands below.
        language: behind the fence.
    """

    heading: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """All of a page below ``docs``, in order."""
    found, heading = [], ""
    text = (ROOT / "docs" / Path(page)).read_text()
    for part in re.finditer(r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if part[1]:
            heading = part[1]
        else:
            found.append(Block(heading, part[2], part[3]))
    return found
