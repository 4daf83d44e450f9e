"""Who signs requests: where credentials come from, when they are read again, what is never told."""

from __future__ import annotations

import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.objects import s3_client
from backends.objects.contract import Refused, StoreError, Transient
from backends.objects.s3 import S3Store
from backends.objects.s3_client import make_client
from backends.objects.s3_settings import S3Settings
from tests.doubles import s3_faults
from tests.doubles.moto_server import (
    ACCESS_KEY,
    SECRET_KEY,
    S3Server,
    aws_environment,
    s3_process,
    s3_server,
)

__all__ = ["aws_environment", "s3_process", "s3_server"]

EXPIRED = s3_faults.refuse("400 Bad Request", "ExpiredToken", "The provided token has expired.")


def keys_file(path: Path, name: str, profile: str = "default") -> str:
    """A file of credentials whose access key is ``name``."""
    path.write_text(f"[{profile}]\naws_access_key_id = {name}\naws_secret_access_key = s\n")
    path.chmod(0o600)
    return str(path)


def signers(server: S3Server) -> list[str]:
    """The access key of each request, oldest first."""
    signatures = [asked.headers.get("authorization", "") for asked in server.faults.asked]
    return [text.partition("Credential=")[2].partition("/")[0] for text in signatures]


def list_with(server: S3Server, **keys: object) -> list[str]:
    store = S3Store(server.settings(**keys))
    store.list("", "")
    store.close()
    return signers(server)


def test_without_more_the_usual_places_are_looked_at(s3_server):
    assert list_with(s3_server) == [ACCESS_KEY]


def test_a_file_of_credentials_counts_before_the_environment(s3_server, tmp_path):
    name = keys_file(tmp_path / "keys", "AKIDOFTHEFILE")
    assert list_with(s3_server, credentials_file=name) == ["AKIDOFTHEFILE"]


def test_a_profile_is_looked_up_in_that_file(s3_server, tmp_path):
    name = keys_file(tmp_path / "keys", "AKIDOFTHERACK", profile="rack")
    assert list_with(s3_server, credentials_file=name, profile="rack") == ["AKIDOFTHERACK"]


def test_a_profile_that_is_not_there_is_refused(s3_server, tmp_path):
    name = keys_file(tmp_path / "keys", "AKID")
    store = S3Store(s3_server.settings(credentials_file=name, profile="none"))
    with pytest.raises(Refused, match="check profile"):
        store.list("", "")


def test_a_file_that_others_can_read_is_refused(s3_server, tmp_path):
    """Also when it was changed after the configuration was checked."""
    name = keys_file(tmp_path / "keys", "AKID")
    store = S3Store(s3_server.settings(credentials_file=name))
    Path(name).chmod(0o644)
    with pytest.raises(Refused, match="0644"):
        store.list("", "")


