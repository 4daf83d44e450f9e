"""What a bucket says about itself, beside the objects in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

#: What is said where the store does not tell, or may not be asked.
UNKNOWN = "unknown"


@attrs.frozen
class Facts:
    """
    What a volume's operator should know.

    Attributes:
        versioning: ``off``, ``enabled``, ``suspended`` or ``unknown``. In all
            but the first, what is deleted may go on being kept and paid for.
        object_lock: ``off``, ``on`` or ``unknown``.
        skew: seconds that this machine's clock is ahead of the store's, to
            about one; None if the store does not tell its time.
    """

    versioning: str = UNKNOWN
    object_lock: str = UNKNOWN
    skew: float | None = None


def facts_of(client: Any, bucket: Mapping[str, str], wall: Callable[[], float]) -> Facts:
    """
    Ask the store, in two requests.

    Args:
        client: of botocore.
        bucket: the arguments that name the bucket.
        wall: seconds since 1970.

    Raises:
        Exception: of botocore, where there was no answer or no such bucket.
    """
    owner = {key: value for key, value in bucket.items() if key != "RequestPayer"}
    before = wall()
    versioning = _answer(client.get_bucket_versioning, owner)
    skew = _skew(versioning, (before + wall()) / 2)
    lock = _answer(client.get_object_lock_configuration, owner)
    return Facts(_versioning(versioning), _object_lock(lock), skew)


def http_date(value: str) -> float | None:
    """Seconds since 1970 of a ``Date`` header; None if it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError):
        return None


def _answer(ask: Callable[..., Any], arguments: Mapping[str, str]) -> Mapping[str, Any]:
    """The store's answer, a refusal included."""
    try:
        answer: Mapping[str, Any] = ask(**arguments)
    except Exception as error:
        refusal = getattr(error, "response", None)
        if not isinstance(refusal, dict) or not _may_be_ignored(refusal):
            raise
        return refusal
    return answer


def _may_be_ignored(refusal: Mapping[str, Any]) -> bool:
    """Whether it is this question alone that was refused; else every other would be as well."""
    code = refusal.get("Error", {}).get("Code")
    status = refusal.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return (
        code == "AccessDenied" or status in (405, 501) or (status == 404 and code != "NoSuchBucket")
    )


def _versioning(answer: Mapping[str, Any]) -> str:
    if "Error" in answer:
        return UNKNOWN
    return str(answer.get("Status", "Off")).lower()


def _object_lock(answer: Mapping[str, Any]) -> str:
    if "Error" in answer:
        missing = answer["Error"].get("Code") == "ObjectLockConfigurationNotFoundError"
        return "off" if missing else UNKNOWN
    enabled = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled")
    return "on" if enabled == "Enabled" else "off"


def _skew(answer: Mapping[str, Any], now: float) -> float | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    there = http_date(str(headers.get("date", "")))
    return None if there is None else now - there
