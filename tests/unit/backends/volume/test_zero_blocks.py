"""Blocks of zeroes are found wherever they lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.volume.units import SECTOR
from backends.volume.zero_blocks import BLOCK, split


@given(
    start=st.integers(0, 40),
    blocks=st.lists(st.sampled_from(["zero", "data", "late", "tail"]), max_size=40),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
)
def test_splitting_finds_what_a_plain_scan_finds(start, blocks, kind):
    """Whole aligned blocks of zeroes, merged; everything else in order and untouched."""
    sectors = {
        "zero": bytes(SECTOR),
        "data": b"x" * SECTOR,
        "late": bytes(SECTOR - 3) + b"abc",
        "tail": b"a" + bytes(SECTOR - 1),
    }
    payload = b"".join(sectors[block] for block in blocks for _ in range(3))
    expected = []
    position, end = start, start + len(payload) // SECTOR
    per_block = BLOCK // SECTOR
    while position < end:
        stop = min((position // per_block + 1) * per_block, end)
        piece = payload[(position - start) * SECTOR : (stop - start) * SECTOR]
        is_zero = stop - position == per_block and not any(piece)
        if expected and expected[-1][2] == is_zero:
            expected[-1] = (expected[-1][0], stop, is_zero)
        else:
            expected.append((position, stop, is_zero))
        position = stop
    found = list(split(start, kind(payload)))
    assert [(first, last, piece is None) for first, last, piece in found] == expected
    for first, last, piece in found:
        if piece is not None:
            assert piece == payload[(first - start) * SECTOR : (last - start) * SECTOR]


def test_short_and_empty_payloads():
    assert list(split(3, b"")) == []
    assert list(split(0, bytes(SECTOR))) == [(0, 1, bytes(SECTOR))]
    assert list(split(0, bytes(BLOCK))) == [(0, 8, None)]
    assert [piece for *_, piece in split(1, bytes(BLOCK))] == [bytes(BLOCK)]
