"""The store on S3, over HTTP against a server that can be told to fail."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import formatdate

import attrs
import google_crc32c
import pytest
from zope.interface.verify import verifyObject

from backends.objects.contract import (
    PAGE,
    Exists,
    Garbled,
    IBlockingStore,
    Listed,
    NotFound,
    Refused,
    Transient,
)
from backends.objects.s3 import S3Store, problem_of_range
from backends.objects.s3_facts import Facts
from tests.doubles import s3_faults
from tests.doubles.moto_server import S3Server, aws_environment, s3_process, s3_server

__all__ = ["aws_environment", "s3_process", "s3_server"]

LARGE = 600_000


@pytest.fixture
def store(s3_server: S3Server):
    store = S3Store(s3_server.settings())
    yield store
    store.close()


def test_it_is_a_store(store):
    assert verifyObject(IBlockingStore, store)


def test_nothing_is_made_before_the_first_call(s3_server):
    """The process forks between opening and the first call."""
    made = []
    store = S3Store(s3_server.settings(), make=made.append)
    assert store.describe() == f"s3://{s3_server.bucket} at {s3_server.url}"
    store.close()
    assert made == []


@pytest.mark.parametrize("size", [0, 1, 4096, LARGE])
def test_what_was_put_is_got(store, size):
    """Small and large bodies go by different ways."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    store.put("a/b", [data[:5], bytearray(data[5:7]), memoryview(data)[7:]], True)
    assert store.get("a/b", 0, size + 10) == data
    assert store.head("a/b").size == size


@pytest.mark.parametrize(
    ("start", "length", "got"),
    [
        (0, 10, b"0123456789"),
        (0, 1, b"0"),
        (2, 3, b"234"),
        (8, 100, b"89"),
        (9, 1, b"9"),
        (10, 1, b""),
        (100, 5, b""),
        (3, 0, b""),
    ],
)
def test_a_range_is_cut_at_the_end(store, start, length, got):
    store.put("k", [b"0123456789"], False)
    assert store.get("k", start, length) == got


def test_a_range_of_nothing_is_nothing(store):
    store.put("k", [], False)
    assert store.get("k", 0, 5) == b""


@pytest.mark.parametrize("length", [0, 1])
def test_what_is_not_there_is_not_found(store, length):
    with pytest.raises(NotFound, match="GET|HEAD"):
        store.get("none", 0, length)
    with pytest.raises(NotFound, match=r"HEAD s3://disks-\d+/none"):
        store.head("none")


def test_a_name_is_taken_once(store):
    store.put("k", [b"first"], True)
    with pytest.raises(Exists, match=r"PUT s3://disks-\d+/k: 412 PreconditionFailed"):
        store.put("k", [b"second"], True)
    assert store.get("k", 0, 9) == b"first"
    store.put("k", [b"third"], False)
    assert store.get("k", 0, 9) == b"third"


def test_of_racing_puts_one_succeeds(store):
    def put(number: int) -> int:
        try:
            store.put("k", [b"%d" % number], True)
        except Exists:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(put, range(8))) == 1


def test_an_object_says_when_it_was_made(store):
    store.put("k", [b"1234"], False)
    listed = store.head("k")
    assert listed.key == "k"
    assert abs(listed.modified - time.time()) < 3600
    assert store.list("", "") == [Listed("k", 4, listed.modified)]


def test_a_listing_has_a_prefix_and_a_start(store):
    for key in ("a/1", "a/2", "a/3", "b/1", "a"):
        store.put(key, [], False)
    assert [item.key for item in store.list("a/", "")] == ["a/1", "a/2", "a/3"]
    assert [item.key for item in store.list("a/", "a/1")] == ["a/2", "a/3"]
    assert [item.key for item in store.list("", "a/25")] == ["a/3", "b/1"]
    assert store.list("c", "") == []


def test_foreign_keys_are_listed_as_they_are(store):
    """The operator's prefix may hold anything; a listing is encoded for the way."""
    keys = sorted(["a b", "a+b", "a%20b", "a&b", "é/ü", "日", "x\u2028y", '"q"', "<x>"])
    for key in keys:
        store.put(key, [b"x"], False)
    assert [item.key for item in store.list("", "")] == keys
    for key in keys:
        assert store.get(key, 0, 1) == b"x"
    store.delete(keys)
    assert store.list("", "") == []


