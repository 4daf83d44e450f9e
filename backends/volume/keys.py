"""
The keys of an encrypted volume: one per object, all from one that is kept wrapped.

A volume has one random key of 32 bytes. It encrypts nothing itself: every
object gets keys of its own by HKDF-SHA256 (RFC 5869), bound to the volume, the
writer and the object's type, epoch, position and number. So the pieces of an
object can be numbered 0, 1, 2... and the number be the nonce of AES-256-GCM
(NIST SP 800-38D), which must never see a nonce twice under one key.

That holds because no identity ever stands for two contents. An epoch belongs
to the one writer whose superblock announced it, and a writer puts one content
under a name (decision 0012). Should a store give one epoch to two writers
against its word, the writer's uuid, random for each attachment, still keeps
their keys apart. Checkpoints alone are without it: a reference to a slice
names its object by epoch and n, and its key must follow from that.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from backends.volume.names import Kind
from gateway.errors import Corrupt, ExportUnavailable
from gateway.interfaces import Buffer
from gateway.settings import BadValue

#: Bytes of a key, and what encryption adds to every piece.
KEY = 32
TAG = 16

#: The writer of objects whose key does not depend on it.
NO_WRITER = bytes(16)

_NONCE = 12
_SALT = 16


class KeyRefused(ExportUnavailable):
    """The key or passphrase that was given does not open the volume."""


class Tampered(Exception):
    """A sealed piece is not what was sealed, or was sealed under another key."""


class _Secret:
    """Never in a pickle."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds a secret and is not pickled")


@attrs.frozen(eq=False)
class ObjectCrypt(_Secret):
    """The keys of one object; safe to use from several threads."""

    _cipher: AESGCM = attrs.field(repr=False)
    _tag_key: bytes = attrs.field(repr=False)

    def seal(self, index: int, plain: Buffer, aad: bytes = b"") -> bytes:
        """
        Args:
            index: the nonce; different for every piece of the object.

        Returns:
            The encrypted bytes, `TAG` longer than ``plain``.
        """
        return self._cipher.encrypt(index.to_bytes(_NONCE, "little"), plain, aad)

    def open(self, index: int, stored: Buffer, aad: bytes = b"") -> bytes:
        """
        Raises:
            Tampered: not what `seal` made of these arguments under this key.
        """
        try:
            return self._cipher.decrypt(index.to_bytes(_NONCE, "little"), stored, aad)
        except (InvalidTag, ValueError):
            raise Tampered("it fails its authentication") from None

    def tag(self, data: Buffer) -> bytes:
        """16 bytes that only who has the key can compute: HMAC-SHA256, cut."""
        return hmac.digest(self._tag_key, data, "sha256")[:TAG]


class Crypt(_Secret):
    """
    The keys of one volume's objects.

    Args:
        volume_key: 32 random bytes.
        volume_uuid: 16 bytes.
    """

    __slots__ = ("_derived", "_key", "volume")

    def __init__(self, volume_key: bytes, volume_uuid: bytes) -> None:
        if len(volume_key) != KEY or len(volume_uuid) != 16:
            raise ValueError(
                f"got a volume key of {len(volume_key)} bytes and a uuid of "
                f"{len(volume_uuid)}, expected {KEY} and 16"
            )
        self._key = volume_key
        self.volume = volume_uuid
        # Frames of one object are opened one by one; its keys are derived once.
        self._derived = lru_cache(maxsize=64)(self._derive)

    def as_source(self) -> KeySource:
        """The volume's key as what opens the keys of its ancestors."""
        return KeySource.from_volume_key(self._key)

    def object(
        self, kind: int, epoch: int, position: int, number: int, writer: bytes = NO_WRITER
    ) -> ObjectCrypt:
        """
        The keys of the object of that identity; as in its header.

        For checkpoints ``position`` and ``writer`` make no difference: epoch
        and number alone name them.
        """
        if kind == Kind.CHECKPOINT:
            position, writer = 0, NO_WRITER
        return self._derived(kind, epoch, position, number, writer)

    def _derive(
        self, kind: int, epoch: int, position: int, number: int, writer: bytes
    ) -> ObjectCrypt:
        info = b"".join(
            (
                b"nbdgateway object",
                self.volume,
                kind.to_bytes(1, "little"),
                epoch.to_bytes(8, "little"),
                position.to_bytes(8, "little"),
                number.to_bytes(8, "little"),
                writer,
            )
        )
        keys = HKDF(SHA256(), 2 * KEY, None, info).derive(self._key)
        return ObjectCrypt(AESGCM(keys[:KEY]), keys[KEY:])


