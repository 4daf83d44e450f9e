"""Superblocks: whatever a volume is comes back, and every mistake in one has a name."""

from __future__ import annotations

import json
import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.volume import header as headers
from backends.volume import superblock_json
from backends.volume.header import Codec, Kind
from backends.volume.keys import Crypt, KeySource, unwrap_any, wrap, wrap_with_volume_key
from backends.volume.sealing import seal
from backends.volume.superblock import (
    Ancestor,
    Holder,
    JournalNote,
    Parent,
    Root,
    Snapshot,
    Superblock,
    check_snapshot_name,
)
from backends.volume.superblock_json import decode, encode, verify
from gateway.errors import Corrupt
from gateway.settings import BadValue

VOLUME = bytes(range(16))
WRITER = bytes(range(16, 32))
KEY = bytes(range(32))
CRYPT = Crypt(KEY, VOLUME)
FILE = KeySource.from_key_file(bytes(range(100, 132)))
WRAP = wrap(KEY, FILE, random.Random(1).randbytes)
ROOT = Root(epoch=2, n=3, offset=128, stored_length=500, version=77)

SMALL = Superblock(
    volume=VOLUME, generation=9, epoch=2, writer=WRITER, size=1 << 30, created_ms=1_700_000_000_000
)
FULL = attrs.evolve(
    SMALL,
    written_ms=1_700_000_000_001,
    state="closed",
    compatible=("hints",),
    codec="zstd",
    checkpoint=ROOT,
    snapshots=(
        Snapshot(1, "empty", 0, None, 512, 5),
        Snapshot(4, "before:upgrade-2.0_a", 60, ROOT, 1 << 20, 6, deleting=True),
    ),
    next_snapshot_id=5,
    parent=Parent(WRITER, "disks/golden", 3),
    ancestors=(
        Ancestor(
            WRITER, "disks/golden", wrap_with_volume_key(KEY, KEY, random.Random(2).randbytes)
        ),
        Ancestor(bytes(16), "disks/früher"),
    ),
    wraps=(WRAP,),
    journal=JournalNote("host-1", 3, 12, 7),
    owner=Holder("host-1", 4711, 8, "aa", "bb", "pid:[1]", 99),
    first_slot=17,
    description='a "disk"',
    extra={"colour": {"of": ["the", 1, None]}},
)


def crypt_of(superblock):
    return CRYPT if superblock.encrypted else None


def encoded_json(fields, encrypted=False):
    """An object with these fields, right in all but what they say."""
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    crypt = CRYPT if encrypted else None
    sealed = seal(Kind.SUPERBLOCK, VOLUME, WRITER, 2, 9, 0, 0, (), [text], Codec.NONE, crypt)
    return b"".join(sealed.parts)


def json_of(superblock):
    data = encode(superblock, crypt_of(superblock))
    header = headers.decode(data, None, "sb/9")
    return json.loads(data[header.length :])


@pytest.mark.parametrize("superblock", [SMALL, FULL], ids=["small", "full"])
def test_a_superblock_is_read_back(superblock):
    """
    With every field, and with those of later versions that may be ignored.
    """
    data = encode(superblock, crypt_of(superblock))
    assert decode(data, "sb/9", volume=VOLUME, generation=9) == superblock
    assert encode(superblock, crypt_of(superblock)) == data


@given(
    st.builds(
        Superblock,
        volume=st.binary(min_size=16, max_size=16),
        generation=st.integers(0, 2**64 - 1),
        epoch=st.integers(0, 2**32 - 1),
        writer=st.binary(min_size=16, max_size=16),
        size=st.integers(0, 2**50).map(lambda sectors: 512 * sectors),
        created_ms=st.integers(0, 2**64 - 1),
        written_ms=st.integers(0, 2**64 - 1),
        state=st.sampled_from(["open", "closed", "deleting", "deleted"]),
        codec=st.sampled_from(["none", "zstd", "lz4"]),
        checkpoint=st.none()
        | st.builds(
            Root,
            epoch=st.integers(0, 2**32 - 1),
            n=st.integers(0, 2**32 - 1),
            offset=st.integers(128, 2**64 - 1),
            stored_length=st.integers(1, 2**32 - 1),
            version=st.integers(0, 2**64 - 1),
        ),
        description=st.text(),
        extra=st.dictionaries(st.text(min_size=30), st.integers() | st.text(), max_size=3),
    )
)
def test_any_superblock_is_read_back(superblock):
    """
    Texts of every script, numbers up to their ends.
    """
    assert decode(encode(superblock, None), "sb/9") == superblock


