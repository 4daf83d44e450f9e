"""Frames: cut, stored and read back; what was not stored is never returned."""

from __future__ import annotations

import random

import attrs
import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from backends.volume import frames
from backends.volume.frames import (
    close_frame,
    codec,
    compress,
    filled,
    open_frame,
    open_frames,
    split,
)
from backends.volume.header import Codec, Frame, Header, Kind, crc32c, object_crypt
from backends.volume.keys import Crypt
from backends.volume.units import FRAME
from gateway.errors import ConfigurationError, Corrupt, Unavailable

VOLUME = bytes(range(16))
CRYPT = Crypt(bytes(range(32)), VOLUME)
TEXT = b"what does shrink, shrinks well. " * 32
NOISE = random.Random(1).randbytes(1024)


def stored_frame(plain, codec=Codec.NONE, crypt=None, index=0):
    """The stored bytes of a frame, and a header in which it is number ``index``."""
    keys = None if crypt is None else object_crypt(crypt, header_of([], 0, crypt))
    stored, frame = close_frame(plain, codec, keys, index)
    return stored, header_of([Frame(0, 0, 0)] * index + [frame], index * FRAME + len(plain), crypt)


def header_of(table, plain_length, crypt=None):
    return Header(
        Kind.DATA,
        VOLUME,
        bytes(16),
        1,
        2,
        3,
        4,
        encrypted=crypt is not None,
        extents=(),
        frames=tuple(table),
        plain_length=plain_length,
        stored_length=sum(frame.stored_length for frame in table),
    )


both_ways = pytest.mark.parametrize("crypt", [None, CRYPT], ids=["plain", "encrypted"])
every_codec = pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.name)


@given(st.lists(st.tuples(st.integers(0, 3 * FRAME), st.integers(0, 255)), max_size=6))
def test_pieces_become_frames_of_equal_length(pieces):
    """
    Joined they are the same bytes; all but the last hold 64 KiB, and none is empty.
    """
    data = [bytes([fill]) * length for length, fill in pieces]
    cut = list(split(data))
    assert b"".join(cut) == b"".join(data)
    assert all(len(frame) == FRAME for frame in cut[:-1])
    assert all(cut)


@given(st.lists(st.tuples(st.integers(0, 3 * FRAME), st.integers(0, 255)), max_size=6))
def test_frames_are_filled_from_pieces(pieces):
    """As `split` cuts them, with memory of their own."""
    data = [memoryview(bytes([fill]) * length) for length, fill in pieces]
    found = list(filled(data))
    assert all(isinstance(frame, bytes) for frame in found)
    assert found == [bytes(frame) for frame in split(data)]


def test_a_piece_that_is_a_frame_is_that_frame():
    whole = bytes(FRAME)
    assert next(iter(split([whole]))) is whole


def test_a_frame_inside_one_piece_is_not_copied():
    """
    Neither when the pieces are cut nor when it is stored as it is.
    """
    piece = bytearray(3 * FRAME)
    cut = list(split([bytes(FRAME), piece]))
    stored, _ = close_frame(cut[2], Codec.NONE, None, 2)
    piece[FRAME] = 7
    assert (cut[2][0], stored[0]) == (7, 7)


@both_ways
@every_codec
@pytest.mark.parametrize("plain", [TEXT, NOISE, b"x", bytes(FRAME), NOISE * 64])
def test_a_frame_is_read_back(codec, crypt, plain):
    """
    Whatever it holds, and whatever kind of buffer it comes in.
    """
    for form in (bytes, bytearray, memoryview):
        stored, header = stored_frame(form(plain), codec, crypt, index=3)
        opened = open_frame(header, 3, form(bytes(stored)), crypt, "log/1")
        assert type(opened) is bytes
        assert opened == plain


@every_codec
def test_what_does_not_shrink_by_an_eighth_is_stored_as_it_is(codec):
    """
    Reading it should cost nothing then.
    """
    assert compress(NOISE, codec) == (NOISE, Codec.NONE)
    hardly = NOISE + bytes(64)
    assert compress(hardly, codec) == (hardly, Codec.NONE)
    packed, used = compress(TEXT, codec)
    assert used is codec
    assert (len(packed) < len(TEXT) * 7 / 8) == (codec is not Codec.NONE)