def test_no_credentials_at_all_are_refused(s3_server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = S3Store(s3_server.settings())
    with pytest.raises(Refused, match="there are no credentials"):
        store.list("", "")


def test_half_of_the_credentials_are_refused(s3_server, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = S3Store(s3_server.settings())
    with pytest.raises(Refused, match="PartialCredentialsError"):
        store.list("", "")


def test_anonymous_requests_are_not_signed(s3_server):
    store = S3Store(s3_server.settings(anonymous=True))
    s3_server.faults.fail(s3_faults.refuse("403 Forbidden", "AccessDenied"), times=None)
    with pytest.raises(Refused):
        store.list("", "")
    assert "authorization" not in s3_server.faults.asked[0].headers


def test_a_role_is_taken_on(s3_server, monkeypatch):
    """STS answers keys of its own, with which the bucket is asked then."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3_server.url)
    arn = "arn:aws:iam::123456789012:role/disks"
    found = list_with(s3_server, role_arn=arn, role_external_id="rack-7")
    assert found[0] == ACCESS_KEY
    assert b"ExternalId=rack-7" in s3_server.faults.asked[0].body
    assert b"RoleSessionName=nbdgateway" in s3_server.faults.asked[0].body
    assert found[1] not in ("", ACCESS_KEY)
    assert s3_server.faults.asked[1].headers["x-amz-security-token"]


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId"])
def test_credentials_out_of_date_are_read_again(s3_server, tmp_path, code):
    """A new file is all that a new key takes; the request is none the wiser."""
    name = keys_file(tmp_path / "keys", "AKIDOFMONDAY")
    store = S3Store(s3_server.settings(credentials_file=name))
    store.list("", "")
    keys_file(tmp_path / "keys", "AKIDOFTUESDAY")
    s3_server.faults.fail(s3_faults.refuse("400 Bad Request", code))
    store.put("k", [b"x"], True)
    store.get("k", 0, 1)
    assert signers(s3_server) == ["AKIDOFMONDAY"] * 2 + ["AKIDOFTUESDAY"] * 2


@pytest.mark.parametrize(("code", "kind"), [("ExpiredToken", Transient), ("AccessDenied", Refused)])
def test_credentials_are_read_again_once(s3_server, code, kind):
    """What stays expired may be renewed in a while; what is denied is not asked again."""
    made = []

    def make(settings: S3Settings):
        made.append(settings)
        return make_client(settings)

    store = S3Store(s3_server.settings(), make=make)
    s3_server.faults.fail(s3_faults.refuse("400 Bad Request", code), times=None)
    with pytest.raises(kind, match=code):
        store.list("", "")
    assert len(made) == s3_server.faults.counts["LIST"] == (2 if kind is Transient else 1)


def test_threads_that_find_the_same_credentials_expired_make_one_new_client(s3_server, tmp_path):
    name = keys_file(tmp_path / "keys", "AKIDOFMONDAY")
    made = []
    together = threading.Barrier(4, timeout=30)

    def make(settings: S3Settings):
        made.append(settings)
        return make_client(settings)

    def monday_is_over(asked, serve):
        if "AKIDOFMONDAY" not in asked.headers["authorization"]:
            return serve()
        together.wait()
        return EXPIRED(asked, serve)

    store = S3Store(s3_server.settings(credentials_file=name), make=make)
    store.list("", "")
    keys_file(tmp_path / "keys", "AKIDOFTUESDAY")
    s3_server.faults.fail(monday_is_over, times=None)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: store.list("", ""), range(4))) == [[]] * 4
    assert len(made) == 2


@pytest.mark.parametrize("anonymous", [True, False])
def test_the_client_is_made_as_the_settings_say(aws_environment, anonymous):
    client = make_client(
        S3Settings(
            bucket="disks",
            region="eu-west-1",
            anonymous=anonymous,
            max_reads=5,
            max_writes=3,
            connect_timeout=1.5,
            read_timeout=2.5,
            dualstack=True,
            fips=True,
            proxy="http://proxy:3128",
            sign_payload=False,
            addressing_style="path",
        )
    )
    config = client.meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.max_pool_connections >= 8
    assert (config.connect_timeout, config.read_timeout) == (1.5, 2.5)
    assert config.proxies == {"http": "http://proxy:3128", "https": "http://proxy:3128"}
    assert config.use_dualstack_endpoint
    assert config.use_fips_endpoint
    assert config.s3["addressing_style"] == "path"
    assert config.s3["payload_signing_enabled"] is False
    client.close()


FAULTS = [
    s3_faults.slow_down,
    s3_faults.reset,
    s3_faults.applied_then_500,
    s3_faults.refuse("404 Not Found", "NoSuchBucket"),
    s3_faults.refuse("412 Precondition Failed", "PreconditionFailed"),
    s3_faults.refuse("301 Moved Permanently", "PermanentRedirect"),
    s3_faults.refuse("403 Forbidden", "SignatureDoesNotMatch"),
    s3_faults.refuse("403 Forbidden", "InvalidAccessKeyId"),
    s3_faults.refuse("403 Forbidden", "AccessDenied"),
    s3_faults.refuse("403 Forbidden", "RequestTimeTooSkewed"),
    s3_faults.refuse("507 Insufficient Storage"),
    s3_faults.refuse("501 Not Implemented", "NotImplemented"),
]


def echo(asked: s3_faults.Asked, serve: object) -> s3_faults.Answer:
    """As S3 does when a token has expired: the answer holds it."""
    token = asked.headers["x-amz-security-token"]
    body = (
        f"<Error><Code>ExpiredToken</Code><Message>no</Message><Token-0>{token}</Token-0></Error>"
    )
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    return s3_faults.Answer("400 Bad Request", headers, body.encode())


def proxy_page(asked: s3_faults.Asked, serve: object) -> s3_faults.Answer:
    """As some proxies do: a page, no XML, that shows what was sent."""
    body = f"<html><br>{asked.headers['x-amz-security-token']}".encode()
    return s3_faults.Answer("200 OK", [("Content-Length", str(len(body)))], body)


@pytest.mark.parametrize("fault", [*FAULTS, echo, proxy_page])
def test_no_failure_and_no_log_tells_a_secret(s3_server, monkeypatch, caplog, fault):
    """Whatever goes wrong, and however much is logged."""
    token = "swordfish-session-token"
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    caplog.set_level(logging.DEBUG)
    store = S3Store(s3_server.settings())
    s3_server.faults.fail(fault, times=None)
    calls = [
        lambda: store.put("k", [b"x"], True),
        lambda: store.list("", ""),
        lambda: store.delete(["a", "b"]),
        store.facts,
    ]
    told = [store.describe(), repr(store), repr(store.__dict__)]
    for call in calls:
        try:
            call()
        except StoreError as error:
            told += [str(error), repr(error), "".join(traceback.format_exception(error))]
    told += [record.getMessage() for record in caplog.records]
    assert "x-amz-security-token" in s3_server.faults.asked[0].headers
    for text in told:
        assert SECRET_KEY not in text
        assert token not in text


def test_a_token_that_cannot_be_sent_is_not_told(s3_server, monkeypatch):
    """Such as one with the end of a line in it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "swordfish\nsession\ntoken")
    store = S3Store(s3_server.settings())
    with pytest.raises(StoreError) as found:
        store.list("", "")
    told = "".join(traceback.format_exception(found.value))
    assert "swordfish" not in told


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-27T19:30:05.000Z",  # in listings
        "2026-11-27T19:30:05Z",
        "Fri, 27 Nov 2026 19:30:05 GMT",  # in headers
        "2026-11-27T19:30:05+00:00",
        "1795807805",  # of no store that we know; botocore knows it
    ],
)
def test_times_of_any_form_are_understood(text):
    """All of them are the same moment."""
    assert s3_client._time(text).timestamp() == 1795807805


def test_a_time_that_is_none_is_refused():
    """As botocore does it, which makes an error of the answer."""
    with pytest.raises(ValueError, match="yesterday"):
        s3_client._time("yesterday")


def test_what_botocore_knows_of_services_is_read_once(aws_environment, monkeypatch):
    """Twelve megabytes, and most of the time that a client takes, are not spent on each disk."""
    settings = S3Settings(bucket="disks", region="us-east-1")
    make_client(settings).close()
    read = []
    monkeypatch.setattr(
        "botocore.loaders.JSONFileLoader.load_file", lambda *args: read.append(args)
    )
    make_client(settings).close()
    assert not read
