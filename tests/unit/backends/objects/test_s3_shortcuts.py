"""Gets and puts after the model of the first: the same on the wire, and when refused."""

from __future__ import annotations

import re

import pytest

from backends.objects import s3_client
from backends.objects.contract import Exists, NotFound, Refused, Transient
from backends.objects.s3 import S3Store
from tests.doubles import s3_faults
from tests.doubles.moto_server import S3Server, aws_environment, s3_process, s3_server

__all__ = ["aws_environment", "s3_process", "s3_server"]

LARGE = 600_000

#: Differ from request to request, whoever makes it.
OF_ITS_OWN = ("authorization", "x-amz-date", "amz-sdk-invocation-id")


class Watched:
    """A store that tells which calls its client of botocore made from the ground up."""

    def __init__(self, server: S3Server, **keys: object) -> None:
        self.client = None
        self.long = []
        self.store = S3Store(server.settings(**keys), make=self._make)

    def _make(self, settings):
        self.client = s3_client.make_client(settings)
        self.client.meta.events.register("before-parameter-build.s3", self._note)
        return self.client

    def _note(self, model, **_):
        self.long.append(model.name)


def looks(asked: s3_faults.Asked):
    """What may not depend on the way that was taken."""
    headers = {name: value for name, value in asked.headers.items() if name not in OF_ITS_OWN}
    # botocore tells what of it is in use, in any order
    headers["user-agent"] = re.sub(r"m/[A-Za-z,]+ ", "", headers["user-agent"])
    return asked.verb, asked.body, headers


@pytest.fixture
def watched(s3_server):
    watched = Watched(s3_server)
    yield watched
    watched.store.close()


def test_only_the_first_of_a_kind_is_built_from_the_ground_up(watched):
    """Also fails when botocore no longer has what the short way is made of."""
    for number in range(3):
        watched.store.put(f"a/{number}", [b"x"], True)
        watched.store.put(f"b/{number}", [b"x"], False)
        watched.store.put(f"c/{number}", [bytes(LARGE)], False)
        watched.store.get(f"a/{number}", 0, 1)
    assert watched.long == ["PutObject", "PutObject", "PutObject", "GetObject"]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"checksum": "none"},
        {"checksum": "md5", "sign_payload": False},
        {
            "requester_pays": True,
            "expected_bucket_owner": "123456789012",
            "storage_class": "REDUCED_REDUNDANCY",
            "sse": "aws:kms",
            "sse_kms_key_id": "key-1",
            "user_agent": "rack-7",
            "checksum": "crc32",
        },
    ],
)
@pytest.mark.parametrize("size", [0, 9, LARGE])
@pytest.mark.parametrize("if_absent", [True, False])
def test_both_ways_look_the_same_to_the_store(s3_server, keys, size, if_absent):
    """Header for header, but for those of one request."""
    watched = Watched(s3_server, **keys)
    for key in ("k/1", "k/2"):
        watched.store.put(key, [bytes(size)], if_absent)
    if size:
        for key in ("k/1", "k/2"):
            assert watched.store.get(key, 0, LARGE) == bytes(size)
    assert watched.long == ["PutObject", "GetObject"][: 1 + bool(size)]
    look = [looks(asked) for asked in s3_server.faults.asked]
    assert look[0::2] == look[1::2]
    ids = [asked.headers["amz-sdk-invocation-id"] for asked in s3_server.faults.asked]
    assert len(set(ids)) == len(ids)
    watched.store.close()


def test_nothing_is_signed_for_nobody(s3_server):
    watched = Watched(s3_server, anonymous=True)
    for key in ("k/1", "k/2"):
        watched.store.put(key, [b"x"], True)
    first, second = s3_server.faults.asked
    assert looks(first) == looks(second)
    assert "authorization" not in second.headers
    assert watched.long == ["PutObject"]
    watched.store.close()