def test_a_superblock_of_many_snapshots_is_read_back():
    """
    One frame of 64 KiB does not hold a thousand of them.
    """
    snapshots = tuple(Snapshot(i, f"daily-{i}", i, ROOT, 512, i) for i in range(1, 1001))
    superblock = attrs.evolve(SMALL, snapshots=snapshots, next_snapshot_id=1001)
    data = encode(superblock, None)
    assert len(headers.decode(data, None, "sb/9").frames) > 1
    assert decode(data, "sb/9") == superblock


def test_people_can_read_it():
    """
    Plain JSON in the object, one field a line, also of an encrypted volume.
    """
    text = encode(FULL, CRYPT).partition(b"{")[2].decode()
    assert '\n "size": 1073741824,\n' in text
    assert '"prefix": "disks/früher"' in text


@pytest.mark.parametrize("superblock", [SMALL, FULL], ids=["plain", "encrypted"])
def test_every_flipped_bit_is_noticed(superblock):
    """
    Before anything in it is believed.
    """
    data = encode(superblock, crypt_of(superblock))
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match=r"^sb/9: "):
            decode(torn, "sb/9")


def test_every_cut_is_noticed():
    """
    And so is what follows.
    """
    data = encode(SMALL, None)
    for other in (*(data[:length] for length in range(len(data))), data + b" "):
        with pytest.raises(Corrupt, match=r"^sb/9: (too short|length in bytes): got \d+"):
            decode(other, "sb/9")


def test_the_key_inside_confirms_the_superblock():
    """
    Two steps: read it, unwrap the key, check the tag.
    """
    data = encode(FULL, CRYPT)
    superblock = decode(data, "sb/9")
    crypt = Crypt(unwrap_any(superblock.wraps, FILE), superblock.volume)
    verify(data, crypt, "sb/9")


def test_a_forged_superblock_is_not_confirmed():
    """
    Its JSON is not encrypted, so the tag covers it: a CRC can be made to fit.
    """
    data = encode(FULL, CRYPT)
    forged = encoded_json(json_of(FULL) | {"size": 512}, encrypted=True)
    header = headers.decode(data, None, "sb/9")
    for index in range(header.length, len(data)):
        torn = bytearray(data)
        torn[index] ^= 1
        with pytest.raises(Corrupt, match="keyed tag: it was changed"):
            verify(torn, CRYPT, "sb/9")
    # What somebody without the key can make: another key's tag, no tag, no encryption.
    other = Crypt(bytes(32), VOLUME)
    verify(forged, CRYPT, "sb/9")
    with pytest.raises(Corrupt, match="keyed tag: it was changed"):
        verify(forged, other, "sb/9")
    with pytest.raises(Corrupt, match="got an object without encryption"):
        verify(encode(attrs.evolve(FULL, wraps=()), None), CRYPT, "sb/9")
    with pytest.raises(Corrupt, match="length in bytes"):
        verify(data[:-1], CRYPT, "sb/9")
    with pytest.raises(Corrupt, match="volume: got"):
        verify(data, Crypt(KEY, bytes(16)), "sb/9")


def test_wraps_and_encryption_go_together():
    """
    Neither a key that is nowhere inside, nor wraps of a volume in the clear.
    """
    with pytest.raises(ValueError, match="just when the volume is encrypted"):
        encode(SMALL, CRYPT)
    with pytest.raises(ValueError, match="just when the volume is encrypted"):
        encode(FULL, None)
    with pytest.raises(Corrupt, match="encrypted in the JSON: got True, expected False"):
        decode(encoded_json(json_of(FULL)), "sb/9")
    with pytest.raises(Corrupt, match="encrypted in the JSON: got False, expected True"):
        decode(encoded_json(json_of(SMALL), encrypted=True), "sb/9")


