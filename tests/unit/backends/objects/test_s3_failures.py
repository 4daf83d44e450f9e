"""What each failure of S3 means, row by row, and what its text says."""

from __future__ import annotations

import pytest
from botocore import exceptions as boto

from backends.objects import s3_failures
from backends.objects.contract import Exists, Garbled, NotFound, Refused, StoreError, Transient
from backends.objects.s3_failures import Asked, failure, is_stale, rule_of_code

PUT = Asked("PUT", "s3://disks/log/1", conditional=True)
GET = Asked("GET", "s3://disks/log/1")
NOON = 1_700_000_000.0


def answer(code: str, status: int, headers: dict[str, str] | None = None, **error: str):
    """What botocore raises for an answer of the store."""
    return boto.ClientError(
        {
            "Error": {"Code": code, **error},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "4442587FB7D0A2F9",
                "HTTPHeaders": headers or {},
            },
        },
        "AnyOperation",
    )


def of(error: Exception, asked: Asked = GET) -> StoreError:
    return failure(error, asked, NOON)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, NotFound),
        ("404", 404, NotFound),
        ("NoSuchBucket", 404, Refused),
        ("PreconditionFailed", 412, Exists),
        ("412", 412, Exists),
        ("ConditionalRequestConflict", 409, Transient),
        ("OperationAborted", 409, Transient),
        ("409", 409, Transient),
        ("SlowDown", 503, Transient),
        ("ServiceUnavailable", 503, Transient),
        ("InternalError", 500, Transient),
        ("500", 500, Transient),
        ("502", 502, Transient),
        ("503", 503, Transient),
        ("504", 504, Transient),
        ("RequestTimeout", 400, Transient),
        ("408", 408, Transient),
        ("TooManyRequests", 429, Transient),
        ("429", 429, Transient),
        ("Throttling", 400, Transient),
        ("ThrottlingException", 400, Transient),
        ("RequestLimitExceeded", 503, Transient),
        ("BadDigest", 400, Transient),
        ("IncompleteBody", 400, Transient),
        ("XAmzContentSHA256Mismatch", 400, Transient),
        ("TemporaryRedirect", 307, Transient),
        ("PermanentRedirect", 301, Refused),
        ("301", 301, Refused),
        ("AuthorizationHeaderMalformed", 400, Refused),
        ("IllegalLocationConstraintException", 400, Refused),
        ("SignatureDoesNotMatch", 403, Refused),
        ("InvalidAccessKeyId", 403, Refused),
        ("AccessDenied", 403, Refused),
        ("403", 403, Refused),
        ("AllAccessDisabled", 403, Refused),
        ("InvalidObjectState", 403, Refused),
        ("RequestTimeTooSkewed", 403, Refused),
        ("ExpiredToken", 400, Transient),
        ("ExpiredTokenException", 403, Transient),
        ("TokenRefreshRequired", 400, Transient),
        ("InsufficientCapacity", 507, Refused),
        ("QuotaExceeded", 403, Refused),
        ("XMinioStorageFull", 507, Refused),
        ("507", 507, Refused),
        ("NotImplemented", 501, Refused),
        ("InvalidArgument", 400, Refused),
        ("NeverHeardOf", 418, Refused),
        ("NeverHeardOf", 599, Transient),
    ],
)
def test_an_answer_is_of_a_kind(code, status, kind):
    """A code counts before a status; what neither names is refused below 500."""
    found = of(answer(code, status))
    assert type(found) is kind
    assert str(found).startswith(f"GET s3://disks/log/1: {status}")
    assert code in str(found)
    assert "(request 4442587FB7D0A2F9)" in str(found)