def test_a_token_of_a_session_is_sent_each_time(s3_server, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-1")
    watched = Watched(s3_server)
    for key in "ab":
        watched.store.put(key, [b"x"], False)
    for asked in s3_server.faults.asked:
        assert asked.headers["x-amz-security-token"] == "token-1"
        assert "x-amz-security-token" in asked.headers["authorization"]
    watched.store.close()


def test_credentials_are_those_of_the_moment(watched, s3_server):
    """Not those with which the model was made: a role's run out every hour."""
    from botocore.credentials import Credentials

    watched.store.put("a", [b"x"], False)
    watched.client._request_signer._credentials = Credentials("AKIDOFNOW", "s")
    watched.store.put("b", [b"x"], False)
    assert "Credential=AKIDOFNOW/" in s3_server.faults.asked[-1].headers["authorization"]


def test_the_short_way_is_refused_in_the_same_words(watched, s3_server):
    """Code, text, request id and hint, as by the client itself."""
    watched.store.put("k", [b"x"], True)
    watched.store.get("k", 0, 1)
    denied = s3_faults.refuse("403 Forbidden", "AccessDenied", "No.", x_amz_request_id="R1")
    s3_server.faults.fail(denied, "PUT", "GET", times=None)
    words = []
    for store in (watched.store, Watched(s3_server).store):
        for ask in (lambda s: s.put("k", [b"x"], True), lambda s: s.get("k", 0, 1)):
            with pytest.raises(Refused) as refused:
                ask(store)
            assert refused.value.ids["s3_request_id"] == "R1"
            words.append(str(refused.value))
    assert words[:2] == words[2:]
    assert watched.long == ["PutObject", "GetObject"]


def test_what_is_there_or_not_is_known_by_the_short_way(watched):
    watched.store.put("k", [b"x"], True)
    watched.store.get("k", 0, 1)
    with pytest.raises(Exists):
        watched.store.put("k", [b"y"], True)
    with pytest.raises(NotFound):
        watched.store.get("none", 0, 1)
    assert watched.store.get("k", 5, 1) == b""
    assert watched.long == ["PutObject", "GetObject"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        s3_faults.refuse(
            "301 Moved Permanently", "PermanentRedirect", x_amz_bucket_region="eu-west-1"
        ),
        s3_faults.refuse("307 Temporary Redirect", "Redirect", x_amz_bucket_region="eu-west-1"),
        s3_faults.refuse(
            "400 Bad Request", "AuthorizationHeaderMalformed", x_amz_bucket_region="eu-west-1"
        ),
    ],
)
def test_a_bucket_that_is_elsewhere_is_found_by_the_client(watched, s3_server, elsewhere):
    """It asks once more; what it learns is the new model, and a region is not asked twice."""
    watched.store.put("k", [b"x"], True)
    watched.store.get("k", 0, 1)
    s3_server.faults.fail(elsewhere, "GET")
    assert watched.store.get("k", 0, 1) == b"x"
    assert watched.store.get("k", 0, 1) == b"x"
    assert watched.long == ["PutObject", "GetObject", "GetObject"]


@pytest.mark.parametrize("size", [9, LARGE])
def test_all_of_a_put_goes_where_the_bucket_is(s3_server, size):
    """What was read of it on the way to the wrong place is sent again; no checksum would tell."""
    watched = Watched(s3_server, checksum="none")
    data = b"123456789" * (size // 9)
    watched.store.put("k", [data], False)
    elsewhere = s3_faults.refuse(
        "307 Temporary Redirect", "TemporaryRedirect", x_amz_bucket_region="eu-west-1"
    )
    s3_server.faults.fail(elsewhere, "PUT")
    watched.store.put("k", [data[::-1]], False)
    assert watched.long == ["PutObject", "PutObject"]
    assert [asked.body for asked in s3_server.faults.asked] == [data, data[::-1], data[::-1]]
    assert watched.store.get("k", 0, size) == data[::-1]
    watched.store.close()


@pytest.mark.parametrize(
    ("body", "is_done"),
    [
        (b"", True),
        (b"<PutObjectResult/>", True),
        (b"<Error><Code>InternalError</Code></Error>", False),
        (b"<Err", False),
    ],
)
def test_an_error_behind_a_200_is_an_error(watched, s3_server, body, is_done):
    """The status was sent before the store knew."""
    watched.store.put("k", [b"x"], False)
    head = [("Content-Length", str(len(body)))]
    s3_server.faults.fail(lambda asked, serve: s3_faults.Answer("200 OK", head, body), "PUT")
    if is_done:
        watched.store.put("k", [b"x"], False)
        return
    with pytest.raises(Transient):
        watched.store.put("k", [b"x"], False)


def test_hooks_before_sending_see_every_request(watched):
    """Emulators within the process live on those."""
    watched.store.put("k", [b"x"], False)
    seen = []
    watched.client.meta.events.register("before-send.s3", lambda request, **_: seen.append(request))
    watched.store.put("k", [b"x"], False)
    watched.store.get("k", 0, 1)
    watched.store.get("k", 0, 1)
    assert [request.method for request in seen] == ["PUT", "GET", "GET"]


def test_without_the_connections_of_the_client_all_goes_the_long_way(s3_server):
    """A later botocore may keep them elsewhere."""
    watched = Watched(s3_server)
    watched._make(s3_server.settings())._session = None
    watched.store = S3Store(s3_server.settings(), make=lambda _: watched.client)
    for _ in range(3):
        watched.store.put("k", [b"x"], False)
        assert watched.store.get("k", 0, 1) == b"x"
    assert len(watched.long) == 6
    watched.store.close()