def test_a_superblock_under_anothers_name_is_refused():
    """
    An older one put under a newer name would undo what followed.
    """
    data = encode(SMALL, None)
    with pytest.raises(Corrupt, match="sb/10: position: got 9, expected 10"):
        decode(data, "sb/10", generation=10)
    with pytest.raises(Corrupt, match=f"sb/9: volume: got {VOLUME.hex()}"):
        decode(data, "sb/9", volume=WRITER)
    for field, value in {
        "generation": 8,
        "epoch": 1,
        "volume": "0" * 32,
        "writer": "0" * 32,
    }.items():
        with pytest.raises(Corrupt, match=f"sb/9: {field} in the JSON: got"):
            decode(encoded_json(json_of(SMALL) | {field: value}), "sb/9")


def test_unknown_features_are_refused_by_name(monkeypatch):
    """
    Even when they changed what the other fields mean; known ones are read back.
    """
    fields = json_of(SMALL) | {"features": ["time-travel", "stripes"], "size": "elastic"}
    with pytest.raises(
        Corrupt, match="sb/9: features: the volume uses stripes, time-travel, which this version"
    ):
        decode(encoded_json(fields), "sb/9")
    monkeypatch.setattr(superblock_json, "FEATURES", frozenset({"stripes"}))
    striped = attrs.evolve(SMALL, features=("stripes",))
    assert decode(encode(striped, None), "sb/9") == striped


PLACES = [
    ("volume", "00", 'volume: got "00", expected 32 hexadecimal digits'),
    ("writer", None, "writer: got null, expected 32 hexadecimal digits"),
    ("size", 1000, "size: got 1000, expected a multiple of 512"),
    ("size", -512, "size: got -512, expected 0 to"),
    ("size", 2**63, "size: got 9223372036854775808, expected 0 to 9223372036854775807"),
    ("size", 512.0, "size: got 512.0, expected"),
    ("epoch", True, "epoch: got true, expected 0 to 4294967295"),
    ("state", "ajar", 'state: got "ajar", expected open or closed'),
    ("state", [], "state: got [], expected open or closed"),
    ("codec", "gzip", 'codec: got "gzip", expected none or zstd or lz4'),
    ("features", "x", 'features: got "x", expected a list'),
    ("compatible", [1], "compatible[0]: got 1, expected a text"),
    ("description", None, "description: got null, expected a text"),
    ("checkpoint", 5, "checkpoint: got 5, expected an object"),
    (
        "checkpoint",
        {},
        "checkpoint: the fields epoch, n, offset, stored_length, version are missing",
    ),
    (
        "checkpoint",
        attrs.asdict(ROOT) | {"offset": 127},
        "checkpoint: offset: got 127, expected 128",
    ),
    ("checkpoint", attrs.asdict(ROOT) | {"x": 1}, "checkpoint: got the unknown fields x"),
    ("snapshots", [{}], "snapshots[0]: the fields created_ms, deleting, id"),
    ("next_snapshot_id", 0, "next_snapshot_id: got 0, expected 1 to"),
    ("parent", {"uuid": 1, "prefix": "", "snapshot": 1}, "parent: uuid: got 1, expected 32"),
    (
        "ancestors",
        [{"uuid": "0" * 32, "prefix": "", "wrap": {}}],
        "ancestors[0]: wrap: method: got",
    ),
    ("wraps", [5], "wraps[0]: got int, expected an object"),
    ("journal", {"host": "h", "epoch": 1, "lsn": 0, "since_ms": -1}, "journal: since_ms: got -1"),
]


