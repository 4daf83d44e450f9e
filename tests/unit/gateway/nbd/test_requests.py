"""The gate: which error a request with one fault, or several, gets."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.info import Abilities, ExportInfo
from gateway.nbd.contexts import BASE_ALLOCATION
from gateway.nbd.requests import judge, rules
from gateway.nbd.terms import Terms, transmission_flags
from tests.wire_format import (
    BLOCK_STATUS,
    CACHE,
    DF,
    EINVAL,
    ENOSPC,
    EOVERFLOW,
    EPERM,
    FAST_ZERO,
    FLUSH,
    FUA,
    NO_HOLE,
    PAYLOAD_LEN,
    READ,
    REQ_ONE,
    RESIZE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
)

SIZE = 1 << 20
MAX = 32 << 20
END = 2**64 - 1
COMMANDS = [READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS]
RANGED = [command for command in COMMANDS if command != FLUSH]
NOTHING = Abilities(*[False] * 7)


def terms(framing: str = "structured", contexts: bool = True, **changes: object) -> Terms:
    all_abilities = Abilities(cache=True)
    info = ExportInfo(**{"size": SIZE, "abilities": all_abilities, **changes})  # type: ignore[arg-type]
    chosen = (BASE_ALLOCATION,) if contexts and framing != "simple" else ()
    return Terms(info, framing, chosen, transmission_flags(info, framing, bool(chosen)))


def verdict(agreed: Terms, command: int, flags: int = 0, offset: int = 0, length: int = 0) -> int:
    refusal = judge(rules(agreed), agreed, command, flags, offset, length)
    return 0 if refusal is None else refusal.errno


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("framing", ["structured", "extended"])
def test_valid_requests_pass(framing: str, command: int) -> None:
    """
    2.3: nothing is refused without a reason.
    """
    length = 0 if command == FLUSH else SIZE
    assert verdict(terms(framing), command, 0, 0, length) == 0
    assert verdict(terms(framing), command, FUA, 0, length) == 0


@pytest.mark.parametrize("command", [RESIZE, 9, 100, 65535])
def test_unknown_commands_are_invalid(command: int) -> None:
    """
    2.3 step 5, C35: EINVAL, also on a read-only export.
    """
    assert verdict(terms(), command) == EINVAL
    assert verdict(terms(read_only=True), command) == EINVAL


@pytest.mark.parametrize("command", [WRITE, TRIM, WRITE_ZEROES])
@pytest.mark.parametrize("abilities", [Abilities(), NOTHING])
def test_read_only_comes_before_every_other_fault(command: int, abilities: Abilities) -> None:
    """
    2.3 step 6, Z8, B20, B28: EPERM, whatever else is wrong with it.
    """
    agreed = terms(read_only=True, abilities=abilities)
    for flags, offset, length in [(0, 0, 512), (0xFFFF, 0, 512), (0, SIZE, 512), (0, END, END)]:
        assert verdict(agreed, command, flags, offset, length) == EPERM


@pytest.mark.parametrize("command", [FLUSH, TRIM, CACHE])
def test_commands_not_advertised_are_invalid(command: int) -> None:
    """
    2.3 step 7: EINVAL before range checks.
    """
    assert verdict(terms(abilities=NOTHING), command, 0, SIZE, 512) == EINVAL


def test_write_zeroes_is_always_there() -> None:
    """
    C33: zeroes can always be written, so the command needs no ability.
    """
    assert verdict(terms(abilities=NOTHING), WRITE_ZEROES, NO_HOLE, 0, SIZE) == 0


@pytest.mark.parametrize("framing", ["simple", "structured", "extended"])
def test_block_status_without_a_context_is_invalid(framing: str) -> None:
    """
    2.3 step 7, M8, M16: EINVAL.
    """
    assert verdict(terms(framing, contexts=False), BLOCK_STATUS, 0, 0, 512) == EINVAL


VALID_FLAGS = {
    READ: FUA | DF,
    WRITE: FUA,
    FLUSH: FUA,
    TRIM: FUA,
    CACHE: FUA,
    WRITE_ZEROES: FUA | NO_HOLE | FAST_ZERO,
    BLOCK_STATUS: FUA | REQ_ONE,
}


@pytest.mark.parametrize("bit", range(16))
@pytest.mark.parametrize("command", COMMANDS)
def test_flags_of_each_command(command: int, bit: int) -> None:
    """
    2.3 step 8, B26, Z5: each bit with each command; what is not documented for it is EINVAL.
    """
    length = 0 if command == FLUSH else 512
    expected = 0 if VALID_FLAGS[command] & (1 << bit) else EINVAL
    assert verdict(terms(), command, 1 << bit, 0, length) == expected
    if bit != 5:
        assert verdict(terms("extended"), command, 1 << bit, 0, length) == expected


@pytest.mark.parametrize(
    ("command", "expected"), [(WRITE, 0), (BLOCK_STATUS, 0), (READ, EINVAL), (TRIM, EINVAL)]
)
def test_payload_len_under_extended_headers(command: int, expected: int) -> None:
    """
    2.3 step 8, E3, E4: only WRITE and BLOCK_STATUS may carry a payload.
    """
    assert verdict(terms("extended"), command, PAYLOAD_LEN, 0, 512) == expected
    assert verdict(terms("structured"), command, PAYLOAD_LEN, 0, 512) == EINVAL


def test_flags_that_were_not_negotiated_are_invalid() -> None:
    """
    2.3 step 8, Z6, E4: FUA, DF, FAST_ZERO and the status payload need their advertisement.
    """
    bare = terms("simple", abilities=NOTHING)
    assert verdict(bare, WRITE, FUA, 0, 512) == EINVAL
    assert verdict(bare, READ, DF, 0, 512) == EINVAL
    assert verdict(bare, WRITE_ZEROES, FAST_ZERO, 0, 512) == EINVAL
    agreed = terms("extended", contexts=False)
    assert verdict(agreed, BLOCK_STATUS, PAYLOAD_LEN, 0, 512) == EINVAL


@pytest.mark.parametrize(("offset", "length"), [(1, 0), (0, 1), (END, END)])
def test_flush_with_a_range_is_invalid(offset: int, length: int) -> None:
    """
    2.3 step 9: offset and length of FLUSH must be 0.
    """
    assert verdict(terms(), FLUSH, 0, offset, length) == EINVAL


@pytest.mark.parametrize(
    ("offset", "length"),
    [(SIZE, 1), (SIZE - 1, 2), (SIZE + 1, 0), (END, 2), (END, 0), (0, SIZE + 1), (END, END)],
)
@pytest.mark.parametrize("command", RANGED)
def test_ranges_beyond_the_end(command: int, offset: int, length: int) -> None:
    """
    2.3 step 10, B20, B28: ENOSPC for WRITE and WRITE_ZEROES, EINVAL for the rest; no wrap.
    """
    expected = ENOSPC if command in (WRITE, WRITE_ZEROES) else EINVAL
    assert verdict(terms("extended"), command, 0, offset, length) == expected


@pytest.mark.parametrize("command", RANGED)
def test_misaligned_requests_are_invalid(command: int) -> None:
    """
    2.3 step 11, Z8: offset and length must be multiples of the minimum block.
    """
    agreed = terms(minimum_block=4096)
    assert verdict(agreed, command, 0, 4096, 8192) == 0
    assert verdict(agreed, command, 0, 4095, 4096) == EINVAL
    assert verdict(agreed, command, 0, 4096, 512) == EINVAL


@pytest.mark.parametrize(
    ("framing", "command", "expected"),
    [
        ("simple", READ, EINVAL),
        ("structured", READ, EINVAL),
        ("extended", READ, EOVERFLOW),
        ("simple", WRITE, EINVAL),
        ("structured", WRITE, EINVAL),
    ],
)
def test_payloads_above_the_maximum(framing: str, command: int, expected: int) -> None:
    """
    2.3 step 12, C26, E7, B29: refused, never ENOMEM; exactly the maximum is fine.
    """
    agreed = terms(framing, size=1 << 40)
    assert verdict(agreed, command, 0, 0, MAX) == 0
    assert verdict(agreed, command, 0, 0, MAX + 1) == expected


@pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES, CACHE, BLOCK_STATUS])
def test_commands_without_payload_have_no_maximum(command: int) -> None:
    """
    2.3 step 13, E1, Z7: the whole of a large export in one request, fast or not.
    """
    agreed = terms("extended", size=2**63 - 1)
    assert verdict(agreed, command, 0, 0, 2**63 - 1) == 0
    if command == WRITE_ZEROES:
        assert verdict(agreed, command, FAST_ZERO, 0, 2**63 - 1) == 0


@pytest.mark.parametrize("command", RANGED)
@pytest.mark.parametrize("offset", [0, SIZE])
def test_requests_for_nothing(command: int, offset: int) -> None:
    """
    2.3 step 14, B29: length 0 is fine up to and at the end, except for BLOCK_STATUS.
    """
    expected = EINVAL if command == BLOCK_STATUS else 0
    assert verdict(terms(), command, 0, offset, 0) == expected


def test_precedence_of_later_steps() -> None:
    """
    2.3: flags before range, range before alignment, alignment before the maximum; Z8.
    """
    agreed = terms(minimum_block=512, size=1 << 30)
    assert verdict(agreed, WRITE, NO_HOLE, 1 << 30, 512) == EINVAL
    assert verdict(agreed, WRITE_ZEROES, FAST_ZERO, 1 << 30, 1) == ENOSPC
    extended = terms("extended", minimum_block=512, size=1 << 30)
    assert verdict(extended, READ, 0, 1, 33 << 20) == EINVAL
    assert verdict(extended, READ, 0, 0, 2 << 30) == EINVAL
    assert verdict(extended, READ, 0, 0, 33 << 20) == EOVERFLOW


def test_every_refusal_says_why() -> None:
    """
    C3, C8: the text names the command and is short.
    """
    agreed = dataclasses.replace(terms())
    table = rules(agreed)
    for flags, offset, length in [(0x8000, 0, 0), (0, END, END), (0, 0, MAX * 2)]:
        refusal = judge(table, agreed, READ, flags, offset, length)
        assert refusal is not None
        assert refusal.text.startswith("READ: ")
        assert len(refusal.text) < 256
