"""Keys: derived, wrapped, opened by whom they are for, and seen by nobody else."""

from __future__ import annotations

import base64
import copy
import hmac
import itertools
import json
import pickle
import random
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from backends.volume.keys import (
    KEY,
    NO_WRITER,
    SCRYPT_MEMORY,
    TAG,
    Crypt,
    KeyRefused,
    KeySource,
    ScryptCost,
    Tampered,
    unwrap,
    unwrap_any,
    wrap,
    wrap_with_volume_key,
)
from backends.volume.names import Kind
from gateway.errors import Corrupt, ExportUnavailable
from gateway.settings import BadValue

VOLUME = bytes(range(16))
VOLUME_KEY = bytes(range(100, 132))
FILE = KeySource.from_key_file(bytes(range(32)))
PHRASE = KeySource.from_passphrase("correct horse")
CHEAP = ScryptCost(n=16, r=1, p=1)


def rng(seed=1):
    return random.Random(seed).randbytes


@given(st.integers(0, 2**40), st.binary(max_size=100), st.binary(max_size=20))
def test_a_sealed_piece_opens_in_its_place_alone(index, plain, aad):
    """
    Under its number and with what it was bound to.
    """
    keys = Crypt(VOLUME_KEY, VOLUME).object(Kind.DATA, 1, 2, 3)
    stored = keys.seal(index, plain, aad)
    assert len(stored) == len(plain) + TAG
    assert keys.open(index, stored, aad) == plain
    for arguments in ((index + 1, stored, aad), (index, stored, aad + b"x"), (index, b"x", aad)):
        with pytest.raises(Tampered):
            keys.open(*arguments)


def test_no_two_objects_share_keys():
    """
    Nonces start at 0 in every object: all that keeps them apart is the key.
    """
    identities = itertools.product(
        [Kind.DATA, Kind.FENCE, Kind.MOVED, Kind.SUPERBLOCK],
        [0, 1, 256],
        [0, 1, 256],
        [0, 1, 256],
        [NO_WRITER, VOLUME],
    )
    identities = [*identities, *itertools.product([Kind.CHECKPOINT], [1, 2], [0], [1, 2])]
    volumes = [Crypt(VOLUME_KEY, VOLUME), Crypt(VOLUME_KEY, bytes(16)), Crypt(bytes(32), VOLUME)]
    keys = [volume.object(*identity) for volume in volumes for identity in identities]
    assert len({one.seal(0, bytes(KEY)) for one in keys}) == len(keys)
    assert len({one.tag(b"header") for one in keys}) == len(keys)


def test_a_checkpoints_keys_follow_from_its_name():
    """
    A reference to a slice tells epoch and n, not who wrote it and when.
    """
    crypt = Crypt(VOLUME_KEY, VOLUME)
    sealed = crypt.object(Kind.CHECKPOINT, 1, 99, 2, VOLUME).seal(128, b"slice")
    assert crypt.object(Kind.CHECKPOINT, 1, 0, 2).open(128, sealed) == b"slice"


def test_keys_are_those_of_the_format():
    """
    A volume outlives this program: here they are computed from the format's text alone.
    """
    writer = bytes(range(16, 32))
    identity = b"nbdgateway object" + VOLUME + struct.pack("<BQQQ", 1, 4, 5, 6) + writer
    first_key = hmac.digest(bytes(32), VOLUME_KEY, "sha256")
    cipher_key = hmac.digest(first_key, identity + b"\1", "sha256")
    tag_key = hmac.digest(first_key, cipher_key + identity + b"\2", "sha256")
    keys = Crypt(VOLUME_KEY, VOLUME).object(Kind.DATA, 4, 5, 6, writer)
    assert keys.tag(b"header") == hmac.digest(tag_key, b"header", "sha256")[:16]
    nonce = (7).to_bytes(12, "little")
    assert keys.seal(7, b"data", b"aad") == AESGCM(cipher_key).encrypt(nonce, b"data", b"aad")


@pytest.mark.parametrize("source", [FILE, PHRASE, KeySource.from_volume_key(bytes(32))])
def test_a_wrapped_key_opens_for_its_source_alone(source):
    """
    It survives being written as JSON; other keys and passphrases are all told the same.
    """
    note = json.loads(json.dumps(wrap(VOLUME_KEY, source, rng(), CHEAP)))
    assert unwrap(note, source) == VOLUME_KEY
    texts = set()
    for other in (
        KeySource.from_key_file(bytes(32)),
        KeySource.from_passphrase("correct house"),
        KeySource.from_volume_key(bytes(range(32))),
    ):
        with pytest.raises(KeyRefused) as refused:
            unwrap(note, other)
        texts.add(str(refused.value))
    assert texts == {"wrapped key: the key or passphrase does not open this volume"}
    assert issubclass(KeyRefused, ExportUnavailable)


def test_several_wraps_hold_one_key():
    """
    A new passphrase is one more wrap; the data never learns of it.
    """
    notes = [wrap(VOLUME_KEY, source, rng(), CHEAP) for source in (FILE, PHRASE)]
    assert unwrap_any(notes, FILE) == unwrap_any(notes, PHRASE) == VOLUME_KEY
    with pytest.raises(KeyRefused):
        unwrap_any(notes, KeySource.from_passphrase("x"))
    with pytest.raises(KeyRefused):
        unwrap_any([], FILE)


