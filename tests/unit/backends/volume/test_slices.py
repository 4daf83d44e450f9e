"""Slices: each is read on its own, from its bytes and what refers to it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume.header import Codec, Kind, crc32c, decode
from backends.volume.keys import Crypt
from backends.volume.slices import (
    ENVELOPE,
    FIRST_OFFSET,
    SLICE_LIMIT,
    SliceKind,
    open_slice,
    seal_checkpoint,
    seal_slice,
)
from gateway.errors import Corrupt

VOLUME = bytes(range(16))
WRITER = bytes(range(16, 32))
CRYPT = Crypt(bytes(range(32)), VOLUME)
KEYS = CRYPT.object(Kind.CHECKPOINT, 1, 0, 2)
TEXT = b"what does shrink, shrinks well. " * 8

both_ways = pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "encrypted"])


@given(
    st.sampled_from(SliceKind),
    st.binary(max_size=200) | st.just(TEXT) | st.just(bytes(300_000)),
    st.sampled_from(Codec),
    st.sampled_from([None, KEYS]),
    st.integers(FIRST_OFFSET, 2**40),
)
def test_a_slice_is_read_back(kind, plain, codec, keys, offset):
    """
    From its bytes alone, in any codec, whatever the volume's is now.
    """
    stored = seal_slice(kind, plain, codec, keys, offset)
    opened = open_slice(kind, memoryview(stored), keys, offset, "ck/1")
    assert type(opened) is bytes
    assert opened == plain


@both_ways
@pytest.mark.parametrize("codec", list(Codec))
def test_every_flipped_bit_is_noticed(codec, keys):
    """
    In the envelope and behind it; the text names object and place.
    """
    stored = seal_slice(SliceKind.LEAF, TEXT, codec, keys, 128)
    for bit in range(8 * len(stored)):
        torn = bytearray(stored)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match=r"^ck/1: slice at 128: CRC: got 0x.* expected 0x"):
            open_slice(SliceKind.LEAF, torn, keys, 128, "ck/1")


@both_ways
def test_every_cut_is_noticed(keys):
    """
    And bytes that follow are no part of it.
    """
    stored = seal_slice(SliceKind.ROOT, TEXT, Codec.ZSTD, keys, 128)
    for other in (*(stored[:length] for length in range(len(stored))), stored + b"x"):
        with pytest.raises(Corrupt, match="slice at 128: (too short: got|CRC: got)"):
            open_slice(SliceKind.ROOT, other, keys, 128, "ck/1")


def forged(stored, index):
    """One byte is another, and the CRC is right again."""
    torn = bytearray(stored)
    torn[index] ^= 1
    torn[8:12] = struct.pack("<I", crc32c(torn[:8], torn[12:]))
    return torn


def test_every_forged_byte_is_noticed_by_who_has_the_key():
    """
    The envelope is authenticated along with the payload.
    """
    stored = seal_slice(SliceKind.TABLE, TEXT, Codec.ZSTD, KEYS, 128)
    for index in [*range(8), *range(ENVELOPE, len(stored))]:
        with pytest.raises(Corrupt, match="slice at 128: (it fails|got)"):
            open_slice(SliceKind.TABLE, forged(stored, index), KEYS, 128, "ck/1")


@both_ways
def test_a_slice_of_another_kind_is_refused(keys):
    """
    A reference says what it points to.
    """
    stored = seal_slice(SliceKind.PAGE_IMAGE, TEXT, Codec.NONE, keys, 128)
    for kind in set(SliceKind) - {SliceKind.PAGE_IMAGE}:
        with pytest.raises(
            Corrupt, match=rf"got the kind 1, expected {kind:d} \({kind.name.lower()}"
        ):
            open_slice(kind, stored, keys, 128, "ck/1")


def test_an_encrypted_slice_opens_in_its_place_alone():
    """
    Not at another offset, in another checkpoint, or in another volume.
    """
    stored = seal_slice(SliceKind.LEAF, TEXT, Codec.NONE, KEYS, 128)
    others = [
        (CRYPT.object(Kind.CHECKPOINT, 1, 0, 3), 128),
        (CRYPT.object(Kind.CHECKPOINT, 2, 0, 2), 128),
        (CRYPT.object(Kind.DATA, 1, 0, 2), 128),
        (Crypt(bytes(range(32)), bytes(16)).object(Kind.CHECKPOINT, 1, 0, 2), 128),
        (KEYS, 129),
    ]
    for keys, offset in others:
        with pytest.raises(Corrupt, match="sealed with another key"):
            open_slice(SliceKind.LEAF, stored, keys, offset, "ck/1")


@pytest.mark.parametrize("index", [0, 2, 3, 7])
def test_an_envelope_of_nonsense_is_refused(index):
    """
    An unknown codec, reserved bytes, and lengths that nothing will make us set aside.
    """
    stored = seal_slice(SliceKind.LEAF, TEXT, Codec.ZSTD, None, 128)
    torn = bytearray(stored)
    torn[index] |= 0x80
    torn[8:12] = struct.pack("<I", crc32c(torn[:8], torn[12:]))
    with pytest.raises(Corrupt, match=f"expected codec 0, 1 or 2, .* at most {SLICE_LIMIT} bytes"):
        open_slice(SliceKind.LEAF, torn, None, 128, "ck/1")


def test_a_slice_that_unpacks_to_more_is_stopped():
    """
    Its envelope says how much there is; no more is made.
    """
    stored = bytearray(seal_slice(SliceKind.LEAF, bytes(1 << 20), Codec.ZSTD, None, 128))
    stored[4:8] = struct.pack("<I", 1000)
    stored[8:12] = struct.pack("<I", crc32c(stored[:8], stored[12:]))
    with pytest.raises(Corrupt, match=f"zstd states {1 << 20} plain bytes, expected 1000"):
        open_slice(SliceKind.LEAF, stored, None, 128, "ck/1")


def test_a_slice_beyond_the_limit_is_not_made():
    """
    Nobody could read it.
    """
    with pytest.raises(ValueError, match=f"expected at most {SLICE_LIMIT}"):
        seal_slice(SliceKind.LEAF, bytes(SLICE_LIMIT + 1), Codec.NONE, None, 128)


@pytest.mark.parametrize("crypt", [None, CRYPT], ids=["plain", "encrypted"])
def test_a_checkpoint_object_is_a_header_and_its_slices(crypt):
    """
    Offsets are known before the header is: it has no tables.
    """
    keys = None if crypt is None else KEYS
    offset, slices, places = FIRST_OFFSET, [], []
    for kind in SliceKind:
        slices.append(seal_slice(kind, TEXT + bytes([kind]), Codec.ZSTD, keys, offset))
        places.append((kind, offset, len(slices[-1])))
        offset += len(slices[-1])
    sealed = seal_checkpoint(VOLUME, WRITER, 1, 99, 2, 5, slices, crypt)
    data = b"".join(sealed.parts)
    header = decode(
        data, crypt, "ck/1", kind=Kind.CHECKPOINT, volume=VOLUME, epoch=1, position=99, number=2
    )
    assert header == sealed.header
    assert header.object_length == len(data)
    for kind, at, length in places:
        opened = open_slice(kind, data[at : at + length], keys, at, "ck/1")
        assert opened == TEXT + bytes([kind])
