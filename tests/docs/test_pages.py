"""What the documentation tells its readers to do works, block by block, letter by letter."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.docs.machine import Failed, Machine
from tests.docs.pages import ACTED_ON, LOOKED_AT, WORDS, Block, blocks
from tests.docs.readers import ELSEWHERE, INSTEAD, NOT_RUN, READERS, S3, Reader
from tests.interop.clients import find
from tests.service.twistd import ROOT

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

#: Programs that pages use.
_PROGRAMS = (
    *("curl", "fuse2fs", "jq", "mkfs.ext4", "nbdcopy", "nbdfuse", "nbdinfo", "nbdsh"),
    *("openssl", "psktool", "certtool", "qemu-img", "qemu-io"),
)


def pages() -> list[str]:
    """All that have something to be done."""
    return [page for page in _all_pages() if _acted_on(page) and page not in ELSEWHERE]


def _all_pages() -> list[str]:
    found = ["README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
    return sorted(page for page in found if "/_build/" not in page)


def _acted_on(page: str) -> list[Block]:
    return [block for block in blocks(ROOT, page) if block.language in ACTED_ON]


def carry_out(machine: Machine, block: Block) -> None:
    """Do what a block says."""
    if block.key in NOT_RUN:
        return
    if block.key in INSTEAD:
        words, text, _ = INSTEAD[block.key]
        block = replace(block, language="sh", words=words, text=text)
    if block.language == "ini":
        (name,) = block.words
        machine.write(name.removeprefix(">>"), block.text, add=name.startswith(">>"))
        return
    if "stop" in block.words:
        machine.stop()
    try:
        if "beside" in block.words:
            machine.begin(block.commands())
        elif "serve" in block.words:
            machine.serve(block.commands())
        else:
            machine.run(block.commands(), fails="fails" in block.words)
    except Failed as failure:
        raise Failed(f"{block}: {failure}") from None


def prepare(new_machine: Callable[..., Machine], reader: Reader) -> Machine:
    """A machine as a reader has it at the first line."""
    environment = {**(S3 if reader.buckets else {}), **reader.environment}
    machine = new_machine(reader.hosts, environment)
    if reader.buckets:
        machine.begin_store(reader.buckets)
    for path, text in reader.files.items():
        machine.write(path, text)
    if reader.before:
        machine.run(reader.before)
    if reader.serving:
        machine.serve(reader.serving)
    return machine


@pytest.mark.parametrize("page", pages())
def test_a_page_can_be_carried_out_from_top_to_bottom(
    machine: Callable[..., Machine], page: str
) -> None:
    """Every command succeeds, or fails where the page says so; what serves, serves."""
    to_do = [block for block in _acted_on(page) if block.key not in NOT_RUN]
    if not to_do:
        return
    for program in _PROGRAMS:
        find(program)
    here = prepare(machine, READERS.get(page, Reader()))
    for block in to_do:
        carry_out(here, block)


@pytest.mark.parametrize("page", _all_pages())
def test_every_block_says_what_it_is(page: str) -> None:
    """So that none is passed over: it is run, listed with a reason, or no command at all."""
    for block in blocks(ROOT, page):
        assert block.language in (*ACTED_ON, *LOOKED_AT), f"{block}: {block.language}"
        if page in ELSEWHERE or block.key in NOT_RUN or block.key in INSTEAD:
            continue
        if block.language == "ini":
            assert len(block.words) == 1, f"{block}: expected the file's name behind ini"
        elif block.language in ACTED_ON:
            assert set(block.words) <= WORDS, f"{block}: got {block.words}, expected {WORDS}"
            assert block.commands().strip(), f"{block}: no command in it"


def test_what_is_listed_is_there() -> None:
    """An exception that no page needs any more is taken out."""
    keys = [block.key for page in pages() for block in _acted_on(page)]
    for key in (*NOT_RUN, *INSTEAD):
        assert keys.count(key) == 1, f"expected one block that begins so: {key}"
    assert not set(NOT_RUN) & set(INSTEAD)
    assert set(READERS) <= set(pages())
    assert set(ELSEWHERE) <= set(_all_pages())
    for why in ELSEWHERE.values():
        assert (ROOT / why.split()[0]).is_file(), why


def test_a_command_that_fails_fails_the_page(machine: Callable[..., Machine]) -> None:
    """And one that does not although it should; neither is passed over."""
    here = machine()
    block = Block("page.md", 1, "sh", (), "true\nfalse\ntrue\n")
    with pytest.raises(Failed, match=r"page\.md:1: exit status 1"):
        carry_out(here, block)
    carry_out(here, replace(block, words=("fails",)))
    with pytest.raises(Failed):
        carry_out(here, replace(block, words=("fails",), text="true\n"))
    with pytest.raises(Failed, match="was not printed"):
        carry_out(here, replace(block, words=("serve",), text="echo no\n"))


def test_a_machine_has_its_own_directories(machine: Callable[..., Machine]) -> None:
    """What a page writes is not on the machine that the tests run on."""
    machine().write("/etc/nbdgateway/of-a-page.ini", "x")
    assert not os.path.exists("/etc/nbdgateway/of-a-page.ini")