@both_ways
@every_codec
def test_every_flipped_bit_is_noticed(codec, crypt):
    """
    The CRC sees each; the text names the object and the frame.
    """
    stored, header = stored_frame(TEXT, codec, crypt, index=1)
    for bit in range(8 * len(stored)):
        torn = bytearray(stored)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match=r"^log/1: frame 1: CRC: got 0x.{8}, expected 0x.{8}$"):
            open_frame(header, 1, torn, crypt, "log/1")


@both_ways
def test_a_frame_of_another_length_is_refused(crypt):
    """
    The text says how much there was and how much it takes.
    """
    stored, header = stored_frame(TEXT, Codec.NONE, crypt)
    for other in (stored[:-1], bytes(stored) + b"x", b""):
        with pytest.raises(Corrupt, match=f"got {len(other)} bytes, expected {len(stored)}"):
            open_frame(header, 0, other, crypt, "log/1")


def forged(header, stored):
    """The header that says these are the right bytes."""
    frame = Frame(len(stored), header.frames[0].codec, crc32c(stored))
    return attrs.evolve(header, frames=(frame,), stored_length=len(stored))


def test_forged_bytes_fail_their_authentication():
    """
    Even under a header whose CRC was made to fit.
    """
    stored, header = stored_frame(TEXT, Codec.ZSTD, CRYPT)
    for index in range(len(stored)):
        torn = bytearray(stored)
        torn[index] ^= 1
        with pytest.raises(Corrupt, match="frame 0: it fails its authentication"):
            open_frame(forged(header, torn), 0, torn, CRYPT, "log/1")
    for short in (b"", b"x", stored[:15]):
        with pytest.raises(Corrupt, match="frame 0: it fails its authentication"):
            open_frame(forged(header, short), 0, short, CRYPT, "log/1")


def test_a_frame_opens_in_its_place_alone():
    """
    Not as another frame, in another object, of another volume, or for another writer.
    """
    stored, header = stored_frame(NOISE, Codec.NONE, CRYPT)
    frame = header.frames[0]
    assert open_frame(header, 0, stored, CRYPT, "log/1") == NOISE
    moved = attrs.evolve(header, frames=(frame, frame), plain_length=FRAME + len(NOISE))
    others = [
        (moved, 1, CRYPT),
        (header, 0, Crypt(bytes(range(32)), bytes(16))),
        (header, 0, Crypt(bytes(32), VOLUME)),
        *(
            (attrs.evolve(header, **{field: value}), 0, CRYPT)
            for field, value in {
                "kind": Kind.MOVED,
                "epoch": 2,
                "position": 3,
                "number": 4,
                "writer": VOLUME,
            }.items()
        ),
    ]
    for other, index, crypt in others:
        with pytest.raises(Corrupt, match="sealed with another key"):
            open_frame(other, index, stored, crypt, "log/1")


def test_a_key_that_is_not_there_is_said():
    """
    A volume without encryption meets an encrypted object.
    """
    stored, header = stored_frame(TEXT, Codec.NONE, CRYPT)
    with pytest.raises(Corrupt, match="frame 0: it is encrypted, expected an object without"):
        open_frame(header, 0, stored, None, "log/1")