def test_a_listing_has_pages(store, s3_server):
    """And so have deletes."""
    keys = [f"{number:04}" for number in range(PAGE + 5)]
    s3_server.fill(keys)
    first = store.list("", "")
    assert [item.key for item in first] == keys[:PAGE]
    assert [item.key for item in store.list("", first[-1].key)] == keys[PAGE:]
    store.delete(keys)
    assert store.list("", "") == []
    assert s3_server.faults.counts["DELETES"] == 2
    assert s3_server.faults.counts["DELETE"] == 0


def test_a_short_page_is_not_the_last(s3_server):
    """The store says so, not the number of keys."""
    pages = {
        None: {"Contents": _items("a", "b"), "IsTruncated": True, "NextContinuationToken": "1"},
        "1": {"IsTruncated": True, "NextContinuationToken": "2"},
        "2": {"Contents": _items("c"), "IsTruncated": False},
    }

    class Client:
        def list_objects_v2(self, ContinuationToken=None, **_):
            return pages[ContinuationToken]

    store = S3Store(s3_server.settings(), make=lambda _: Client())
    assert [item.key for item in store.list("", "")] == ["a", "b", "c"]


@pytest.mark.parametrize("keys", ["ba", "aa"])
def test_a_listing_out_of_order_is_garbled(s3_server, keys):
    """A volume that missed keys, or saw them for ever, would be lost."""

    class Client:
        def list_objects_v2(self, **_):
            return {"Contents": _items(*keys), "IsTruncated": False}

    store = S3Store(s3_server.settings(), make=lambda _: Client())
    with pytest.raises(Garbled, match="in order"):
        store.list("", "")


@pytest.mark.parametrize(("prefix", "after"), [("", "k"), ("x", "")])
def test_a_listing_of_something_else_is_garbled(s3_server, prefix, after):
    """Such as from a store that does not know where to start."""

    class Client:
        def list_objects_v2(self, **_):
            return {"Contents": _items("k"), "IsTruncated": False}

    store = S3Store(s3_server.settings(), make=lambda _: Client())
    with pytest.raises(Garbled, match="got 'k'"):
        store.list(prefix, after)


def _items(*keys: str):
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return [{"Key": key, "Size": 0, "LastModified": moment} for key in keys]


def test_what_is_not_there_can_be_deleted(store):
    store.put("a", [], False)
    store.delete(["a", "b"])
    store.delete(["a"])
    store.delete([])
    with pytest.raises(NotFound):
        store.head("a")


def test_many_are_deleted_with_one_request_that_carries_an_md5(store, s3_server):
    """Stores that never learnt newer checksums want it."""
    store.delete(["a", "b"])
    (asked,) = s3_server.faults.asked
    assert asked.verb == "DELETES"
    digest = base64.b64encode(hashlib.md5(asked.body).digest()).decode()
    assert asked.headers["content-md5"] == digest


@pytest.mark.parametrize(
    ("status", "code"),
    [("501 Not Implemented", "NotImplemented"), ("400 Bad Request", "MissingContentMD5")],
)
def test_a_store_without_bulk_deletes_gets_single_ones(store, s3_server, status, code):
    """It is asked once."""
    for key in "abc":
        store.put(key, [], False)
    s3_server.faults.fail(s3_faults.refuse(status, code), "DELETES", times=None)
    store.delete(["a", "b"])
    store.delete(["b", "c"])
    assert store.list("", "") == []
    assert s3_server.faults.counts["DELETES"] == 1
    assert s3_server.faults.counts["DELETE"] == 4


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ({"a": "InternalError"}, Transient),
        ({"a": "InternalError", "b": "AccessDenied"}, Refused),
        ({"a": "NoSuchKey"}, None),
    ],
)
def test_keys_that_were_not_deleted_are_named(store, s3_server, codes, kind):
    """The gravest failure counts; a key that was not there is none."""
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key, code in codes.items()
    )
    body = f"<DeleteResult>{errors}</DeleteResult>".encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    s3_server.faults.fail(lambda asked, serve: s3_faults.Answer("200 OK", headers, body), "DELETES")
    if kind is None:
        store.delete(["a", "b"])
        return
    with pytest.raises(kind) as found:
        store.delete(["a", "b"])
    assert all(key in str(found.value) for key in codes)