def test_every_row_has_a_text():
    """No hint has a gap that nobody fills."""
    for code in s3_failures.BY_CODE:
        assert "{" not in str(of(answer(code, 400)))
    for status in s3_failures.BY_STATUS:
        assert "{" not in str(of(answer(str(status), status)))


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (boto.EndpointConnectionError(endpoint_url="https://s3"), Transient, "https://s3"),
        (boto.ConnectTimeoutError(endpoint_url="https://s3"), Transient, "ConnectTimeout"),
        (boto.ReadTimeoutError(endpoint_url="https://s3"), Transient, "ReadTimeout"),
        (boto.ConnectionClosedError(endpoint_url="https://s3"), Transient, "closed"),
        (boto.ProxyConnectionError(proxy_url="http://a:b@proxy"), Transient, "check proxy"),
        (boto.HTTPClientError(error="anything"), Transient, "HTTPClientError"),
        (boto.ResponseStreamingError(error="cut"), Transient, "cut"),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), Garbled, "shorter"),
        (boto.SSLError(endpoint_url="https://s3", error="self-signed"), Refused, "ca_bundle"),
        (boto.NoCredentialsError(), Refused, "no credentials"),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), Refused, "credentials"),
        (boto.ProfileNotFound(profile="p"), Refused, "check profile"),
        (boto.ConfigNotFound(path="/etc/keys"), Refused, "credentials_file"),
        (boto.ConfigParseError(path="/etc/keys"), Refused, "credentials_file"),
        (boto.CredentialRetrievalError(provider="iam", error_msg="x"), Transient, "credentials"),
        (boto.MetadataRetrievalError(error_msg="x"), Transient, "credentials"),
        (boto.TokenRetrievalError(provider="sso", error_msg="x"), Transient, "credentials"),
        (boto.UnauthorizedSSOTokenError(), Transient, "aws sso login"),
        (boto.NoRegionError(), Refused, "set region"),
        (boto.ParamValidationError(report="x"), Refused, "ParamValidationError"),
        (ConnectionResetError(104, "reset"), Transient, "reset"),
    ],
)
def test_no_answer_is_of_a_kind(error, kind, word):
    """What botocore raises without an answer: the way there, credentials, itself."""
    found = of(error)
    assert type(found) is kind
    assert str(found).startswith("GET s3://disks/log/1: ")
    assert word in str(found)
    assert "a:b" not in str(found)


@pytest.mark.parametrize("status", [400, 501])
def test_a_store_without_conditional_writes_is_named_so(status):
    """Only where a condition was asked for."""
    found = of(answer("NotImplemented", status), PUT)
    assert type(found) is Refused
    assert "no conditional writes" in str(found)
    assert "no conditional writes" not in str(of(answer("NotImplemented", status), GET))


def test_the_region_that_the_store_named_is_told():
    headers = {"x-amz-bucket-region": "eu-north-1"}
    assert "region eu-north-1: set region" in str(of(answer("301", 301, headers)))
    malformed = answer("AuthorizationHeaderMalformed", 400, Region="garage")
    assert "region garage: set region" in str(of(malformed))
    assert "in region another region" in str(of(answer("PermanentRedirect", 301)))


@pytest.mark.parametrize(
    ("headers", "details", "said"),
    [
        ({}, {"ServerTime": "2023-11-14T22:30:20Z"}, "1020 seconds (this machine is behind)"),
        ({"date": "Tue, 14 Nov 2023 21:13:20 GMT"}, {}, "3600 seconds (this machine is ahead)"),
        ({"date": "yesterday"}, {"ServerTime": "noon"}, "more than the store allows"),
    ],
)
def test_clocks_that_differ_are_measured(headers, details, said):
    found = of(answer("RequestTimeTooSkewed", 403, headers, **details))
    assert f"differ by {said}: set the clock" in str(found)


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidAccessKeyId"]
)
def test_credentials_may_be_out_of_date(code):
    assert is_stale(answer(code, 400))


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "SlowDown"])
def test_other_answers_do_not_ask_for_new_credentials(code):
    assert not is_stale(answer(code, 403))


def test_one_key_of_many_has_a_code_and_no_status():
    assert rule_of_code("InternalError", 0).kind is Transient
    assert rule_of_code("AccessDenied", 0).kind is Refused


def test_the_stores_text_is_repeated_in_one_short_line():
    found = str(of(answer("InternalError", 500, Message="We\nencountered " + "x" * 5000)))
    assert '"We encountered xxx' in found
    assert "\n" not in found
    assert len(found) < 500


def test_an_answer_without_a_text_has_none():
    assert '"' not in str(of(answer("UnknownError", 500, Message=None)))


def test_only_the_stores_message_is_repeated():
    """An answer may echo what was sent, such as the session token."""
    error = answer("ExpiredToken", 400, Message="expired", **{"Token-0": "swordfish"})
    assert "swordfish" not in str(of(error)) + repr(of(error))
