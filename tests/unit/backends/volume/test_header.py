"""Headers: every one is read back, and nothing that is not one gets through."""

from __future__ import annotations

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume.header import (
    FIXED,
    MAX_EXTENTS,
    Codec,
    Extent,
    Frame,
    Header,
    Kind,
    crc32c,
    decode,
    encode,
    max_extents,
    object_crypt,
)
from backends.volume.keys import Crypt
from backends.volume.units import FRAME, HEADER_LIMIT, SECTOR
from backends.volume.values import DATA, HOLE, ZERO
from gateway.errors import Corrupt

VOLUME = bytes(range(16))
WRITER = bytes(range(16, 32))
CRYPT = Crypt(bytes(range(32)), VOLUME)
U64 = st.integers(0, 2**64 - 1)


def header(**changes):
    """A small one: a hole, zeroes, and two sectors of data in a compressed frame."""
    fields = {
        "kind": Kind.DATA,
        "volume": VOLUME,
        "writer": WRITER,
        "epoch": 3,
        "position": 7,
        "number": 5,
        "wall_ms": 1_700_000_000_000,
        "encrypted": False,
        "extents": (Extent(8, 2, DATA, 0), Extent(16, 8, ZERO, 0), Extent(24, 2**32, HOLE, 0)),
        "frames": (Frame(100, Codec.ZSTD, 0xDEADBEEF),),
        "plain_length": 2 * SECTOR,
        "stored_length": 100,
    }
    return Header(**(fields | changes))


def encoded(value):
    return encode(value, object_crypt(CRYPT, value) if value.encrypted else None)


def patched(data, offset, fmt, *values, crc=True):
    """A header with other bytes at an offset, and a CRC that is right again."""
    data = bytearray(data)
    struct.pack_into(fmt, data, offset, *values)
    if crc:
        struct.pack_into("<I", data, 124, crc32c(data[:124], data[128:]))
    return bytes(data)


@st.composite
def headers(draw):
    """Any data or moved object's header."""
    sectors = draw(st.integers(0, 300))
    plain, encrypted = sectors * SECTOR, draw(st.booleans())
    overhead = 16 if encrypted else 0
    frames, left = [], plain
    while left:
        piece = min(FRAME, left)
        left -= piece
        codec = draw(st.sampled_from(Codec))
        stored = piece if codec is Codec.NONE else draw(st.integers(1, piece - 1))
        frames.append(Frame(stored + overhead, codec, draw(st.integers(0, 2**32 - 1))))
    extents, at = [], 0
    for gap, length, kind in draw(
        st.lists(
            st.tuples(
                st.integers(0, 2**40), st.integers(1, 2**39), st.sampled_from([HOLE, ZERO, DATA])
            ),
            max_size=20,
        )
    ):
        start = 0
        if kind == DATA:
            length = min(length, sectors)
            if not length:
                continue
            start = draw(st.integers(0, sectors - length))
        extents.append(Extent(at + gap, length, kind, start))
        at += gap + length
    return Header(
        draw(st.sampled_from([Kind.DATA, Kind.MOVED])),
        VOLUME,
        draw(st.binary(min_size=16, max_size=16)),
        *(draw(U64) for _ in range(4)),
        encrypted=encrypted,
        extents=tuple(extents),
        frames=tuple(frames),
        plain_length=plain,
        stored_length=sum(frame.stored_length for frame in frames),
    )


@given(headers(), st.binary(max_size=40))
def test_a_header_is_read_back_whatever_follows_it(value, behind):
    """
    Readers get the first 64 KiB of an object, header or not.
    """
    data = encoded(value)
    assert len(data) == value.length
    crypt = CRYPT if value.encrypted else None
    assert decode(data + behind, crypt, "log/1") == value


@given(headers())
def test_frames_lie_behind_the_header_without_gaps(value):
    """
    Offsets are those in the object; plain lengths add up to the data.
    """
    count, at = len(value.frames), value.length
    for index, frame in enumerate(value.frames):
        assert value.frame_offset(index) == at
        assert value.frame_range(index, count - 1) == (at, value.object_length - at)
        at += frame.stored_length
    assert value.frame_offset(count) == value.object_length
    assert sum(map(value.frame_plain_length, range(count))) == value.plain_length
    with pytest.raises(IndexError):
        value.frame_plain_length(count)


