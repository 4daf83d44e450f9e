"""A bucket of a real store: the contract, what only a real store checks, and the probe."""

from __future__ import annotations

import attrs
import pytest

from backends.objects.contract import Exists, Refused
from backends.objects.probe import probe
from backends.objects.probe_report import refusal
from backends.objects.s3 import S3Store
from backends.objects.s3_client import make_client
from backends.objects.s3_facts import Facts
from backends.objects.s3_settings import CHECKSUMS
from tests.contracts.s3_labs import lab_of
from tests.contracts.store_contract import StoreContract


class BucketContract(StoreContract):
    """All of the contract, with a limit of Ceph's in place of one of S3's."""

    @pytest.mark.parametrize("character", ["a", "\u65e5"])
    def test_the_longest_keys(self, lab, store, character):
        """
        Ceph's longest name is set by ``osd_max_object_name_len``, and counts the bucket's own.
        """
        segment = character * (240 // len(character.encode()))
        key = "/".join([segment] * 3) + "/" + "b" * 150
        assert len(key.encode()) > 800
        lab.put(key, b"data")
        assert lab.read(key) == b"data"
        assert lab.keys(segment) == [key]
        lab.settle(store.delete([key]))
        assert lab.keys() == []


class TestBucket(BucketContract):
    @pytest.fixture
    def lab(self, bucket):
        return lab_of(S3Store(bucket))


class TestBucketWithRetries(BucketContract):
    @pytest.fixture
    def lab(self, bucket):
        return lab_of(S3Store(bucket), retries=True)


@pytest.mark.parametrize("sign_payload", [True, False])
@pytest.mark.parametrize("checksum", CHECKSUMS)
def test_every_checksum_is_taken(bucket, checksum, sign_payload):
    """Small bodies and large ones, signed or not."""
    settings = attrs.evolve(bucket, checksum=checksum, sign_payload=sign_payload)
    store = S3Store(settings)
    for size in (0, 1, 700_000):
        data = bytes(range(256)) * (size // 256) + bytes(size % 256)
        store.put(f"k{size}", [data], True)
        assert store.get(f"k{size}", 0, size + 1) == data
        with pytest.raises(Exists):
            store.put(f"k{size}", [data + b"other"], True)
    store.close()


def test_the_probe_finds_it_safe(bucket):
    lab = lab_of(S3Store(bucket))
    report = lab.settle(probe(lab.store, "a prefix/", "0123456789abcdef", lambda: 1.0))
    assert refusal(report, ()) is None
    assert report.warnings == []
    assert lab.keys() == []
    lab.settle(lab.store.close())


def test_it_tells_facts(bucket):
    store = S3Store(bucket)
    assert attrs.evolve(store.facts(), skew=None) == Facts("off", "off", None)
    client = make_client(bucket)
    client.put_bucket_versioning(
        Bucket=bucket.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    facts = store.facts()
    assert facts.versioning == "enabled"
    assert facts.skew is not None
    assert abs(facts.skew) < 60
    client.close()
    store.close()


def test_a_wrong_secret_is_refused(bucket, monkeypatch):
    """And not told."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "swordfish")
    store = S3Store(bucket)
    with pytest.raises(Refused, match=r"403 SignatureDoesNotMatch.*check the secret") as found:
        store.list("", "")
    assert "swordfish" not in str(found.value)
    store.close()


def test_an_unknown_key_is_refused(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    store = S3Store(bucket)
    with pytest.raises(Refused, match=r"403 InvalidAccessKeyId"):
        store.put("k", [b"x"], True)
    store.close()


def test_a_bucket_that_is_not_there_is_named(bucket):
    store = S3Store(attrs.evolve(bucket, bucket="nobodys-bucket"))
    with pytest.raises(Refused, match="no such bucket"):
        store.put("k", [b"x"], True)
    with pytest.raises(Refused, match="no such bucket"):
        store.list("", "")
    store.close()


def test_a_certificate_of_nobody_known_is_refused(bucket):
    """Unless the operator wants it so."""
    if bucket.ca_bundle is None:
        pytest.skip("there is no certificate of one's own")
    store = S3Store(attrs.evolve(bucket, ca_bundle=None))
    with pytest.raises(Refused, match="check ca_bundle"):
        store.list("", "")
    store.close()
