"""Where frames of unknown objects probably lie, and when nothing can be said."""

from __future__ import annotations

import random

import pytest

from backends.volume.header import Codec, Extent, Kind
from backends.volume.keys import Crypt
from backends.volume.likeness import Likeness
from backends.volume.sealing import seal
from backends.volume.units import FRAME, SECTOR
from backends.volume.values import DATA

UUID, WRITER = bytes([7] * 16), bytes([9] * 16)


def header(plain, extents=1, key=None, codec=Codec.ZSTD):
    each = len(plain) // SECTOR // extents
    found = [
        Extent(number * 2 * each, each, DATA, number * each)
        for number in range(extents)
    ]  # fmt: skip
    crypt = None if key is None else Crypt(key, UUID)
    return seal(Kind.DATA, UUID, WRITER, 1, 3, 0, 0, found, [plain], codec, crypt).header


def noise(frames):
    return random.Random(1).randbytes(frames * FRAME)


@pytest.mark.parametrize("key", [None, bytes(range(32))])
@pytest.mark.parametrize("extents", [1, 16, 512])
def test_frames_that_do_not_shrink_are_found_by_their_numbers(key, extents):
    """Also in an object with a header up to twice as long, or with one that is shorter."""
    likeness = Likeness()
    likeness.learn(header(noise(32), extents=(extents + 1) // 2, key=key))
    for like in (header(noise(32), extents, key=key), header(noise(24), 1, key=key)):
        for first, last in ((0, 0), (5, 9), (23, 23)):
            start, length = likeness.place(first, last)
            lies, takes = like.frame_range(first, last)
            assert start <= lies and lies + takes <= start + length
            assert length <= takes + 2 * like.length + 16 * 512


def test_nothing_is_said_before_an_object_was_met():
    assert Likeness().place(0, 0) is None


@pytest.mark.parametrize("plain", [bytes(8 * FRAME), noise(7) + bytes(FRAME)])
def test_nothing_is_said_where_data_shrinks(plain):
    """As what follows lies somewhere else; until an object is met again that does not."""
    likeness = Likeness()
    likeness.learn(header(noise(8)))
    likeness.learn(header(plain))
    assert likeness.place(4, 4) is None
    likeness.learn(header(noise(8)))
    assert likeness.place(4, 4) is not None