@given(headers())
def test_a_header_in_brief_is_as_good_for_reading_frames(value):
    """Frames, their places and lengths; and the extents are gone, not the room they took."""
    brief = value.brief()
    assert tuple(brief.frames) == brief.frames[:] == tuple(value.frames)
    assert brief.extents == () and brief.length == value.length
    for number in range(len(value.frames)):
        assert (
            brief.frames[number] == value.frames[number] == brief.frames[number - len(brief.frames)]
        )
        assert brief.frame_range(0, number) == value.frame_range(0, number)
        assert brief.frame_plain_length(number) == value.frame_plain_length(number)
    with pytest.raises(IndexError):
        brief.frames[len(value.frames)]
    assert value.brief().brief().frames[:] == tuple(value.frames)


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_flipped_bit_is_noticed(encrypted):
    """
    In the fields, the tables, the tag and the CRC alike.
    """
    value = header(encrypted=encrypted)
    data = encoded(value)
    crypt = CRYPT if encrypted else None
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match=r"^log/7: "):
            decode(torn, crypt, "log/7")


def test_every_forged_byte_is_noticed_by_who_has_the_key():
    """
    A CRC that was made right again does not help: the tag covers all but itself.
    """
    data = encoded(header(encrypted=True))
    for offset in [*range(124), *range(128, len(data))]:
        with pytest.raises(Corrupt):
            decode(patched(data, offset, "B", data[offset] ^ 1), CRYPT, "log/7")


def test_every_cut_is_called_too_short():
    """
    The text says how much there was and how much it takes.
    """
    data = encoded(header())
    for length in range(len(data)):
        with pytest.raises(Corrupt, match=f"log/7: too short: got {length} bytes, expected"):
            decode(data[:length], None, "log/7")


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"kind": Kind.FENCE}, "object type: got data, expected fence"),
        ({"kind": (Kind.MOVED, Kind.FENCE)}, "object type: got data, expected fence or moved"),
        ({"volume": WRITER}, f"volume: got {VOLUME.hex()}, expected {WRITER.hex()}"),
        ({"epoch": 4}, "epoch: got 3, expected 4"),
        ({"position": 8}, "position: got 7, expected 8"),
        ({"number": 0}, "number: got 5, expected 0"),
    ],
)
def test_an_object_under_anothers_name_is_refused(expected, message):
    """
    Whoever knows what an object must be says so, and hears what it was.
    """
    identity = {"kind": (Kind.DATA, Kind.FENCE), "volume": VOLUME, "epoch": 3, "position": 7}
    data = encoded(header())
    assert decode(data, None, "log/7", number=5, **identity) == header()
    with pytest.raises(Corrupt, match=f"^log/8: {message}$"):
        decode(data, None, "log/8", **(identity | expected))


@pytest.mark.parametrize(
    ("offset", "fmt", "number", "message"),
    [
        (0, "8s", b"nbdgwvom", "magic: got b'nbdgwvom', expected b'nbdgwvol'"),
        (8, "<H", 2, "format version: got 2, expected 1"),
        (10, "B", 6, "object type: got 6, expected one of 1 to 5"),
        (10, "B", 0, "object type: got 0"),
        (11, "B", 2, "flags: got 0x02"),
        (12, "<I", 176, "header length: got 176, expected 184"),
        (80, "<I", 4, "header length: got 184, expected 200"),
        (84, "<I", 2, "header length: got 184, expected 192"),
        (88, "<Q", 511, "plain length: got 511, expected a multiple of 512"),
        (88, "<Q", FRAME + 512, "frames: got 1, expected 2"),
        (88, "<Q", 512, "extent 0: got data up to sector 2, expected at most 1"),
        (96, "<Q", 101, "stored length: got 101, expected 100"),
        (104, "B", 1, "keyed tag without encryption: got 01"),
        (120, "<I", 8, "unsettled slots: got 8, expected less than 8"),
        (134, "B", 0, "extent kind: got 0, expected 1, 2 or 3"),
        (134, "B", 4, "extent kind: got 4, expected 1, 2 or 3"),
        (135, "B", 1, "extent kind: got 259, expected 1, 2 or 3"),
        (136, "<Q", 0, "extent 0: got a length of 0"),
        (136, "<Q", 1 | 2 << 40, "extent 0: got data up to sector 3, expected at most 2"),
        (152, "<Q", 9, "extent 2: got sector 24, expected 25 or more"),
        (144, "<H", 0, "extent 1: got sector 0, expected 10 or more"),
        (152, "<Q", 8 | 1 << 40, "extent 1: got data at 1, expected none"),
        (176, "<I", 1 << 24, "stored length: got 100, expected 0"),
        (176, "<I", 100, "frame 0: got 100 stored bytes with codec 0, expected 1024 without one"),
        (176, "<I", 100 | 3 << 24, "frame 0: got the codec 3"),
    ],
)
def test_what_does_not_fit_is_called_by_its_name(offset, fmt, number, message):
    """
    Whoever looks into a broken volume reads field, got and expected.
    """
    data = patched(encoded(header()), offset, fmt, number)
    with pytest.raises(Corrupt) as caught:
        decode(data, None, "log/7")
    assert str(caught.value).startswith("log/7: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("stored", "codec"),
    [(0, Codec.ZSTD), (1024, Codec.LZ4), (1023, Codec.NONE), (1025, Codec.NONE), (2000, Codec.LZ4)],
)
def test_a_frame_of_an_impossible_length_is_refused(stored, codec, encrypted):
    """
    As long as its plain data without a codec; shorter with one; never empty.
    """
    stored += 16 if encrypted else 0
    value = header(frames=(Frame(stored, codec, 0),), stored_length=stored, encrypted=encrypted)
    with pytest.raises(Corrupt, match=f"frame 0: got {stored} stored bytes with codec {codec:d}"):
        decode(encoded(value), CRYPT if encrypted else None, "log/7")