@attrs.frozen(eq=False)
class KeySource(_Secret):
    """
    What opens a wrapped key.

    Attributes:
        method: ``key-file``, ``passphrase`` or ``volume-key``.
    """

    method: str
    _secret: bytes = attrs.field(repr=False)

    @classmethod
    def from_key_file(cls, content: bytes) -> KeySource:
        """
        The key in a file: 32 raw bytes, 64 hexadecimal digits, or base64 of 32 bytes.

        White space around digits and base64 does not count.

        Raises:
            BadValue: the content is none of these; the text does not quote it.
        """
        text = content.strip()
        key = b""
        if re.fullmatch(rb"[0-9A-Fa-f]{64}", text):
            key = bytes.fromhex(text.decode())
        elif len(content) == KEY and not re.fullmatch(rb"[0-9A-Fa-f]{32}", content):
            key = content
        else:
            with suppress(binascii.Error):
                key = base64.b64decode(text, validate=True)
        if len(key) != KEY:
            raise BadValue(
                f"key file: got {len(content)} bytes that are no key, expected 32 raw bytes, "
                "64 hexadecimal digits, or base64 of 32 bytes"
            )
        return cls("key-file", key)

    @classmethod
    def from_passphrase(cls, text: str) -> KeySource:
        """
        A passphrase; one line end after it does not count.

        Raises:
            BadValue: it is empty.
        """
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise BadValue("passphrase: got an empty one, expected some text")
        return cls("passphrase", text.encode())

    @classmethod
    def from_volume_key(cls, key: bytes) -> KeySource:
        """Another volume's key: what opens the keys of a clone's ancestors."""
        return cls("volume-key", _checked(key))


@attrs.frozen
class ScryptCost:
    """
    What guessing a passphrase costs (RFC 7914).

    Attributes:
        n: rounds, a power of two; with r it sets the memory, 128 * n * r bytes.
        r: block size.
        p: repetitions.
    """

    n: int = 1 << 16
    r: int = 8
    p: int = 2


#: More than this a wrapped key cannot ask of us: bytes of memory, repetitions.
SCRYPT_MEMORY = 256 << 20
SCRYPT_REPETITIONS = 16

_RECOMMENDED_COST = ScryptCost()

#: A wrapped key, as it stands in a superblock.
Wrap: TypeAlias = dict[str, Any]


def wrap(
    volume_key: bytes,
    source: KeySource,
    rng: Callable[[int], bytes],
    cost: ScryptCost = _RECOMMENDED_COST,
) -> Wrap:
    """
    The volume key, encrypted so that ``source`` opens it; a value for JSON.

    Args:
        rng: that many random bytes, as `os.urandom`.
        cost: for a passphrase.
    """
    _checked(volume_key)
    note: Wrap = {"method": source.method, "salt": rng(_SALT).hex()}
    if source.method == "passphrase":
        note["scrypt"] = attrs.asdict(cost)
    wrapped = AESGCM(_wrapping_key(note, source)).encrypt(bytes(_NONCE), volume_key, _bound(note))
    return note | {"wrapped": wrapped.hex()}


def wrap_with_volume_key(
    ancestor_key: bytes, volume_key: bytes, rng: Callable[[int], bytes]
) -> Wrap:
    """An ancestor's key, encrypted so that ``volume_key`` opens it."""
    return wrap(ancestor_key, KeySource.from_volume_key(volume_key), rng)


