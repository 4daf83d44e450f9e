"""Labs of the store contract around buckets, here or elsewhere."""

from __future__ import annotations

import random
import uuid

import attrs
from zope.interface import implementer

from backends.objects.contract import IBlockingStore
from backends.objects.pools import in_threads
from backends.objects.retrying import RetryingStore
from backends.objects.s3 import S3Store
from backends.objects.s3_client import make_client
from tests.contracts.store_contract import StoreLab
from tests.doubles.pump import Pump


def bad_key(store):
    """Something that no store takes."""
    return store.put("a/../b", [b""], True), ["a/../b'", "'..'"]


def lab_of(blocking, secrets=(), retries=False, fill=None):
    """A lab with real threads; ``fill`` makes objects past the store, in no time."""
    pump = Pump()
    store = in_threads(blocking, pump, 16, 16)
    if retries:
        store = RetryingStore(store, pump, random.Random(1), 60, 0.01, 0.1)
    lab = StoreLab(store, pump.turn, retries, bad_key, secrets)
    if fill is not None:
        lab.fill = fill
    return lab


def new_bucket(settings):
    """The same settings for a bucket that is made now, and empty."""
    bucket = f"disks-{uuid.uuid4().hex}"
    client = make_client(settings)
    client.create_bucket(Bucket=bucket)
    client.close()
    return attrs.evolve(settings, bucket=bucket)


@implementer(IBlockingStore)
class Folder:
    """The part of a bucket whose keys have a prefix, as a store of its own; for shared buckets."""

    def __init__(self, settings, prefix):
        self._store = S3Store(settings)
        self._prefix = prefix

    def put(self, key, parts, if_absent):
        self._store.put(self._prefix + key, parts, if_absent)

    def get(self, key, start, length):
        return self._store.get(self._prefix + key, start, length)

    def head(self, key):
        return self._bare(self._store.head(self._prefix + key))

    def list(self, prefix, after):
        after = self._prefix + after if after else ""
        return [self._bare(item) for item in self._store.list(self._prefix + prefix, after)]

    def delete(self, keys):
        self._store.delete([self._prefix + key for key in keys])

    def describe(self):
        return self._store.describe()

    def close(self):
        self._store.close()

    def _bare(self, item):
        return attrs.evolve(item, key=item.key.removeprefix(self._prefix))
