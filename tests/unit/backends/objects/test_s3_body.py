"""The body of a long put reads as a file would that holds its parts, joined."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.objects.s3_body import PIECE, Body

parts = st.lists(
    st.integers(0, 3 * PIECE).map(lambda length: bytes([length % 251]) * length), max_size=6
)


@given(parts)
def test_read_to_its_end_it_is_the_joined_parts(parts):
    """In pieces, as urllib3 asks, or at once; again after seeking, as botocore does."""
    whole = b"".join(parts)
    body = Body(parts)
    assert len(body) == body.seek(0, io.SEEK_END) == len(whole)
    assert body.read(1) == b""
    for start in {0, len(whole) // 3, len(whole)}:
        body.seek(start)
        assert body.read() == whole[start:] and body.tell() == len(whole)
        body.seek(start)
        assert b"".join(iter(lambda: body.read(1 << 14), b"")) == whole[start:]


def test_a_piece_is_a_view_of_a_part():
    """Nothing is copied, and no piece is so long that a slow line would not take it."""
    part = bytes(PIECE * 2)
    body = Body([b"head", part])
    assert body.read(10) == b"head"
    piece = body.read(10)
    assert piece.obj is part and len(piece) == PIECE == body.seek(-4, io.SEEK_CUR)


@pytest.mark.parametrize("parts", [[], [b""], [b"", bytearray(b"")]])
def test_there_may_be_nothing_in_it(parts):
    body = Body(parts)
    assert (len(body), body.read(), body.read(1), body.seek(3)) == (0, b"", b"", 0)
