"""How S3 fails, turned into the kinds of failure that a store may have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import attrs
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from backends.objects.contract import Exists, Garbled, NotFound, Refused, StoreError, Transient
from backends.objects.s3_facts import http_date
from backends.objects.s3_ids import ids_of

#: Longest text of the store that is repeated, in characters.
_TEXT_LIMIT = 300


@attrs.frozen
class Rule:
    """
    What an answer means.

    Attributes:
        kind: the failure that it is for the caller.
        hint: what to look at; empty if the code says it all. ``{region}``
            and ``{skew}`` are filled in.
        stale: the credentials may be out of date; new ones are worth another try.
    """

    kind: type[StoreError]
    hint: str = ""
    stale: bool = False


_KEYS = "check the credentials: profile, credentials_file, or where AWS clients look for them"
_REGION = "the bucket is in region {region}: set region"
_STALE = "the credentials have expired: they are read again for the next request"
_FULL = "the store is full or the quota is used up"

#: By the code in the answer.
BY_CODE: Mapping[str, Rule] = {
    "NoSuchKey": Rule(NotFound),
    "NoSuchBucket": Rule(Refused, "no such bucket: check bucket, endpoint_url and region"),
    "PreconditionFailed": Rule(Exists),
    "ConditionalRequestConflict": Rule(Transient),
    "OperationAborted": Rule(Transient),
    "SlowDown": Rule(Transient),
    "Throttling": Rule(Transient),
    "ThrottlingException": Rule(Transient),
    "RequestLimitExceeded": Rule(Transient),
    "TooManyRequests": Rule(Transient),
    "ServiceUnavailable": Rule(Transient),
    "InternalError": Rule(Transient),
    "RequestTimeout": Rule(Transient),
    # what arrived is not what was sent: the way there is at fault
    "BadDigest": Rule(Transient),
    "IncompleteBody": Rule(Transient),
    "XAmzContentSHA256Mismatch": Rule(Transient),
    "AuthorizationHeaderMalformed": Rule(Refused, _REGION),
    "PermanentRedirect": Rule(Refused, _REGION),
    "TemporaryRedirect": Rule(Transient),
    "IllegalLocationConstraintException": Rule(Refused, _REGION),
    "SignatureDoesNotMatch": Rule(
        Refused, "check the secret key, and that no proxy changes requests on the way"
    ),
    # keys are replaced by replacing the file that holds them
    "InvalidAccessKeyId": Rule(
        Refused, f"the store does not know the access key; {_KEYS}", stale=True
    ),
    "AccessDenied": Rule(
        Refused,
        "check that the policies allow s3:GetObject, s3:PutObject, s3:DeleteObject and"
        " s3:ListBucket, and the KMS key if there is one; without s3:ListBucket a missing object"
        " is refused as well",
    ),
    "AllAccessDisabled": Rule(Refused, "the account or bucket is disabled"),
    "InvalidObjectState": Rule(Refused, "the object is archived: check storage_class"),
    "RequestTimeTooSkewed": Rule(
        Refused, "the clocks of this machine and the store differ by {skew}: set the clock"
    ),
    "ExpiredToken": Rule(Transient, _STALE, stale=True),
    "ExpiredTokenException": Rule(Transient, _STALE, stale=True),
    "TokenRefreshRequired": Rule(Transient, _STALE, stale=True),
    "InsufficientCapacity": Rule(Refused, _FULL),
    "QuotaExceeded": Rule(Refused, _FULL),
    "XMinioStorageFull": Rule(Refused, _FULL),
}

#: By the status, where the code is not known or there is none (HEAD has no body).
BY_STATUS: Mapping[int, Rule] = {
    301: Rule(Refused, _REGION),
    307: Rule(Transient),
    403: BY_CODE["AccessDenied"],
    404: Rule(NotFound),
    408: Rule(Transient),
    409: Rule(Transient),
    412: Rule(Exists),
    429: Rule(Transient),
    501: Rule(Refused, "the store does not know how to do that"),
    507: Rule(Refused, _FULL),
}

_NO_CONDITIONS = Rule(
    Refused,
    "this store has no conditional writes (If-None-Match: *), so it cannot keep two gateways from"
    " writing to one volume",
)

#: By the class of what botocore raises; the first that fits.
BY_CLASS: tuple[tuple[type[Exception], Rule], ...] = (
    (boto.SSLError, Rule(Refused, "TLS failed: check ca_bundle and endpoint_url")),
    (boto.IncompleteReadError, Rule(Garbled, "the answer is shorter than announced")),
    (ResponseParserError, Rule(Transient, "the answer is no answer of S3")),
    (boto.ProxyConnectionError, Rule(Transient, "check proxy")),
    (boto.ConnectionError, Rule(Transient)),
    (boto.HTTPClientError, Rule(Transient)),
    (boto.NoCredentialsError, Rule(Refused, f"there are no credentials; {_KEYS}")),
    (boto.PartialCredentialsError, Rule(Refused, _KEYS)),
    (boto.ProfileNotFound, Rule(Refused, "check profile and credentials_file")),
    (boto.ConfigNotFound, Rule(Refused, "check credentials_file")),
    (boto.ConfigParseError, Rule(Refused, "check credentials_file")),
    # the machine's own service for credentials, STS and SSO come back, or are logged in again
    (boto.CredentialRetrievalError, Rule(Transient, _KEYS, stale=True)),
    (boto.MetadataRetrievalError, Rule(Transient, _KEYS, stale=True)),
    (boto.TokenRetrievalError, Rule(Transient, _KEYS, stale=True)),
    (boto.SSOError, Rule(Transient, f"log in with `aws sso login`; {_KEYS}", stale=True)),
    (boto.NoRegionError, Rule(Refused, "set region")),
    (boto.BotoCoreError, Rule(Refused)),
    (OSError, Rule(Transient)),
)


#: Errors whose own text says more than their class, and holds no secret.
_TELLING = (
    boto.ConnectTimeoutError,
    boto.ReadTimeoutError,
    boto.EndpointConnectionError,
    boto.ConnectionClosedError,
    boto.SSLError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
)


@attrs.frozen
class Asked:
    """
    A request, for a message.

    Attributes:
        verb: such as ``PUT``.
        target: such as ``s3://bucket/key``.
        conditional: sent with ``If-None-Match: *``.
    """

    verb: str
    target: str
    conditional: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


def rule_of(error: Exception, conditional: bool = False) -> Rule:
    """What ``error``, raised by botocore, means; see the tables above."""
    if isinstance(error, boto.ClientError):
        code, status = code_of(error), status_of(error)
        if conditional and (status == 501 or code == "NotImplemented"):
            return _NO_CONDITIONS
        return rule_of_code(code, status)
    return next((rule for kind, rule in BY_CLASS if isinstance(error, kind)), Rule(Refused))


def rule_of_code(code: str, status: int) -> Rule:
    """
    What an answer means.

    Args:
        status: of HTTP; 0 where there is none, as for one key of many.
    """
    if code in BY_CODE:
        return BY_CODE[code]
    if status in BY_STATUS:
        return BY_STATUS[status]
    return Rule(Transient if status >= 500 else Refused)


def failure(error: Exception, asked: Asked, now: float) -> StoreError:
    """
    The failure that ``error`` is for the caller of a store.

    Args:
        error: as botocore raised it.
        now: seconds since 1970, by this machine's clock.

    Returns:
        To be raised. The text names the request, the store's code and
        request id, and what to look at; it holds no secret.
    """
    rule = rule_of(error, asked.conditional)
    if not isinstance(error, boto.ClientError):
        said = type(error).__name__
        # botocore has OSErrors of its own: the one about a proxy quotes the proxy's URL
        of_system = isinstance(error, OSError) and not isinstance(error, boto.BotoCoreError)
        if of_system or isinstance(error, _TELLING):
            said = f"{said}: {_short(str(error))}"
        return rule.kind(_sentence(asked, said, rule.hint))
    hint = rule.hint.format(region=_region_of(error) or "another region", skew=_skew(error, now))
    failed = rule.kind(_sentence(asked, _said(error), hint))
    failed.ids = ids_of(error.response)
    return failed


def code_of(error: boto.ClientError) -> str:
    """The code that the store gave, such as ``SlowDown``; a number where it gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: boto.ClientError) -> int:
    """The status of HTTP; 0 if there is none."""
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def is_stale(error: Exception) -> bool:
    """Whether the credentials should be read again, and the request be sent once more."""
    return rule_of(error).stale


