"""URLs of stores and volumes, as keys of a configuration section; none holds a secret."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import SplitResult, parse_qsl, urlsplit

from gateway.settings import BadValue, check_public, did_you_mean


def split(url: str, schemes: Collection[str]) -> SplitResult:
    """
    The parts of a URL without user and password.

    Raises:
        BadValue: it is none; nothing is quoted that may be a secret.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises for what is no number
    except ValueError:
        raise BadValue("a URL such as s3://bucket/folder/volume") from None
    if "@" in parts.netloc:
        raise BadValue("a URL without user and password: keys and credentials come from files")
    if parts.scheme not in schemes:
        raise BadValue(f"a URL that starts with {' or '.join(f'{one}://' for one in schemes)}")
    if parts.fragment or "#" in url:
        raise BadValue("a URL without #")
    return parts


def query(parts: SplitResult, known: Collection[str]) -> dict[str, str]:
    """
    The further keys behind ``?``.

    Args:
        known: names of keys that may stand there.

    Raises:
        BadValue: others do.
    """
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise BadValue("KEY=VALUE&KEY=VALUE behind the question mark") from None
    for key, value in pairs:
        check_public(key)
        if key not in known:
            raise BadValue(f"no {key[:40]!r} behind the question mark{did_you_mean(key, [*known])}")
        if key in found:
            raise BadValue(f"{key} once")
        found[key] = value
    return found
