"""
The blocks of a documentation page, as a reader would act on them.

A fence's language says what is to be done with a block; words behind it, which no reader of
the page sees, say what a reader would find in the text around it:

    sh                 commands for a shell, one block after the other in one place
    sh beside          the last command goes on until the end of the page; what follows waits for it
    sh serve           the last command serves until it is ended; what follows meets it serving
    sh stop            the commands, once what was served before has been ended
    sh fails           the last command is one that fails, as the page says
    console            commands behind $, and what they print, which is not compared
    ini FILE           the contents of a file; ini >>FILE is added to it
    text, json, ...    something to look at
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)\s*$", re.M | re.S)

#: Languages of blocks that somebody types or writes down.
ACTED_ON = ("sh", "console", "ini")

#: Languages, and directives of Sphinx, of blocks that are looked at.
LOOKED_AT = ("text", "json", "xml", "yaml", "python", "{toctree}", "{literalinclude}")

#: What may stand behind ``sh`` and ``console``.
WORDS = {"beside", "serve", "stop", "fails"}


@dataclass(frozen=True)
class Block:
    """
    One fenced block.

    Attributes:
        page: relative to the project's root.
        line: of its first line in the page.
        language: the first word of its fence.
        words: the others.
        text: what is between the fences.
    """

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def key(self) -> tuple[str, str]:
        """The page, and the first line: what it is called in lists."""
        return self.page, self.text.partition("\n")[0]

    def commands(self) -> str:
        """As a script for a shell."""
        if self.language != "console":
            return self.text
        lines: list[str] = []
        inside = False
        for line in self.text.splitlines():
            if line.startswith("$ "):
                lines.append(line[2:])
                inside = line.endswith("\\")
            elif inside:
                lines.append(line)
                inside = line.endswith("\\")
        return "\n".join(lines) + "\n"


def blocks(root: Path, page: str) -> list[Block]:
    """All of a page, from top to bottom."""
    text = (root / page).read_text()
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match["info"].split() or ["text"]
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(page, line, language, tuple(words), match["body"]))
    return found