def test_a_frame_that_unpacks_to_more_is_stopped():
    """
    Nothing makes more than its plain length, nor sets memory aside for what it claims.
    """
    bomb = bytes(64 << 20)
    streaming = zstandard.ZstdCompressor(write_content_size=False)
    packed = [
        (zstandard.ZstdCompressor().compress(bomb), Codec.ZSTD),
        (streaming.compress(bomb), Codec.ZSTD),
        (zstandard.ZstdCompressor().compress(TEXT) + bytes(4), Codec.ZSTD),
        (zstandard.ZstdCompressor().compress(TEXT[:-1]), Codec.ZSTD),
        (b"no zstd frame at all", Codec.ZSTD),
        (lz4.block.compress(bomb, store_size=False), Codec.LZ4),
        (lz4.block.compress(TEXT[:-1], store_size=False), Codec.LZ4),
        (b"\xff" * 100, Codec.LZ4),
    ]
    for stored, used in packed:
        header = header_of([Frame(len(stored), used, crc32c(stored))], len(TEXT))
        with pytest.raises(Corrupt, match="log/1: frame 0: .*(got|states|cannot decompress)"):
            open_frame(header, 0, stored, None, "log/1")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (b"\xe0" + (1 << 40).to_bytes(8, "little"), f"zstd states {1 << 40} plain bytes"),
        (b"\x00\x58", "zstd states no plain bytes"),
    ],
)
def test_what_a_frame_claims_sets_no_memory_aside(claim, message):
    """
    zstd's library would take its word for it; a terabyte, or as it comes.
    """
    stored = b"\x28\xb5\x2f\xfd" + claim + b"\x01\x00\x00"
    header = header_of([Frame(len(stored), Codec.ZSTD, crc32c(stored))], len(TEXT))
    with pytest.raises(Corrupt, match=f"log/1: frame 0: {message}, expected {len(TEXT)}"):
        open_frame(header, 0, stored, None, "log/1")


def test_where_data_does_not_shrink_samples_decide():
    """Random bytes cost no try; a frame with something in it that shrinks gets one."""
    noise = random.Random(2).randbytes(FRAME)
    mixed = noise[: FRAME // 2] + bytes(FRAME // 2)
    for doubted in (False, True):
        assert compress(noise, Codec.ZSTD, doubted) == (noise, Codec.NONE)
        assert compress(mixed, Codec.ZSTD, doubted)[1] is Codec.ZSTD
        assert compress(bytes(4096), Codec.ZSTD, doubted)[1] is Codec.ZSTD


def test_a_frame_in_doubt_is_not_compressed_in_full(monkeypatch):
    """What is handed to zstd is an eighth of it."""
    lengths = []

    class Compressor:
        def compress(self, plain):
            lengths.append(len(plain))
            return bytes(plain)

    monkeypatch.setattr(frames._contexts, "compressor", Compressor())
    compress(random.Random(2).randbytes(FRAME), Codec.ZSTD, doubted=True)
    assert lengths == [FRAME // 8]


@every_codec
@both_ways
def test_frames_open_together(codec, crypt):
    """The one that is not well is named, and the others are there; stored bytes if wanted."""
    keys = None if crypt is None else object_crypt(crypt, header_of([], 0, crypt))
    plains = [bytes([fill]) * FRAME for fill in range(3)]
    closed = [close_frame(plain, codec, keys, index) for index, plain in enumerate(plains)]
    header = header_of([frame for _, frame in closed], 3 * FRAME, crypt)
    data = bytearray(b"".join(stored for stored, _ in closed[1:]))
    start = header.frame_offset(1)
    opened = open_frames(header, [1, 2], data, start, crypt, "it", keep=True)
    assert opened.plain == {1: plains[1], 2: plains[2]} and not opened.failures
    assert opened.stored == {1: closed[1][0], 2: closed[2][0]}
    data[-1] ^= 1
    opened = open_frames(header, [1, 2], data, start, crypt, "it", keep=False)
    assert opened.plain == {1: plains[1]} and not opened.stored
    assert list(opened.failures) == [2] and isinstance(opened.failures[2], Corrupt)


def test_codecs_have_the_names_of_the_settings():
    """
    One that does not exist is answered with those that do.
    """
    assert [codec(name) for name in ("none", "zstd", "lz4")] == list(Codec)
    with pytest.raises(ConfigurationError, match='got "gzip", expected none, zstd, lz4'):
        codec("gzip")


@pytest.mark.parametrize(
    ("attribute", "name", "package"),
    [("zstandard", "zstd", "zstandard"), ("lz4_block", "lz4", "lz4")],
)
def test_a_missing_library_is_called_by_its_name(monkeypatch, attribute, name, package):
    """
    When it is asked for, and when what it made is to be read: that is no corruption.
    """
    stored, header = stored_frame(TEXT, codec(name))
    monkeypatch.setattr(frames, attribute, None)
    with pytest.raises(ConfigurationError, match=f"needs the Python package {package}"):
        codec(name)
    with pytest.raises(Unavailable, match=f"log/1: frame 0: needs the Python package {package}"):
        open_frame(header, 0, stored, None, "log/1")
