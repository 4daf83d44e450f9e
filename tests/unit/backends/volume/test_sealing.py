"""Whole objects: sealed, read back, and compared with what the format's page says of them."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume import superblock_json
from backends.volume.frames import open_frame
from backends.volume.header import Codec, Extent, Kind, decode
from backends.volume.keys import Crypt, ObjectCrypt
from backends.volume.sealing import seal
from backends.volume.superblock import Superblock
from backends.volume.units import FRAME, HEADER_LIMIT, SECTOR
from backends.volume.values import DATA, HOLE, ZERO
from gateway.errors import Corrupt

VOLUME = bytes(range(16))
WRITER = bytes(range(16, 32))
CRYPT = Crypt(bytes(range(32)), VOLUME)
PAGE = Path(__file__).parents[4] / "docs" / "reference" / "volume-format.md"

NOISE = random.Random(1).randbytes(SECTOR)
TEXT = b"what does shrink, shrinks well. " * (SECTOR // 32)

both_ways = pytest.mark.parametrize("crypt", [None, CRYPT], ids=["plain", "encrypted"])


def sealed_data(pieces, codec=Codec.NONE, crypt=None, position=7, extents=None):
    """A data object that says its data is what the disk holds from sector 8 on."""
    sectors = sum(map(len, pieces)) // SECTOR
    if extents is None:
        extents = [Extent(8, sectors, DATA, 0)] if sectors else []
    return seal(
        Kind.DATA, VOLUME, WRITER, 1, position, 5, 1_700_000_000_000, extents, pieces, codec, crypt
    )


def opened(data, crypt, **identity):
    """All plain data of an object, as every reader gets it."""
    header = decode(data[:HEADER_LIMIT], crypt, "log/7", **identity)
    if header.object_length != len(data):
        raise Corrupt(f"log/7: got {len(data)} bytes, expected {header.object_length}")
    places = [header.frame_range(index, index) for index in range(len(header.frames))]
    return header, b"".join(
        open_frame(header, index, data[at : at + length], crypt, "log/7")
        for index, (at, length) in enumerate(places)
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from([NOISE, TEXT, bytes(SECTOR)])), max_size=5
    ),
    st.sampled_from(Codec),
    st.sampled_from([None, CRYPT]),
)
def test_an_object_is_read_back(pieces, codec, crypt):
    """
    However its data was cut and whatever it holds; the header is as announced.
    """
    pieces = [sector * count for count, sector in pieces]
    sealed = sealed_data(pieces, codec, crypt)
    data = b"".join(sealed.parts)
    identity = {"kind": Kind.DATA, "volume": VOLUME, "position": 7}
    assert opened(data, crypt, **identity) == (sealed.header, b"".join(pieces))
    assert sealed.header.object_length == len(data)


def test_data_that_is_stored_as_it_is_is_not_copied():
    """
    The parts are views of the pieces: 8 MiB that nobody holds twice.
    """
    piece = bytearray(2 * FRAME)
    sealed = sealed_data([piece])
    piece[FRAME] = 7
    assert sealed.parts[2][0] == 7


@both_ways
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
def test_every_flipped_bit_is_noticed(codec, crypt):
    """
    Wherever in the object it is.
    """
    data = b"".join(sealed_data([TEXT, TEXT], codec, crypt).parts)
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            opened(torn, crypt)


@both_ways
def test_every_cut_is_noticed(crypt):
    """
    And so is what follows.
    """
    data = b"".join(sealed_data([TEXT], Codec.ZSTD, crypt).parts)
    for other in (*(data[:length] for length in range(len(data))), data + b"x"):
        with pytest.raises(Corrupt, match="got"):
            opened(other, crypt)


@both_ways
def test_an_object_in_anothers_place_is_noticed(crypt):
    """
    Both are intact; only their names tell them apart.
    """
    data = b"".join(sealed_data([TEXT], position=8, crypt=crypt).parts)
    with pytest.raises(Corrupt, match="position: got 8, expected 7"):
        opened(data, crypt, position=7)


def test_frames_of_two_volumes_are_not_exchanged():
    """
    Nor those of two objects, although all else about them is the same.
    """
    sealed = sealed_data([NOISE], crypt=CRYPT)
    other = seal(
        Kind.DATA, WRITER, WRITER, 1, 7, 5, 0, [], [NOISE], Codec.NONE, Crypt(bytes(32), WRITER)
    )
    assert other.header.frames[0].crc != sealed.header.frames[0].crc
    with pytest.raises(Corrupt, match="CRC"):
        open_frame(sealed.header, 0, other.parts[1], CRYPT, "log/7")
    # Who can write to the store makes the CRC fit, and has no key for the tag.
    with pytest.raises(Corrupt, match="sealed with another key"):
        open_frame(other.header, 0, other.parts[1], CRYPT, "log/7")
    with pytest.raises(Corrupt, match="keyed tag"):
        decode(other.parts[0], CRYPT, "log/7")


def test_no_nonce_is_used_twice_in_an_object(monkeypatch):
    """
    Every frame has a number of its own, under a key that no other object has.
    """
    used = []
    original = ObjectCrypt.seal

    def noting(self, index, plain, aad=b""):
        used.append((self, index))
        return original(self, index, plain, aad)

    monkeypatch.setattr(ObjectCrypt, "seal", noting)
    for position in (7, 8):
        sealed_data([bytes(5 * FRAME + SECTOR)], crypt=CRYPT, position=position)
    assert [index for _, index in used] == [0, 1, 2, 3, 4, 5] * 2
    assert len({id(keys) for keys, _ in used}) == 2


@both_ways
def test_a_fence_is_a_few_hundred_bytes(crypt):
    """
    It stays for ever, so it had better be small.
    """
    sealed = seal(Kind.FENCE, VOLUME, WRITER, 2, 7, 15, 0, (), (), Codec.ZSTD, crypt)
    data = b"".join(sealed.parts)
    assert len(data) == 128
    assert decode(data, crypt, "log/7", kind=Kind.FENCE) == sealed.header


@pytest.mark.parametrize(
    ("extents", "pieces"),
    [
        ([Extent(8, 2, DATA, 0)], [TEXT]),
        ([Extent(8, 1, HOLE, 0), Extent(8, 1, HOLE, 0)], []),
        ([Extent(9, 1, HOLE, 0), Extent(8, 1, HOLE, 0)], []),
        ([Extent(8, 0, HOLE, 0)], []),
        ([Extent(-8, 1, HOLE, 0)], []),
        ([Extent(0, 2**40, HOLE, 0)], []),
        ([Extent(8, 1, DATA, -1)], [TEXT]),
        ([], [b"half a sector"]),
        ([Extent(2 * i, 1, HOLE, 0) for i in range(4089)], []),
    ],
)
def test_what_a_reader_would_refuse_is_not_sealed(extents, pieces):
    """
    Once it were stored, what it replaces would be gone.
    """
    with pytest.raises(ValueError, match="sealing|header"):
        sealed_data(pieces, extents=extents)


# -- the page of the format


def block(language):
    """The text of the page's only block of that language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return text


