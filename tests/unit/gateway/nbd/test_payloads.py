"""Tests of the memory for long payloads."""

from __future__ import annotations

from gateway.info import MIB
from gateway.nbd.payloads import PayloadMemory


def test_a_buffer_given_back_is_lent_again() -> None:
    """The next payload, shorter or longer, lands in pages that exist already."""
    memory = PayloadMemory()
    first = memory.take(MIB)
    whole = first.obj
    memory.give_back(first)
    second = memory.take(2 * MIB)
    assert second.obj is whole
    assert len(second) == 2 * MIB
    assert memory.take(100).obj is not whole


def test_few_buffers_are_kept_and_no_long_ones() -> None:
    """A burst of large writes leaves little behind."""
    memory = PayloadMemory()
    lent = [memory.take(MIB) for _ in range(40)] + [memory.take(32 * MIB)]
    for payload in lent:
        memory.give_back(payload)
    kept = {id(payload.obj) for payload in lent}
    again = [memory.take(MIB) for _ in range(40)]
    assert 0 < len({id(payload.obj) for payload in again} & kept) <= 8


def test_payloads_that_were_not_lent_are_ignored() -> None:
    """Short payloads are bytes of their own."""
    memory = PayloadMemory()
    memory.give_back(b"abc")
    memory.give_back(memoryview(bytearray(2 * MIB)))
    assert not isinstance(memory.take(100).obj, bytearray)
