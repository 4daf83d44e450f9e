"""Objects in a bucket of S3, or of a store that speaks as S3 does."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from zope.interface import implementer

from backends.objects.contract import (
    PAGE,
    Garbled,
    IBlockingStore,
    Listed,
    NotFound,
    StoreError,
    Transient,
)
from backends.objects.keys import encoded
from backends.objects.s3_body import Body
from backends.objects.s3_checksums import checksum_of
from backends.objects.s3_client import make_client
from backends.objects.s3_facts import Facts, facts_of
from backends.objects.s3_settings import S3Settings
from gateway.info import KIB
from gateway.interfaces import Buffer

T = TypeVar("T")
#: `S3Store.list` hides the type's own name.
List: TypeAlias = "list[Any]"

#: Bytes; larger puts are sent piece by piece and only once the store says that it wants them.
#: One call of `sendall` has to end within the time-out for connecting, however slow the line.
_LARGE = 256 * KIB

#: Keys that a message names; it counts the rest.
_NAMED = 5

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

#: Codes with which stores say that a range starts behind the object's end.
_BEYOND = ("InvalidRange", "416")

#: Codes with which stores say that they do not know DeleteObjects.
_NO_BULK_DELETES = ("NotImplemented", "MissingContentMD5", "MethodNotAllowed", "501", "405")


@implementer(IBlockingStore)
class S3Store:
    """
    A bucket. Each call is one request, but for long listings and stores without bulk deletes.

    Nothing is imported, read or connected before the first call; that is made
    after the process has forked. Any number of threads may call at once.

    Args:
        settings: without problems; see `backends.objects.s3_settings.problems`.
        wall: seconds since 1970.
        make: makes a client with credentials read anew.
    """

    def __init__(
        self,
        settings: S3Settings,
        wall: Callable[[], float] = time.time,
        make: Callable[[S3Settings], Any] = make_client,
    ) -> None:
        self._settings = settings
        self._wall = wall
        self._make = make
        self._lock = threading.Lock()
        self._client: Any = None
        self._single_deletes = False
        self._common: dict[str, str] = {"Bucket": settings.bucket}
        if settings.requester_pays:
            self._common["RequestPayer"] = "requester"
        if settings.expected_bucket_owner is not None:
            self._common["ExpectedBucketOwner"] = settings.expected_bucket_owner
        self._new: dict[str, str] = {}
        if settings.storage_class is not None:
            self._new["StorageClass"] = settings.storage_class
        if settings.sse != "none":
            self._new["ServerSideEncryption"] = settings.sse
        if settings.sse_kms_key_id is not None:
            self._new["SSEKMSKeyId"] = settings.sse_kms_key_id

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        encoded(key)
        arguments: dict[str, Any] = {**self._new, **checksum_of(self._settings.checksum, parts)}
        if if_absent:
            arguments["IfNoneMatch"] = "*"

        def put(client: Any) -> None:
            body = Body(parts)
            data = body if len(body) > _LARGE else body.read()
            client.put_object(Key=key, Body=data, **arguments, **self._common)

        self._ask("PUT", key, put, conditional=if_absent)

    def get(self, key: str, start: int, length: int) -> bytes:
        encoded(key)
        if length == 0:
            self.head(key)
            return b""

        def get(client: Any) -> bytes:
            asked = f"bytes={start}-{start + length - 1}"
            try:
                answer = client.get_object(Key=key, Range=asked, **self._common)
            except Exception as error:
                if _code(error) not in _BEYOND:
                    raise
                return b""
            with answer["Body"]:
                problem = problem_of_range(answer, start, length)
                data = b"" if problem else answer["Body"].read()
            if problem is None and len(data) != answer["ContentLength"]:
                problem = f"got {len(data)} bytes, expected {answer['ContentLength']}, as announced"
            if problem is not None:
                raise Garbled(f"GET {self._target(key)}: {problem}")
            return data

        return self._ask("GET", key, get)

    def head(self, key: str) -> Listed:
        encoded(key)

        def head(client: Any) -> Listed:
            answer = client.head_object(Key=key, **self._common)
            return Listed(key, answer["ContentLength"], answer["LastModified"].timestamp())

        return self._ask("HEAD", key, head)

    def list(self, prefix: str, after: str) -> list[Listed]:
        found: list[Listed] = []
        position: dict[str, str] = {"StartAfter": after} if after else {}

        def page(client: Any) -> Any:
            return client.list_objects_v2(
                Prefix=prefix, MaxKeys=PAGE - len(found), **position, **self._common
            )

        while True:
            answer = self._ask("LIST", prefix, page)
            for item in answer.get("Contents", []):
                listed = Listed(item["Key"], item["Size"], item["LastModified"].timestamp())
                last = found[-1].key if found else after
                if not listed.key.startswith(prefix) or listed.key <= last:
                    raise Garbled(
                        f"LIST {self._target(prefix)}: got {listed.key!r}, expected keys with"
                        f" that prefix in order, behind {last!r}"
                    )
                found.append(listed)
            token = answer.get("NextContinuationToken")
            # a page may be short and yet not the last
            if not answer.get("IsTruncated") or not token or len(found) >= PAGE:
                return found
            position = {"ContinuationToken": token}

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            encoded(key)
        for first in range(0, len(keys), PAGE):
            self._delete(keys[first : first + PAGE])

    def describe(self) -> str:
        where = self._settings.endpoint_url
        at = f" at {where}" if where is not None and "@" not in where else ""
        return f"s3://{self._settings.bucket}{at}"

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def facts(self) -> Facts:
        """
        What the bucket says about itself; "unknown" where it does not, or where asking failed.

        Raises:
            Transient, Refused: the store cannot be asked at all.
        """
        return self._ask("FACTS", "", lambda client: facts_of(client, self._common, self._wall))

    def _delete(self, keys: Sequence[str]) -> None:
        if len(keys) > 1 and not self._single_deletes:
            errors = self._delete_together(keys)
            if errors is not None:
                self._raise_for(errors)
                return
            self._single_deletes = True
        for key in keys:

            def delete(client: Any, key: str = key) -> None:
                client.delete_object(Key=key, **self._common)

            try:
                self._ask("DELETE", key, delete)
            except NotFound:
                pass  # some stores say so

    def _delete_together(self, keys: Sequence[str]) -> List | None:
        """The keys that were not deleted, with why; None if the store has no such request."""
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

        def delete(client: Any) -> List | None:
            try:
                answer = client.delete_objects(Delete=wanted, **self._common)
            except Exception as error:
                if _code(error) not in _NO_BULK_DELETES:
                    raise
                return None
            errors: List = answer.get("Errors", [])
            return errors

        return self._ask("DELETE", f"{keys[0]} and {len(keys) - 1} more", delete)

    def _raise_for(self, errors: List) -> None:
        """Fail if any key was not deleted, naming them; the gravest failure counts."""
        from backends.objects.s3_failures import rule_of_code

        found = [(rule_of_code(error.get("Code", ""), 0), error) for error in errors]
        found = [(rule, error) for rule, error in found if rule.kind is not NotFound]
        if not found:
            return
        found.sort(key=lambda pair: pair[0].kind is Transient)
        rule, first = found[0]
        named = ", ".join(error.get("Key", "?") for _, error in found[:_NAMED])
        if len(found) > _NAMED:
            named += f" and {len(found) - _NAMED} more"
        hint = f"; {rule.hint}" if rule.hint else ""
        raise rule.kind(f"DELETE {self._target(named)}: {first.get('Code')}{hint}")

    def _ask(
        self, verb: str, key: str, request: Callable[[Any], T], conditional: bool = False
    ) -> T:
        """
        Make a request; once more with new credentials if the old ones are out of date.

        Raises:
            StoreError: whatever happens.
        """
        client = None
        try:
            client = self._current()
            return request(client)
        except StoreError:
            raise
        except Exception as error:
            # not at the top: botocore comes with the first client
            from backends.objects.s3_failures import Asked, failure, is_stale

            asked = Asked(verb, self._target(key), conditional)
            if client is None or not is_stale(error):
                raise failure(error, asked, self._wall()) from None
        try:
            return request(self._renewed(client))
        except StoreError:
            raise
        except Exception as error:
            raise failure(error, asked, self._wall()) from None

    def _current(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make(self._settings)
            return self._client

    def _renewed(self, old: Any) -> Any:
        """A client made after ``old``; others that still use that one are left alone."""
        with self._lock:
            if self._client is old:
                self._client = self._make(self._settings)
        return self._current()

    def _target(self, key: str) -> str:
        return f"s3://{self._settings.bucket}/{key}"


def problem_of_range(answer: Mapping[str, Any], start: int, length: int) -> str | None:
    """
    What is wrong with an answer to a ranged get; None if it holds what was asked for.

    Args:
        answer: of ``get_object``, its body not read.
        start, length: bytes that were asked for, at least one.

    Source: RFC 9110, sections 14.4 and 15.3.7.
    """
    said = answer.get("ContentRange")
    size = answer["ContentLength"]
    if said is None:
        if start == 0 and size <= length:
            return None  # the whole object, and no more than was asked for
        return (
            f"got the whole object of {size} bytes, expected {length} from {start}: the store"
            " ignores Range"
        )
    match = _CONTENT_RANGE.fullmatch(said)
    if match is None:
        return f"got Content-Range {said!r}, expected bytes FIRST-LAST/SIZE"
    first, last, total = int(match[1]), int(match[2]), int(match[3])
    if first != start or last != min(start + length, total) - 1 or size != last - first + 1:
        return f"got Content-Range {said!r} and {size} bytes, expected {length} from {start}"
    return None


def _code(error: Exception) -> str:
    """The code of the store's answer; empty if ``error`` is none."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""