def test_a_clone_holds_its_ancestors_keys_under_its_own():
    """
    Who opens the clone can read what it shares, and needs no other secret.
    """
    note = wrap_with_volume_key(VOLUME_KEY, bytes(32), rng())
    assert unwrap(note, KeySource.from_volume_key(bytes(32))) == VOLUME_KEY


def test_equal_keys_look_different_each_time_they_are_wrapped():
    """
    Every wrap has a salt of its own, so no nonce meets a wrapping key twice.
    """
    randomness = rng()
    notes = [wrap(VOLUME_KEY, FILE, randomness) for _ in range(10)]
    assert len({note["salt"] for note in notes}) == len({note["wrapped"] for note in notes}) == 10


def test_every_change_to_a_wrap_is_noticed():
    """
    The wrapped key is bound to its salt and its parameters.
    """
    note = wrap(VOLUME_KEY, PHRASE, rng(), CHEAP)
    for field in ("salt", "wrapped"):
        for index, digit in enumerate(note[field]):
            changed = (
                note[field][:index] + ("0" if digit != "0" else "1") + note[field][index + 1 :]
            )
            with pytest.raises(KeyRefused):
                unwrap(note | {field: changed}, PHRASE)
    with pytest.raises(KeyRefused):
        unwrap(note | {"scrypt": {"n": 32, "r": 1, "p": 1}}, PHRASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "rot13"},
        {"salt": "00"},
        {"salt": 5},
        {"wrapped": "zz" * 48},
        {"iterations": 5},
        {"scrypt": None},
        {"scrypt": {"n": 16, "r": 1}},
        {"scrypt": {"n": 15, "r": 1, "p": 1}},
        {"scrypt": {"n": 1, "r": 1, "p": 1}},
        {"scrypt": {"n": 16, "r": -1, "p": 1}},
        {"scrypt": {"n": 16.0, "r": 1, "p": 1}},
        {"scrypt": {"n": 16, "r": True, "p": 1}},
        {"scrypt": {"n": SCRYPT_MEMORY // 128 * 2, "r": 1, "p": 1}},
        {"scrypt": {"n": 16, "r": 2**40, "p": 1}},
        {"scrypt": {"n": 16, "r": 1, "p": 17}},
        {"scrypt": {"n": 1 << 20, "r": 1, "p": 1}},
    ],
)
def test_a_wrap_that_asks_for_too_much_or_is_none_is_refused(changes):
    """
    A superblock comes from the store: it cannot make us set gigabytes aside.
    """
    note = wrap(VOLUME_KEY, PHRASE, rng(), CHEAP) | changes
    with pytest.raises(Corrupt, match=r"^sb/1: .*(got|expected)"):
        unwrap(note, PHRASE, "sb/1")


def test_a_wrap_that_is_no_object_is_refused():
    """
    JSON holds anything.
    """
    with pytest.raises(Corrupt, match="got list, expected an object"):
        unwrap([], FILE)


def test_key_files_come_in_three_forms():
    """
    As random bytes, and as the two ways to print them.
    """
    key = bytes(range(200, 232))
    encoded = base64.b64encode(key)
    forms = [
        key,
        key.hex().encode(),
        key.hex().upper().encode() + b"\n",
        encoded,
        encoded + b"\r\n",
    ]
    note = wrap(VOLUME_KEY, KeySource.from_key_file(key), rng())
    for form in forms:
        assert unwrap(note, KeySource.from_key_file(form)) == VOLUME_KEY


@pytest.mark.parametrize(
    "content",
    [b"", bytes(31), bytes(33), b"0" * 32, b"0" * 63, b"0" * 66, base64.b64encode(bytes(31))],
)
def test_what_is_no_key_is_refused_unquoted(content):
    """
    Half a key in hexadecimal digits is also 32 bytes, and no key.
    """
    with pytest.raises(BadValue, match=rf"got {len(content)} bytes that are no key, expected 32"):
        KeySource.from_key_file(content)


def test_a_passphrase_is_a_line():
    """
    An editor ends it with one; an empty one is none.
    """
    note = wrap(VOLUME_KEY, PHRASE, rng(), CHEAP)
    assert unwrap(note, KeySource.from_passphrase("correct horse\r\n")) == VOLUME_KEY
    with pytest.raises(KeyRefused):
        unwrap(note, KeySource.from_passphrase("correct horse "))
    with pytest.raises(BadValue, match="got an empty one"):
        KeySource.from_passphrase("\n")


def test_secrets_are_never_shown_nor_pickled():
    """
    Not in a repr, a traceback's arguments, or a copy that leaves the process.
    """
    crypt = Crypt(b"S" * 32, VOLUME)
    secrets = [
        crypt,
        crypt.object(Kind.DATA, 1, 2, 3),
        KeySource.from_key_file(b"S" * 32),
        KeySource.from_passphrase("S" * 32),
        KeySource.from_volume_key(b"S" * 32),
    ]
    for secret in secrets:
        assert "SSS" not in repr(secret) + str(secret)
        for leak in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError, match="holds a secret"):
                leak(secret)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Crypt(b"short", VOLUME),
        lambda: Crypt(VOLUME_KEY, b"short"),
        lambda: wrap(b"short", FILE, rng()),
        lambda: KeySource.from_volume_key(b"short"),
    ],
)
def test_keys_have_their_length(make):
    """
    A mistake of the caller, told without the key.
    """
    with pytest.raises(ValueError, match="got .*5.* expected 32"):
        make()
