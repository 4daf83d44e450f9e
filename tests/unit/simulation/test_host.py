"""The simulated machine: what its disk keeps when a process dies, and when power does."""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.simulation.host import Died, Host, HostCalls
from tests.simulation.process import Process
from tests.simulation.store import SimulatedStore
from tests.simulation.virtual_time import VirtualTime


@pytest.fixture
def host():
    host = Host("host", Random(1))
    yield host
    host.remove()


@pytest.fixture
def process(host):
    store = SimulatedStore(VirtualTime(), Random(0))
    process = Process(store, "gateway", 0, host)
    host.processes.append(process)
    return process


@pytest.fixture
def file(host):
    os.makedirs(host.journals)
    place = os.path.join(host.journals, "journal")
    fd = os.open(place, os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def content(fd):
    return os.pread(fd, 1 << 20, 0)


def test_what_was_written_outlives_the_process(host, process, file):
    """The page cache belongs to the machine."""
    HostCalls(host, process).pwrite(file, b"a" * 1024, 0)
    process.kill()
    assert content(file) == b"a" * 1024


def test_what_was_synced_outlives_the_power(host, process, file):
    """And what was not is there in part: any sectors of it, or torn."""
    calls = HostCalls(host, process)
    calls.pwrite(file, b"a" * 1024, 0)
    calls.fdatasync(file)
    seen = set()
    for _ in range(100):
        calls = HostCalls(host, Process(process._store, "again", 0, host))
        calls.pwrite(file, b"a" * 1024, 1024)
        calls.fdatasync(file)
        calls.pwrite(file, b"b" * 1024, 1024)
        host.lose_power()
        assert content(file)[:1024] == b"a" * 1024
        seen.add((content(file)[1024:1536][:1], content(file)[1536:][:1]))
    assert {(a, b) for a in (b"a", b"b") for b in (b"a", b"b")} <= seen


def test_the_dead_call_nothing(host, process, file):
    """A process that is killed ahead of a call does not make it."""
    calls = HostCalls(host, process)
    process.kill_after(1, lambda: None)
    with pytest.raises(Died):
        calls.fdatasync(file)
    process.in_thread = True
    with pytest.raises(Died):
        calls.pwrite(file, b"a" * 512, 0)
    process.in_thread = False
    calls.pwrite(file, b"a" * 512, 0)  # on the reactor: whatever follows, nobody sees it
    assert content(file) == b""


def test_a_process_may_die_within_a_write(host, process, file):
    """Then some of its pages are there, from the first on."""
    seen = set()
    for number in range(60):
        dying = Process(process._store, f"gateway{number}", 0, host)
        calls = HostCalls(host, dying)
        dying.kill_after(1, lambda: None)
        os.ftruncate(file, 0)
        calls.pwrite(file, b"a" * 9216, 1024)
        seen.add(len(content(file)))
    assert seen == {0, 4096, 8192}


def test_some_writes_take_long(host, process, file):
    """By the clock that the file's users look at; no other time passes."""
    calls = HostCalls(host, process)
    before, now = calls.monotonic(), process.clock.seconds()
    for _ in range(60):
        calls.pwrite(file, b"a", 0)
    assert calls.monotonic() > before
    assert process.clock.seconds() == now


def test_a_new_disk_is_empty(host, process, file):
    """Whoever was there is not asked any more."""
    HostCalls(host, process).pwrite(file, b"a" * 512, 0)
    host.lose_disk()
    assert not process.alive
    assert (host.generation, host.kept_aside()) == (1, [])
