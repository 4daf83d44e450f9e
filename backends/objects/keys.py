"""Which keys a store takes: those that every kind of store can hold, and hold apart."""

from __future__ import annotations

from backends.objects.contract import Refused

#: Bytes of UTF-8; the limit of S3.
LONGEST = 1024


def encoded(key: str) -> bytes:
    """
    Returns:
        The key as UTF-8.

    Raises:
        Refused: it is empty, too long, not UTF-8, or has a segment that is
            empty, ``.`` or ``..``, or one that holds NUL.
    """
    try:
        found = key.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"key {key!r}: got {error.reason}, expected UTF-8") from error
    if not 0 < len(found) <= LONGEST:
        raise Refused(f"key {key!r}: got {len(found)} bytes, expected 1 to {LONGEST}")
    for segment in key.split("/"):
        if segment in ("", ".", "..") or "\0" in segment:
            raise Refused(
                f"key {key!r}: got a segment {segment!r}, expected no empty one, none of"
                " '.' and '..', and no NUL"
            )
    return found