def test_no_extent_reaches_beyond_the_largest_disk():
    """
    Sectors have 48 bits, and the last one is the end.
    """
    last = Extent(2**48 - 8, 8, HOLE, 0)
    assert decode(encoded(header(extents=(last,))), None, "log/7").extents == (last,)
    with pytest.raises(
        Corrupt, match=f"extents: got the end {2**48 + 1}, expected at most {2**48}"
    ):
        decode(encoded(header(extents=(last._replace(length=9),))), None, "log/7")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": Kind.FENCE},
        {"kind": Kind.FENCE, "frames": (), "plain_length": 0, "stored_length": 0},
        {"kind": Kind.SUPERBLOCK},
        {"kind": Kind.CHECKPOINT, "extents": ()},
        {"kind": Kind.FENCE, "extents": (), "frames": (), "plain_length": 0, "number": 9},
    ],
)
def test_each_type_has_just_the_tables_that_it_needs(changes):
    """
    A fence holds nothing; checkpoints and superblocks say nothing of ranges.
    """
    with pytest.raises(Corrupt, match="expected 0"):
        decode(encoded(header(**changes)), None, "log/7")


def test_a_fence_points_forward():
    """
    A log that went on where it came from would be read for ever.
    """
    empty = {"extents": (), "frames": (), "plain_length": 0, "stored_length": 0}
    fence = header(kind=Kind.FENCE, number=16, **empty)
    assert decode(encoded(fence), None, "log/7") == fence
    with pytest.raises(Corrupt, match="slot at which the log goes on: got 7, expected more than 7"):
        decode(encoded(attrs.evolve(fence, number=7)), None, "log/7")


def test_another_volumes_key_does_not_confirm_a_header():
    """
    Nor does a volume with a key take an object that was made without one.
    """
    other = Crypt(bytes(32), VOLUME)
    with pytest.raises(Corrupt, match="sealed with another key"):
        decode(encoded(header(encrypted=True)), other, "log/7")
    with pytest.raises(Corrupt, match="got an object without encryption"):
        decode(encoded(header()), CRYPT, "log/7")


def test_a_header_can_be_looked_into_without_the_key():
    """
    Then its tag counts for nothing; ranges and sizes are no secret.
    """
    value = header(encrypted=True)
    assert decode(encoded(value), None, "log/7") == value


def test_as_many_extents_fit_as_are_promised():
    """
    One more would not be in the bytes that readers get.
    """
    for frames in (0, 1, 128):
        count = max_extents(frames)
        assert (
            FIXED + 16 * count + 8 * frames <= HEADER_LIMIT < FIXED + 16 * (count + 1) + 8 * frames
        )
    empty = {"frames": (), "plain_length": 0, "stored_length": 0}
    fits = header(extents=tuple(Extent(2 * i, 1, ZERO, 0) for i in range(max_extents(0))), **empty)
    assert decode(encoded(fits), None, "log/7") == fits
    assert MAX_EXTENTS == max_extents(128) == 4024
    with pytest.raises(ValueError, match="expected at most 65536"):
        encoded(attrs.evolve(fits, extents=(*fits.extents, Extent(2**40, 1, ZERO, 0))))


def test_a_header_that_claims_more_than_the_limit_is_refused():
    """
    Before anything is read for it.
    """
    count = max_extents(0) + 1
    data = patched(encoded(header()), 80, "<II", count, 0)
    data = patched(data, 12, "<I", FIXED + 16 * count)
    with pytest.raises(Corrupt, match="expected at most 65536"):
        decode(data, None, "log/7")


def test_a_key_is_needed_just_for_encrypted_headers():
    """
    A header that says it is encrypted and has no tag would be of no use.
    """
    with pytest.raises(ValueError, match="just when there is a key"):
        encode(header(encrypted=True), None)
    with pytest.raises(ValueError, match="just when there is a key"):
        encode(header(), object_crypt(CRYPT, header()))