def _sentence(asked: Asked, said: str, hint: str) -> str:
    return f"{asked}: {said}" + (f"; {hint}" if hint else "")


def _said(error: boto.ClientError) -> str:
    """The store's answer: status, code, text and request id."""
    details = error.response.get("Error", {})
    code, status = code_of(error), status_of(error)
    words = [str(status)] if status else []
    if code and code != str(status):
        words.append(code)
    said = " ".join(words) or "an error without a code"
    message = _short(str(details.get("Message") or ""))
    if message:
        said += f' "{message}"'
    ids = ids_of(error.response)
    if "s3_request_id" not in ids:
        return said
    also = f", id 2 {ids['s3_id_2']}" if "s3_id_2" in ids else ""
    return f"{said} (request {ids['s3_request_id']}{also})"


def _region_of(error: boto.ClientError) -> str | None:
    """The region that the store named as the right one."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    named = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    return _short(str(named)) if named else None


def _skew(error: boto.ClientError, now: float) -> str:
    """How far the clocks are apart, by what the store says its clock is."""
    details = error.response.get("Error", {})
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    there = _moment(str(details.get("ServerTime", ""))) or http_date(str(headers.get("date", "")))
    if there is None:
        return "more than the store allows"
    ahead = "ahead" if now > there else "behind"
    return f"{abs(now - there):.0f} seconds (this machine is {ahead})"


def _moment(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= _TEXT_LIMIT else line[: _TEXT_LIMIT - 1] + "…"
