"""Extents read off a zero map: states, bounds, and how many there are in an answer."""

from __future__ import annotations

import pytest

from backends.extents import MAX_EXTENTS, extents
from backends.zero_map import DATA, HOLE, ZERO, ZeroMap


@pytest.mark.parametrize(
    ("state", "hole", "zero"), [(DATA, False, False), (ZERO, False, True), (HOLE, True, True)]
)
@pytest.mark.parametrize("first_only", [False, True])
def test_states_become_flags(state, hole, zero, first_only):
    """
    A hole always reads as zeroes; provisioned zeroes are no hole.
    """
    (extent,) = extents(ZeroMap(2**62, state), 5, 2**61, first_only)
    assert (extent.length, extent.hole, extent.zero) == (2**61, hole, zero)


def test_a_fragmented_disk_is_told_in_answers_of_bounded_length():
    """
    Asking on from where each answer ends reaches the end, in as few answers as allowed.
    """
    size = 3 * MAX_EXTENTS * 4096
    zero_map = ZeroMap(size, HOLE)
    for start in range(0, size, 8192):
        zero_map.set(start, start + 4096, DATA)
    offset, counts = 0, []
    while offset < size:
        answer = extents(zero_map, offset, size - offset, False)
        assert {extent.length for extent in answer} == {4096}
        assert [extent.zero for extent in answer] == [False, True] * (len(answer) // 2)
        offset += sum(extent.length for extent in answer)
        counts.append(len(answer))
    assert offset == size
    assert counts == [MAX_EXTENTS] * 3


def test_an_answer_keeps_the_reactor_for_about_a_millisecond_at_most():
    """
    Encoding adds to it: the bound is a small number, whatever the length asked for.
    """
    assert MAX_EXTENTS <= 2048