def dumped():
    """The bytes of the page's dump; ``*`` stands for lines like the one before."""
    data = bytearray()
    for line in block("text").splitlines():
        if line == "*":
            continue
        offset, _, rest = line.partition("  ")
        while len(data) < int(offset, 16):
            data += data[-16:]
        data += bytes.fromhex(rest.partition("|")[0])
    return bytes(data)


def page_reader():
    scope = {}
    exec(compile(block("python"), str(PAGE), "exec"), scope)
    return scope["read_object"]


EXAMPLE = [Extent(8, 1, DATA, 0), Extent(16, 8, ZERO, 0), Extent(1000, 1 << 21, HOLE, 0)]
HELLO = b"Hello, disk!".ljust(SECTOR, b"\0")


def test_the_object_on_the_page_is_what_is_written():
    """
    Byte by byte.
    """
    sealed = seal(
        Kind.DATA, VOLUME, WRITER, 1, 1, 0, 1_700_000_000_000, EXAMPLE, [HELLO], Codec.NONE, None
    )
    assert dumped() == b"".join(sealed.parts)


def test_the_reader_on_the_page_reads_the_object_on_the_page():
    """
    Somebody who has the page alone gets the data back.
    """
    assert list(page_reader()(dumped())) == [(8, 1, HELLO), (16, 8, None), (1000, 1 << 21, None)]


@pytest.mark.parametrize("codec", list(Codec))
def test_the_reader_on_the_page_reads_what_is_written(codec):
    """
    Frames of every codec, data of more than one, extents into its middle.
    """
    plain = TEXT * 129 + NOISE
    extents = [Extent(0, 100, DATA, 30), Extent(2**40, 130, DATA, 0)]
    data = b"".join(sealed_data([plain], codec, extents=extents).parts)
    assert list(page_reader()(data)) == [
        (0, 100, plain[30 * SECTOR : 130 * SECTOR]),
        (2**40, 130, plain),
    ]


def test_the_superblock_on_the_page_is_one():
    """
    Field by field, and in the form that is written.
    """
    text = block("json").encode()
    sealed = seal(Kind.SUPERBLOCK, VOLUME, WRITER, 2, 9, 0, 0, (), [text], Codec.NONE, None)
    data = b"".join(sealed.parts)
    superblock = superblock_json.decode(data, "sb/9")
    assert isinstance(superblock, Superblock)
    assert superblock_json.encode(superblock, None) == data