@pytest.mark.parametrize(("field", "value", "message"), PLACES)
def test_what_does_not_fit_is_called_by_its_place(field, value, message):
    """
    Whoever looks into a broken volume reads field, got and expected.
    """
    with pytest.raises(Corrupt) as caught:
        decode(encoded_json(json_of(SMALL) | {field: value}), "sb/9")
    assert str(caught.value).startswith(f"sb/9: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deleting": 0}, "snapshots[0]: deleting: got 0, expected true or false"),
        ({"name": "a b"}, "snapshots[0]: name: snapshot name: got 'a b', expected 1 to 100"),
        ({"id": 2}, "snapshots: got the ids [2], expected rising ones below next_snapshot_id, 2"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_called_by_its_place(changes, message):
    """
    Down to the field of the one in the list.
    """
    snapshot = {"id": 1, "name": "a", "version": 1, "root": None, "size": 0}
    fields = json_of(SMALL) | {
        "snapshots": [snapshot | {"created_ms": 1, "deleting": False} | changes],
        "next_snapshot_id": 2,
    }
    with pytest.raises(Corrupt) as caught:
        decode(encoded_json(fields), "sb/9")
    assert str(caught.value).startswith(f"sb/9: {message}")


def test_snapshots_of_one_name_are_refused_unless_one_is_on_its_way_out():
    """
    A name finds one snapshot; deleting one makes its name free at once.
    """
    twice = (Snapshot(1, "a", 1, None, 0, 1), Snapshot(2, "a", 2, None, 0, 2))
    with pytest.raises(ValueError, match="two of them have one name"):
        encode(attrs.evolve(SMALL, snapshots=twice, next_snapshot_id=3), None)
    leaving = (attrs.evolve(twice[0], deleting=True), twice[1])
    superblock = attrs.evolve(SMALL, snapshots=leaving, next_snapshot_id=3)
    assert decode(encode(superblock, None), "sb/9") == superblock


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"size": 1, "size": 2}',
        b'{"size": NaN}',
        b"[" * 60_000,
        b'{"size": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_is_refused(text):
    """
    Nor what JSON leaves to the reader: a field twice, numbers that are none.
    """
    with pytest.raises(Corrupt, match="sb/9: it is not JSON: "):
        decode(encoded_json(text), "sb/9")


@pytest.mark.parametrize("text", [b"[]", b"5", b'"x"', b"null"])
def test_json_that_is_no_object_is_refused(text):
    """
    Every one is JSON.
    """
    with pytest.raises(Corrupt, match="expected an object"):
        decode(encoded_json(text), "sb/9")


def test_every_missing_field_is_named():
    """
    Only fields of later versions may be absent.
    """
    for field in json_of(SMALL):
        fields = json_of(SMALL)
        del fields[field]
        with pytest.raises(Corrupt, match=f"sb/9: the fields {field} are missing"):
            decode(encoded_json(fields), "sb/9")


@pytest.mark.parametrize(
    "changes",
    [{"size": 5}, {"state": "ajar"}, {"epoch": -1}, {"volume": b"short"}, {"extra": {"size": 1}}],
)
def test_what_nobody_could_read_is_not_made(changes):
    """
    A mistake of the caller, told before it is stored under a name that is never free again.
    """
    with pytest.raises(ValueError, match="superblock|header|sealing"):
        encode(attrs.evolve(SMALL, **changes), None)


@pytest.mark.parametrize("name", ["a", "2024-01-01T00:00:00", "A_b.c-d", "x" * 100])
def test_a_snapshot_name_is_itself(name):
    """
    What people and programs call snapshots.
    """
    assert check_snapshot_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, "a@b", "a b", "a/b", "ä", "a\n"])
def test_a_snapshot_name_that_would_not_do_is_refused(name):
    """
    ``volume@snapshot`` is how a snapshot is spelled in full.
    """
    with pytest.raises(BadValue, match=r"snapshot name: got '.*', expected 1 to 100 of A-Z"):
        check_snapshot_name(name)


def test_wrapped_keys_are_not_shown():
    """
    They are of use to who guesses passphrases.
    """
    assert WRAP["wrapped"] not in repr(FULL)
    assert FULL.ancestors[0].wrap["wrapped"] not in repr(FULL)
