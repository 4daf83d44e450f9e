"""The contract of `IObjectStore`, run by the benchmarks' emulator: it is a store like others."""

from __future__ import annotations

import uuid

import pytest

from backends.objects.s3 import S3Store
from backends.objects.s3_client import make_client
from backends.objects.s3_settings import S3Settings
from benchmarks.s3_emulator.conditions import Conditions, Faults
from benchmarks.s3_emulator.process import running
from tests.contracts.s3_labs import lab_of
from tests.contracts.store_contract import StoreContract
from tests.doubles.moto_server import ACCESS_KEY, SECRET_KEY


@pytest.fixture(scope="module")
def emulator():
    """One for all tests; each has a bucket of its own."""
    with running("none") as store:
        yield store


@pytest.fixture(scope="module")
def client(emulator, tmp_path_factory):
    """Of all stores here: making one takes a second."""
    keys = tmp_path_factory.mktemp("keys") / "credentials"
    keys.touch(0o600)
    keys.write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    client = make_client(
        S3Settings(
            bucket="none",
            endpoint_url=emulator.url,
            region="us-east-1",
            credentials_file=str(keys),
            read_timeout=20.0,
        )
    )
    yield client
    client.close()


class Kept:
    """The client, kept by stores that close."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    def close(self):
        pass


@pytest.fixture
def bucket_store(client):
    """In an empty bucket."""
    bucket = f"disks-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    return S3Store(S3Settings(bucket=bucket), make=lambda _: Kept(client))


class TestEmulator(StoreContract):
    @pytest.fixture
    def lab(self, bucket_store):
        return lab_of(bucket_store, [SECRET_KEY])


class TestEmulatorWithFaults(StoreContract):
    """One request in eight fails, in any way that a retry can mend."""

    @pytest.fixture
    def lab(self, bucket_store, emulator):
        emulator.be(Conditions(faults=Faults(*[0.025] * 5)))
        yield lab_of(bucket_store, [SECRET_KEY], retries=True)
        emulator.be(Conditions())
