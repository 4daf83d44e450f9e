"""
A reader of volumes, written from docs/reference/volume-format.md alone.

It shares no line with the program: where both read the same bytes differently, one of them
is wrong, or the page is.
"""

from __future__ import annotations

import json
import struct
from hmac import digest

import attrs
import google_crc32c
import lz4.block
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECTOR = 512
FRAME = 65536

#: Types of objects.
DATA, FENCE, MOVED, CHECKPOINT, SUPERBLOCK = range(1, 6)
#: Kinds of values and extents.
HOLE, ZERO, FILLED = range(1, 4)
#: Kinds of slices.
IMAGE, CHANGES, LEAF, TABLE, ROOT = range(1, 6)

_HEADER = struct.Struct("<8sHBBI16s16sQQQQIIQQ16sII")


class Keys:
    """
    The keys of a volume's objects.

    Args:
        key: the volume key, 32 bytes.
        uuid: of the volume, 16 bytes.
    """

    def __init__(self, key, uuid):
        self.key = key
        self._uuid = uuid

    def of(self, kind, epoch, position, number, writer):
        """Of one object: the key that encrypts, and the one that signs."""
        if kind == CHECKPOINT:
            position, writer = 0, bytes(16)
        info = (
            b"nbdgateway object" + self._uuid + struct.pack("<BQQQ", kind, epoch, position, number)
        )
        both = HKDF(SHA256(), 64, None, info + writer).derive(self.key)
        return AESGCM(both[:32]), both[32:]


def unwrapped(wrap, secret):
    """A volume key, from a wrapped key of method ``key-file`` or ``volume-key``."""
    salt, wrapped = bytes.fromhex(wrap["salt"]), bytes.fromhex(wrap["wrapped"])
    info = f"nbdgateway wrap {wrap['method']}".encode()
    key = HKDF(SHA256(), 32, salt, info).derive(secret)
    about = {name: value for name, value in wrap.items() if name != "wrapped"}
    data = json.dumps(about, sort_keys=True, separators=(",", ":")).encode()
    return AESGCM(key).decrypt(bytes(12), wrapped, data)


@attrs.frozen
class Object:
    """
    One object, checked.

    Attributes:
        kind: ``DATA`` and so on.
        extents: of (first sector, kind, sectors, first sector of the plain data).
        plain: all frames.
    """

    kind: int
    volume: bytes
    writer: bytes
    epoch: int
    position: int
    number: int
    extents: list
    plain: bytes


def read_object(body, keys):
    """
    Args:
        keys: `Keys`, or None for a volume without encryption.

    Raises:
        AssertionError: it is not what the page allows.
    """
    (
        magic, version, kind, flags, length, volume, writer, epoch, position, number, _ms,
        n_extents, n_frames, plain_length, stored_length, tag, unsettled, crc,
    ) = _HEADER.unpack_from(body)  # fmt: skip
    assert (magic, version, flags) == (b"nbdgwvol", 1, keys is not None)
    assert 0 <= unsettled <= (7 if kind == DATA else 0)
    assert length == 128 + 16 * n_extents + 8 * n_frames <= 65536
    assert len(body) == length + stored_length
    head = bytearray(body[:length])
    head[124:128] = b""
    assert google_crc32c.value(bytes(head)) == crc
    cipher = None
    if keys is None:
        assert tag == bytes(16)
    else:
        cipher, second = keys.of(kind, epoch, position, number, writer)
        signed = bytearray(body if kind == SUPERBLOCK else body[:length])
        signed[104:120], signed[124:128] = bytes(16), bytes(4)
        assert digest(second, bytes(signed), "sha256")[:16] == tag
    if kind == CHECKPOINT:
        assert not n_extents and not n_frames
        return Object(kind, volume, writer, epoch, position, number, [], b"")
    extents = [_extent(*words) for words in struct.iter_unpack("<QQ", body[128:][: 16 * n_extents])]
    assert all(one[0] + one[2] <= two[0] for one, two in zip(extents, extents[1:], strict=False))
    plain, at = [], length
    for number_of_frame, (word,) in enumerate(
        struct.iter_unpack("<Q", body[128 + 16 * n_extents : length])
    ):
        size, codec, crc = word & 0xFFFFFF, word >> 24 & 0xFF, word >> 32
        stored = body[at : at + size]
        assert google_crc32c.value(stored) == crc
        if cipher is not None and kind != SUPERBLOCK:
            stored = cipher.decrypt(number_of_frame.to_bytes(12, "little"), stored, None)
        left = min(FRAME, plain_length - number_of_frame * FRAME)
        plain.append(_unpacked(stored, codec, left))
        at += size
    assert at == len(body)
    whole = b"".join(plain)
    return Object(kind, volume, writer, epoch, position, number, extents, whole)


