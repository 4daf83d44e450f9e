"""The contract of `IObjectStore`, run by every store of this project, bare and with retries."""

from __future__ import annotations

import os
import random
import tempfile

import pytest

from backends.objects.directory import DirectoryStore
from backends.objects.memory import BlockingMemoryStore, MemoryStore
from backends.objects.pools import in_threads
from backends.objects.retrying import RetryingStore
from backends.objects.threaded import ThreadedStore
from tests.contracts.store_contract import StoreContract, StoreLab
from tests.doubles.faulty_store import FaultyBlockingStore, FaultyStore
from tests.doubles.pump import Pump
from tests.doubles.threads import ManualThreads, SyncThreads

THREADS = 16


def bad_key(store):
    """Something that no store takes."""
    return store.put("a/../b", [b""], True), ["'a/../b'", "'..'"]


def at_once(blocking):
    """A lab whose threads are none."""
    threads = SyncThreads()
    store = ThreadedStore(blocking, threads.call_in_thread, threads.call_in_thread)
    return StoreLab(store, refusal=bad_key)


def step_by_step(blocking):
    """A lab whose threads work in turn."""
    reads, writes = ManualThreads(), ManualThreads()

    def turn():
        for threads in (writes, reads):
            if threads.waiting:
                threads.step()

    store = ThreadedStore(blocking, reads.call_in_thread, writes.call_in_thread)
    return StoreLab(store, turn, refusal=bad_key)


def threaded(blocking):
    """A lab with real threads."""
    pump = Pump()
    return StoreLab(in_threads(blocking, pump, THREADS, THREADS), pump.turn, refusal=bad_key)


def retrying(lab):
    """The same lab, with retries."""
    store = RetryingStore(lab.store, Pump(), random.Random(1), 60, 0.1, 5)
    return StoreLab(store, lab.turn, knows_its_own=True, refusal=lab.refusal)


@pytest.fixture
def in_memory():
    """An empty directory, on tmpfs where there is one: syncing costs nothing there."""
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="nbdgateway-test-", dir=place) as made:
        yield made


class TestMemory(StoreContract):
    @pytest.fixture
    def lab(self):
        return StoreLab(MemoryStore(), knows_its_own=True, refusal=bad_key)


class TestMemoryWithRetries(StoreContract):
    @pytest.fixture
    def lab(self):
        return retrying(StoreLab(MemoryStore(), refusal=bad_key))


class TestFaultyWithoutFaults(StoreContract):
    @pytest.fixture
    def lab(self):
        return StoreLab(FaultyStore(MemoryStore()), knows_its_own=True, refusal=bad_key)


class TestBlockingMemory(StoreContract):
    @pytest.fixture
    def lab(self):
        return at_once(BlockingMemoryStore())


class TestBlockingMemoryWithRetries(StoreContract):
    @pytest.fixture
    def lab(self):
        return retrying(threaded(FaultyBlockingStore(BlockingMemoryStore())))


class TestDirectory(StoreContract):
    """On whatever file system has the tests' files."""

    @pytest.fixture
    def lab(self, tmp_path):
        return threaded(DirectoryStore(str(tmp_path)))


class TestDirectoryAtOnce(StoreContract):
    @pytest.fixture
    def lab(self, in_memory):
        return at_once(DirectoryStore(in_memory))


class TestDirectoryStepByStep(StoreContract):
    @pytest.fixture
    def lab(self, in_memory):
        return step_by_step(DirectoryStore(in_memory))


class TestDirectoryWithRetries(StoreContract):
    @pytest.fixture
    def lab(self, in_memory):
        return retrying(threaded(DirectoryStore(in_memory)))
