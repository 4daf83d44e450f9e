"""What a put carries for the store to check the bytes that arrived."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence

import google_crc32c

from gateway.interfaces import Buffer


def checksum_of(name: str, parts: Sequence[Buffer]) -> dict[str, str]:
    """
    The checksum of the joined ``parts``, as an argument of botocore's ``put_object``.

    It goes into a header. botocore's own way is a trailer behind chunks of a
    kind that few stores but AWS can read.

    Args:
        name: one of `backends.objects.s3_settings.CHECKSUMS`.
    """
    if name == "none":
        return {}
    argument, digest = _KINDS[name]
    return {argument: base64.b64encode(digest(parts)).decode()}


def content_md5(body: bytes) -> str:
    """The value of a ``Content-MD5`` header, RFC 1864."""
    return base64.b64encode(_md5([body])).decode()


def _crc32c(parts: Sequence[Buffer]) -> bytes:
    value = 0
    for part in parts:
        # the C extension takes bytes alone
        value = google_crc32c.extend(value, part if isinstance(part, bytes) else bytes(part))
    return value.to_bytes(4, "big")


def _crc32(parts: Sequence[Buffer]) -> bytes:
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value.to_bytes(4, "big")


def _md5(parts: Sequence[Buffer]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.digest()


_KINDS: Mapping[str, tuple[str, Callable[[Sequence[Buffer]], bytes]]] = {
    "crc32c": ("ChecksumCRC32C", _crc32c),
    "crc32": ("ChecksumCRC32", _crc32),
    "md5": ("ContentMD5", _md5),
}