def read_slice(body, offset, stored_length, kind, keys):
    """The plain bytes of a slice of a checkpoint object."""
    stored = body[offset : offset + stored_length]
    codec, its_kind, reserved, length, crc = struct.unpack_from("<BBHII", stored)
    assert (its_kind, reserved) == (kind, 0), f"slice at {offset}: kind {its_kind}"
    payload = stored[12:]
    assert google_crc32c.value(stored[:8] + payload) == crc
    if keys is not None:
        header = _HEADER.unpack_from(body)
        cipher, _ = keys.of(CHECKPOINT, header[7], 0, header[9], b"")
        payload = cipher.decrypt(offset.to_bytes(12, "little"), payload, stored[:8])
    return _unpacked(payload, codec, length)


def _extent(low, high):
    sector, kind = low & (1 << 48) - 1, low >> 48
    sectors, start = high & (1 << 40) - 1, high >> 40
    assert kind in (HOLE, ZERO, FILLED)
    assert sectors
    return sector, kind, sectors, start


def _unpacked(stored, codec, length):
    if codec == 1:
        plain = zstandard.decompress(stored, max_output_size=length)
    elif codec == 2:
        plain = lz4.block.decompress(stored, uncompressed_size=length)
    else:
        assert codec == 0
        plain = bytes(stored)
    assert len(plain) == length
    return plain


class Place:
    """
    A volume in a store.

    Args:
        objects: bytes by key.
        prefix: of the volume.
        secret: what its key file holds, or the volume key of the clone that names it as an
            ancestor; None without encryption.

    Attributes:
        superblock: of the highest generation, as a dict.
        keys: `Keys` or None.
        secret: as given.
    """

    def __init__(self, objects, prefix, secret=None):
        self.objects = objects
        self.prefix = prefix
        self.secret = secret
        newest = max(self.names("sb"))
        body = objects[newest]
        header = _HEADER.unpack_from(body)
        self.uuid = header[5]
        plain = body[header[4] :]  # never encrypted
        self.superblock = json.loads(plain)
        wraps = self.superblock["wraps"]
        self.keys = Keys(unwrapped(wraps[0], secret), self.uuid) if wraps else None
        found = read_object(body, self.keys)
        assert found.plain == plain
        assert f"{prefix}/sb/{found.position:016x}" == newest

    def names(self, folder):
        """Keys of a folder, sorted."""
        start = f"{self.prefix}/{folder}/"
        return sorted(key for key in self.objects if key.startswith(start))

    def read(self, key):
        """One object of the volume."""
        found = read_object(self.objects[key], self.keys)
        assert found.volume == self.uuid
        return found

    def ancestor(self, number):
        """The `Place` of one that tables name; 1 is the parent."""
        about = self.superblock["ancestors"][number - 1]
        place = Place.__new__(Place)
        place.objects, place.prefix = self.objects, about["prefix"]
        place.uuid = bytes.fromhex(about["uuid"])
        place.keys = None
        if about["wrap"] is not None:
            place.keys = Keys(unwrapped(about["wrap"], self.keys.key), place.uuid)
        place.superblock = place.secret = None
        return place
