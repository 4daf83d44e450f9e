"""Tests of the memory for long payloads."""

from __future__ import annotations

from gateway.info import MIB
from gateway.nbd.payloads import PayloadMemory


def take(memory: PayloadMemory, length: int) -> memoryview:
    payload = memory.take(length)
    assert payload is not None
    return payload


def test_a_buffer_given_back_is_lent_again() -> None:
    """The next payload, shorter or longer, lands in pages that exist already."""
    memory = PayloadMemory()
    first = take(memory, MIB)
    whole = first.obj
    memory.give_back(first)
    second = take(memory, 2 * MIB)
    assert second.obj is whole
    assert len(second) == 2 * MIB
    assert take(memory, 100).obj is not whole


def test_few_buffers_are_kept_and_no_long_ones() -> None:
    """A burst of large writes leaves little behind."""
    memory = PayloadMemory(100 * MIB)
    lent = [take(memory, MIB) for _ in range(40)] + [take(memory, 32 * MIB)]
    for payload in lent:
        memory.give_back(payload)
    kept = {id(payload.obj) for payload in lent}
    again = [take(memory, MIB) for _ in range(40)]
    assert 0 < len({id(payload.obj) for payload in again} & kept) <= 8


def test_no_more_is_lent_than_the_limit() -> None:
    """What was given back, and what is held no longer, can be lent again."""
    memory = PayloadMemory(4 * MIB)
    lent = take(memory, 3 * MIB)
    assert memory.take(MIB + 1) is None
    assert memory.held == 3 * MIB and not memory.short
    memory.hold(MIB)
    assert memory.short and memory.take(1) is None
    memory.hold(-MIB)
    memory.give_back(lent)
    assert memory.held == 0
    assert len(take(memory, 4 * MIB)) == 4 * MIB