@pytest.mark.parametrize(
    ("checksum", "header", "digest"),
    [
        ("crc32c", "x-amz-checksum-crc32c", lambda body: _four(google_crc32c.value(body))),
        ("crc32", "x-amz-checksum-crc32", lambda body: _four(zlib.crc32(body))),
        ("md5", "content-md5", lambda body: hashlib.md5(body).digest()),
        ("none", None, None),
    ],
)
@pytest.mark.parametrize("size", [9, LARGE])
def test_a_put_carries_its_checksum_in_a_header(s3_server, checksum, header, digest, size):
    """And nothing else: no trailer, no chunks of AWS' own kind."""
    store = S3Store(s3_server.settings(checksum=checksum))
    body = b"123456789" * (size // 9)
    store.put("k", [body[:4], body[4:]], True)
    (asked,) = s3_server.faults.asked
    assert asked.body == body
    found = {
        name: value
        for name, value in asked.headers.items()
        if name.startswith("x-amz-checksum") or name == "content-md5"
    }
    wanted = {} if header is None else {header: base64.b64encode(digest(body)).decode()}
    assert found == wanted
    assert not {"x-amz-trailer", "x-amz-decoded-content-length"} & asked.headers.keys()
    assert asked.headers["if-none-match"] == "*"
    assert store.get("k", 0, size) == body
    store.close()


def _four(value: int) -> bytes:
    return value.to_bytes(4, "big")


def test_what_the_settings_say_is_sent(s3_server):
    """With every request that takes it."""
    settings = s3_server.settings(
        requester_pays=True,
        expected_bucket_owner="123456789012",
        storage_class="REDUCED_REDUNDANCY",
        sse="aws:kms",
        sse_kms_key_id="key-1",
        user_agent="rack-7",
    )
    store = S3Store(settings)
    store.put("k", [b"x"], False)
    store.get("k", 0, 1)
    store.head("k")
    store.list("", "")
    store.delete(["a", "b"])
    store.delete(["k"])
    assert [asked.verb for asked in s3_server.faults.asked] == [
        "PUT",
        "GET",
        "HEAD",
        "LIST",
        "DELETES",
        "DELETE",
    ]
    for asked in s3_server.faults.asked:
        assert asked.headers["x-amz-request-payer"] == "requester"
        assert asked.headers["x-amz-expected-bucket-owner"] == "123456789012"
        assert "nbdgateway/" in asked.headers["user-agent"]
        assert asked.headers["user-agent"].endswith(" rack-7")
    put = s3_server.faults.asked[0].headers
    assert put["x-amz-storage-class"] == "REDUCED_REDUNDANCY"
    assert put["x-amz-server-side-encryption"] == "aws:kms"
    assert put["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    store.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (s3_faults.slow_down, Transient),
        (s3_faults.refuse("503 Service Unavailable"), Transient),
        (s3_faults.refuse("502 Bad Gateway"), Transient),
        (s3_faults.refuse("429 Too Many Requests"), Transient),
        (s3_faults.refuse("409 Conflict", "ConditionalRequestConflict"), Transient),
        (s3_faults.applied_then_500, Transient),
        (s3_faults.reset, Transient),
        (s3_faults.applied_then_reset, Transient),
        (s3_faults.refuse("403 Forbidden", "AccessDenied"), Refused),
        (s3_faults.refuse("404 Not Found", "NoSuchBucket"), Refused),
        (s3_faults.refuse("501 Not Implemented", "NotImplemented"), Refused),
        (s3_faults.refuse("507 Insufficient Storage"), Refused),
    ],
)
@pytest.mark.parametrize("size", [1, LARGE])
def test_a_failed_put_is_one_attempt(store, s3_server, fault, kind, size):
    """Whoever retries counts; nobody does behind our back."""
    s3_server.faults.fail(fault, "PUT", times=None)
    with pytest.raises(kind, match=r"^PUT s3://disks-\d+/k: "):
        store.put("k", [bytes(size)], True)
    assert s3_server.faults.counts["PUT"] == 1


def test_an_object_that_was_made_unheard_exists(store, s3_server):
    s3_server.faults.fail(s3_faults.applied_then_500, "PUT")
    with pytest.raises(Transient):
        store.put("k", [b"x"], True)
    with pytest.raises(Exists):
        store.put("k", [b"x"], True)


