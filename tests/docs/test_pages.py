"""What the documentation tells its readers to do works, block by block, letter by letter."""

from __future__ import annotations

from tests.docs.machine import Failed, Machine
from tests.docs.pages import ACTED_ON, Block, blocks
from tests.service.twistd import ROOT

#: Blocks that are not carried out, by page and the text of their first line, and why.
NOT_RUN: dict[tuple[str, str], str] = {}


def pages() -> list[str]:
    """All that have something to be done."""
    found = ["README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
    return sorted(page for page in found if _acted_on(page))


def _acted_on(page: str) -> list[Block]:
    return [block for block in blocks(ROOT, page) if block.language in ACTED_ON]


def carry_out(machine: Machine, block: Block) -> None:
    """Do what a block says."""
    if block.language == "ini":
        if block.words:
            (name,) = block.words
            machine.write(name.removeprefix(">>"), block.text, add=name.startswith(">>"))
        return
    if "stop" in block.words:
        machine.stop()
    try:
        if "serve" in block.words:
            machine.serve(block.commands())
        else:
            machine.run(block.commands(), fails="fails" in block.words)
    except Failed as failure:
        raise Failed(f"{block}: {failure}") from None
