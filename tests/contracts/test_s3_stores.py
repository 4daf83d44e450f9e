"""
The contract of `IObjectStore`, run by buckets: moto's, and any that the environment names.

``NBDGATEWAY_S3_ENDPOINT`` and ``NBDGATEWAY_S3_BUCKET`` name one; credentials
come from where AWS clients look for them. The bucket keeps what it has; tests
work, and clean up, in folders of their own.
"""

from __future__ import annotations

import os
import random
import uuid

import pytest

from backends.objects.s3 import S3Store
from backends.objects.s3_settings import S3Settings
from tests.contracts.s3_labs import Folder, lab_of
from tests.contracts.store_contract import StoreContract
from tests.doubles import s3_faults
from tests.doubles.moto_server import SECRET_KEY, aws_environment, s3_process, s3_server

__all__ = ["aws_environment", "s3_process", "s3_server"]

ENDPOINT = os.environ.get("NBDGATEWAY_S3_ENDPOINT")
BUCKET = os.environ.get("NBDGATEWAY_S3_BUCKET")


class TestMoto(StoreContract):
    @pytest.fixture
    def lab(self, s3_server):
        return lab_of(S3Store(s3_server.settings()), [SECRET_KEY], fill=s3_server.fill)


class TestMotoWithFaults(StoreContract):
    """One request in eight fails, in any way that a retry can mend."""

    @pytest.fixture
    def lab(self, s3_server, request):
        faults = s3_faults.sometimes(
            random.Random(request.node.name),
            0.125,
            s3_faults.slow_down,
            s3_faults.applied_then_500,
            s3_faults.reset,
            s3_faults.applied_then_reset,
            s3_faults.short_body,
        )
        s3_server.faults.fail(faults, times=None)
        store = S3Store(s3_server.settings())
        return lab_of(store, [SECRET_KEY], retries=True, fill=s3_server.fill)


if ENDPOINT and BUCKET:

    class TestNamedByTheEnvironment(StoreContract):
        @pytest.fixture
        def lab(self):
            settings = S3Settings(bucket=BUCKET, endpoint_url=ENDPOINT)
            folder = f"nbdgateway-test-{uuid.uuid4().hex}/"
            yield lab_of(Folder(settings, folder), retries=True)
            store = S3Store(settings)
            while page := store.list(folder, ""):
                store.delete([item.key for item in page])
            store.close()

        def test_the_longest_keys(self):
            pytest.skip("the folder's name comes on top")