def test_a_body_cut_short_is_a_failure(store, s3_server):
    """Fewer bytes than announced are none."""
    store.put("k", [bytes(1000)], True)
    s3_server.faults.fail(s3_faults.short_body, "GET")
    with pytest.raises((Garbled, Transient)):
        store.get("k", 0, 1000)
    assert store.get("k", 0, 1000) == bytes(1000)


def test_a_store_that_ignores_ranges_gives_no_wrong_bytes(store, s3_server):
    store.put("k", [b"0123456789"], True)
    s3_server.faults.fail(s3_faults.ignore_range, "GET", times=None)
    with pytest.raises(Garbled, match="ignores Range"):
        store.get("k", 2, 3)
    with pytest.raises(Garbled, match="ignores Range"):
        store.get("k", 0, 3)
    assert store.get("k", 0, 10) == b"0123456789"


def test_an_answer_for_another_range_is_garbled(store, s3_server):
    store.put("k", [b"0123456789"], True)
    s3_server.faults.fail(s3_faults.other_range, "GET")
    with pytest.raises(Garbled, match="Content-Range 'bytes 3-5/10'"):
        store.get("k", 2, 3)


@pytest.mark.parametrize(
    ("said", "size", "good"),
    [
        ("bytes 2-4/10", 3, True),
        ("bytes 2-4/10", 2, False),
        ("bytes 2-3/10", 2, False),
        ("bytes 2-3/4", 2, True),
        ("bytes 1-3/10", 3, False),
        ("bytes 2-4/*", 3, False),
        ("bytes */10", 3, False),
        (None, 3, False),
    ],
)
def test_a_range_is_what_was_asked_for_or_an_error(said, size, good):
    """Three bytes from the second on."""
    answer = {"ContentLength": size, **({} if said is None else {"ContentRange": said})}
    assert (problem_of_range(answer, 2, 3) is None) is good


def test_a_silent_store_is_given_up(s3_server):
    release = threading.Event()

    def silent(asked, serve):
        release.wait(30)
        return serve()

    store = S3Store(s3_server.settings(read_timeout=0.2))
    s3_server.faults.fail(silent, "GET")
    try:
        with pytest.raises(Transient, match="ReadTimeoutError"):
            store.get("k", 0, 1)
    finally:
        release.set()
    store.close()


def test_nobody_at_the_endpoint_is_no_answer(s3_server):
    store = S3Store(attrs.evolve(s3_server.settings(), endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(Transient, match="EndpointConnectionError"):
        store.head("k")


def test_a_bucket_that_is_not_there_is_named(s3_server):
    store = S3Store(attrs.evolve(s3_server.settings(), bucket="nobodys"))
    with pytest.raises(Refused, match="no such bucket"):
        store.list("", "")
    store.close()


@pytest.mark.parametrize("key", ["", "/", "a//b", "a/../b", "x" * 1025])
def test_a_key_that_not_every_store_can_hold_is_refused(store, s3_server, key):
    with pytest.raises(Refused, match="key"):
        store.put(key, [b""], True)
    with pytest.raises(Refused, match="key"):
        store.get(key, 0, 1)
    with pytest.raises(Refused, match="key"):
        store.delete([key])
    assert s3_server.faults.asked == []


def test_a_closed_store_lets_go_and_starts_again(store):
    """A late call of a thread does not fail for that."""
    store.put("k", [b"x"], False)
    store.close()
    store.close()
    assert store.get("k", 0, 1) == b"x"


def test_a_bucket_tells_facts(s3_server):
    store = S3Store(s3_server.settings(), wall=lambda: time.time() + 1000)
    facts = store.facts()
    assert (facts.versioning, facts.object_lock) == ("off", "off")
    assert facts.skew is not None
    assert 990 < facts.skew < 1010
    store.close()


def test_facts_that_are_not_told_are_unknown(store, s3_server):
    """Permission for the questions is not needed."""
    denied = s3_faults.refuse("403 Forbidden", "AccessDenied", Date=formatdate(usegmt=True))
    s3_server.faults.fail(denied, "GET ?versioning", "GET ?object-lock", times=None)
    facts = store.facts()
    assert Facts(facts.versioning, facts.object_lock) == Facts("unknown", "unknown")


def test_facts_of_no_bucket_are_a_failure(store, s3_server):
    s3_server.faults.fail(s3_faults.refuse("404 Not Found", "NoSuchBucket"))
    with pytest.raises(Refused, match="no such bucket"):
        store.facts()
