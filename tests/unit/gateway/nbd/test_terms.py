"""The transmission flags of an export, case by case."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.info import Abilities, ExportInfo
from gateway.nbd.terms import transmission_flags

NONE = Abilities(*[False] * len(dataclasses.fields(Abilities)))
HAS, RO, FLUSH, FUA, ROT, TRIM, ZEROES, DF, MULTI, RESIZE, CACHE, FAST, PAYLOAD = (
    1 << bit for bit in range(13)
)


@pytest.mark.parametrize(
    ("ability", "read_only", "flags"),
    [
        (None, False, HAS | ZEROES),
        (None, True, HAS | RO),
        ("flush", False, HAS | ZEROES | FLUSH),
        ("flush", True, HAS | RO | FLUSH),
        ("fua", False, HAS | ZEROES | FUA),
        ("trim", False, HAS | ZEROES | TRIM),
        ("trim", True, HAS | RO),
        ("write_zeroes", False, HAS | ZEROES),
        ("write_zeroes", True, HAS | RO),
        ("fast_zero", False, HAS | ZEROES | FAST),
        ("fast_zero", True, HAS | RO),
        ("cache", False, HAS | ZEROES | CACHE),
        ("cache", True, HAS | RO | CACHE),
        ("multi_conn", False, HAS | ZEROES | MULTI),
        ("multi_conn", True, HAS | RO | MULTI),
    ],
)
def test_each_ability_has_its_flag(ability: str | None, read_only: bool, flags: int) -> None:
    """
    2.2, Z1, Z2: bits follow abilities; a read-only export never offers to change anything.
    """
    can = dataclasses.replace(NONE, **({ability: True} if ability else {}))
    info = ExportInfo(size=512, read_only=read_only, abilities=can)
    assert transmission_flags(info, "simple", False) == flags


@pytest.mark.parametrize(
    ("framing", "contexts", "more"),
    [
        ("simple", False, 0),
        ("structured", False, DF),
        ("structured", True, DF),
        ("extended", False, DF),
        ("extended", True, DF | PAYLOAD),
    ],
)
def test_framing_has_its_flags(framing: str, contexts: bool, more: int) -> None:
    """
    2.2, E4: DF exactly with chunks; BLOCK_STATUS_PAYLOAD with extended headers and a context.
    """
    info = ExportInfo(size=512, abilities=NONE)
    assert transmission_flags(info, framing, contexts) == HAS | ZEROES | more


def test_rotational_is_said() -> None:
    """
    2.2: ROTATIONAL only if the export says so.
    """
    assert transmission_flags(ExportInfo(size=0, rotational=True), "simple", False) & ROT
    assert not transmission_flags(ExportInfo(size=0), "simple", False) & ROT


@pytest.mark.parametrize("framing", ["simple", "structured", "extended"])
@pytest.mark.parametrize("read_only", [False, True])
def test_forbidden_bits_stay_clear(framing: str, read_only: bool) -> None:
    """
    2.2: RESIZE and bits 13 to 15 are never set.
    """
    everything = Abilities(*[True] * len(dataclasses.fields(Abilities)))
    info = ExportInfo(size=512, read_only=read_only, rotational=True, abilities=everything)
    assert not transmission_flags(info, framing, True) & (RESIZE | 0xE000)
