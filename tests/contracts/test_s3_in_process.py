"""The contract of `IObjectStore`, run by moto in this process: no server, no socket."""

from __future__ import annotations

import threading
import uuid

import pytest
from moto import mock_aws

from backends.objects.s3 import S3Store
from backends.objects.s3_client import make_client
from backends.objects.s3_settings import S3Settings
from tests.contracts.s3_labs import lab_of
from tests.contracts.store_contract import StoreContract
from tests.doubles.moto_server import SECRET_KEY


@pytest.fixture(scope="module")
def client():
    """Of moto in this process."""
    with mock_aws():
        client = make_client(S3Settings(bucket="none", region="us-east-1"))
        yield client
        client.close()


class Kept:
    """
    A client that outlives the stores that use it, for one call at a time.

    Making one takes a second, and moto forgets objects when threads meet.
    """

    def __init__(self, client):
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name):
        method = getattr(self._client, name)
        if not name.endswith(("object", "objects", "objects_v2")):
            return method

        def alone(**arguments):
            with self._lock:
                return method(**arguments)

        return alone

    def close(self):
        pass


class TestMotoInProcess(StoreContract):
    """No server: moto takes the requests before they reach a socket."""

    @pytest.fixture
    def lab(self, client):
        bucket = f"disks-{uuid.uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        settings = S3Settings(bucket=bucket, region="us-east-1")
        return lab_of(S3Store(settings, make=lambda _: Kept(client)), [SECRET_KEY])

    def test_a_race_without_the_condition_leaves_one_of_them(self):
        pytest.skip("moto itself fails when threads overwrite one key")
