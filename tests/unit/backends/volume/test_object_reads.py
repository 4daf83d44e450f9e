"""Frames on a local disk: they spare gets, and are never why a read fails."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from backends.volume import object_reads
from backends.volume.units import FRAME
from gateway.info import MIB
from tests.doubles.one_object import FAR, Host


class Disk:
    """A disk cache that can be told to fail."""

    def __init__(self):
        self.frames = {}
        self.fails = False

    def get(self, identity, frame):
        if self.fails:
            raise OSError("EIO")
        return self.frames.get((identity, frame))

    def put(self, identity, frame, data):
        if self.fails:
            raise OSError("EIO")
        self.frames[identity, frame] = data


def test_frames_on_disk_need_no_get_but_the_header():
    disk = Disk()
    host = Host(key=bytes(range(32)), disk=disk)
    host.read(FAR)
    assert host.frame(FAR) not in disk.frames.values()  # as they are stored: encrypted
    host.memory.drop()
    host.store.calls.clear()
    assert host.read(FAR) == [[host.frame(FAR)]]
    assert host.gets() == 0


def test_a_frame_that_is_damaged_on_disk_comes_from_the_store():
    disk = Disk()
    host = Host(disk=disk)
    host.read(FAR)
    host.memory.drop()
    disk.frames = {key: b"?" + frame[1:] for key, frame in disk.frames.items()}
    assert host.read(FAR) == [[host.frame(FAR)]]


def test_a_disk_cache_that_is_slow_does_not_have_everything_wait_for_it(monkeypatch):
    """What comes while too much is on its way to the disk is read, but not kept there."""
    monkeypatch.setattr(object_reads, "_SAVED_AT_ONCE", 3 * FRAME)
    disk, threads = Disk(), []
    host = Host(disk=disk, cache=MIB)  # too little for anything to come along
    host.read(20)

    def in_thread(work, *args):
        if getattr(work, "__name__", "") != "save":
            return succeed(work(*args))
        threads.append(Deferred())
        return threads[-1].addCallback(lambda _: work())

    host.in_thread = in_thread
    disk.frames.clear()
    for frame in (30, 40, 50, 60):
        assert host.read(frame) == [[host.frame(frame)]]
    assert len(threads) == 3
    threads[0].callback(None)
    threads[1].errback(OSError("EIO"))
    assert list(disk.frames.values()) == [host.frame(30)]
    host.memory.drop()
    host.read(35)
    assert len(threads) == 4


@pytest.mark.parametrize("opened", [False, True])
def test_a_disk_cache_that_fails_is_passed_by(opened):
    disk = Disk()
    host = Host(disk=disk)
    if opened:
        host.read(20)
    disk.fails = True
    assert host.read(FAR) == [[host.frame(FAR)]]
    assert not host.fetcher.busy


def test_threads_that_fail_leave_nobody_waiting():
    host = Host(disk=Disk())
    host.read(20)
    host.in_thread = lambda *_: fail(OSError())
    assert host.read(FAR) == [[host.frame(FAR)]]
    host.in_thread = lambda f, *a: succeed(f(*a))
    assert host.read(FAR + 9) == [[host.frame(FAR + 9)]]
