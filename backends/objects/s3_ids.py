"""What S3 calls a request: its people ask for these two ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.stages import note

#: Characters; what a store sends is not to be trusted with the size of a log.
_LIMIT = 200


def ids_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """
    The ids as fields of the log.

    Args:
        answer: as botocore parsed it: of a success, or ``response`` of a ``ClientError``.

    Returns:
        ``s3_request_id`` and ``s3_id_2``, those that the store sent.
    """
    metadata = answer.get("ResponseMetadata") or {}
    details = answer.get("Error") or {}
    headers = metadata.get("HTTPHeaders") or {}
    found = {
        "s3_request_id": metadata.get("RequestId")
        or headers.get("x-amz-request-id")
        or details.get("RequestId"),
        "s3_id_2": metadata.get("HostId") or headers.get("x-amz-id-2") or details.get("HostId"),
    }
    return {name: _short(str(value)) for name, value in found.items() if value}


def note_ids(parsed: Mapping[str, Any] | None = None, **_: Any) -> None:
    """Whoever finds that a request took long may ask the store's people about it."""
    for name, value in ids_of(parsed or {}).items():
        note(name, value)


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= _LIMIT else line[: _LIMIT - 1] + "…"