def unwrap(note: Mapping[str, Any], source: KeySource, where: str = "wrapped key") -> bytes:
    """
    The volume key from what `wrap` returned.

    Raises:
        KeyRefused: ``source`` does not open it.
        Corrupt: ``note`` is no wrapped key, or asks for more than `SCRYPT_MEMORY`.
    """
    check_wrap(note, where)
    if note["method"] == source.method:
        try:
            return AESGCM(_wrapping_key(note, source)).decrypt(
                bytes(_NONCE), bytes.fromhex(note["wrapped"]), _bound(note)
            )
        except InvalidTag:
            pass
    raise KeyRefused(f"{where}: the key or passphrase does not open this volume")


def unwrap_any(
    notes: Iterable[Mapping[str, Any]], source: KeySource, where: str = "wrapped keys"
) -> bytes:
    """
    The volume key from the first of several wraps that ``source`` opens.

    Raises:
        KeyRefused: it opens none.
        Corrupt: as `unwrap`.
    """
    for note in notes:
        try:
            return unwrap(note, source, where)
        except KeyRefused:
            pass
    raise KeyRefused(f"{where}: the key or passphrase does not open this volume")


def check_wrap(note: Any, where: str) -> None:
    """
    Raises:
        Corrupt: ``note`` is not of the form that `wrap` returns.
    """
    if not isinstance(note, Mapping):
        raise Corrupt(f"{where}: got {type(note).__name__}, expected an object")
    method = note.get("method")
    if method not in ("key-file", "passphrase", "volume-key"):
        raise Corrupt(
            f"{where}: method: got {method!r}, expected key-file, passphrase or volume-key"
        )
    fields = {"method", "salt", "wrapped"} | ({"scrypt"} if method == "passphrase" else set())
    if set(note) != fields:
        raise Corrupt(f"{where}: got the fields {sorted(note)}, expected {sorted(fields)}")
    for field, size in (("salt", _SALT), ("wrapped", KEY + TAG)):
        if not isinstance(note[field], str) or not re.fullmatch(
            f"[0-9a-f]{{{2 * size}}}", note[field]
        ):
            raise Corrupt(f"{where}: {field}: expected {2 * size} hexadecimal digits")
    if method == "passphrase":
        _check_cost(note["scrypt"], where)


def _checked(volume_key: bytes) -> bytes:
    if len(volume_key) != KEY:
        raise ValueError(f"volume key: got {len(volume_key)} bytes, expected {KEY}")
    return volume_key


def _check_cost(cost: Any, where: str) -> None:
    if (
        not isinstance(cost, Mapping)
        or set(cost) != {"n", "r", "p"}
        or any(type(value) is not int or value < 1 for value in cost.values())
        or cost["n"] < 2
        or cost["n"] & (cost["n"] - 1)
        or cost["n"].bit_length() > 16 * cost["r"]
    ):
        raise Corrupt(
            f"{where}: scrypt: got {cost!r}, expected n (a power of two below 2 ** (16 r)), r and p"
        )
    if 128 * cost["n"] * cost["r"] > SCRYPT_MEMORY or cost["p"] > SCRYPT_REPETITIONS:
        raise Corrupt(
            f"{where}: scrypt: got {dict(cost)}, expected at most {SCRYPT_MEMORY} bytes of "
            f"memory (128 n r) and p at most {SCRYPT_REPETITIONS}"
        )


def _wrapping_key(note: Mapping[str, Any], source: KeySource) -> bytes:
    salt = bytes.fromhex(note["salt"])
    if source.method == "passphrase":
        cost = note["scrypt"]
        return Scrypt(salt, KEY, cost["n"], cost["r"], cost["p"]).derive(source._secret)
    return HKDF(SHA256(), KEY, salt, b"nbdgateway wrap " + source.method.encode()).derive(
        source._secret
    )


def _bound(note: Mapping[str, Any]) -> bytes:
    """What the wrapped key is bound to: all of its note, canonically."""
    rest = {key: value for key, value in note.items() if key != "wrapped"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
