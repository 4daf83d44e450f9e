"""The cache of stored frames: what survives, what is never wrong, and how it goes out."""

from __future__ import annotations

import errno
import os
import random
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from backends.file.syscalls import Syscalls
from backends.volume.disk_cache import LARGEST, LEAST, DiskCache, _digest


class Calls(Syscalls):
    """The real system calls; ``failures`` holds an errno by name."""

    def __init__(self):
        self.failures = {}

    def _enter(self, name):
        if name in self.failures:
            raise OSError(self.failures[name], os.strerror(self.failures[name]))

    def preadv(self, fd, buffers, offset, flags=0):
        self._enter("preadv")
        return os.preadv(fd, buffers, offset)

    def pwrite(self, fd, data, offset):
        self._enter("pwrite")
        return os.pwrite(fd, bytes(data)[:50_000], offset)


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture
def make(tmp_path):
    """Opens caches in one directory; closes them at the end."""
    opened = []

    def make(limit=LEAST, calls=None):
        opened.append(DiskCache.open(str(tmp_path / "cache"), limit, calls))
        return opened[-1]

    yield make
    for cache in opened:
        cache.close()


def frame_of(identity, frame, size=65_600):
    return random.Random(f"{identity} {frame}").randbytes(size)


def test_frames_survive_a_restart(make):
    """
    What was put is found, by object and frame, before and after.
    """
    cache = make()
    for identity in ("a/log/1", "b/log/1"):
        for frame in (0, 1, 127):
            cache.put(identity, frame, frame_of(identity, frame, 1000 + frame))
    for _ in range(2):
        for identity in ("a/log/1", "b/log/1"):
            for frame in (0, 1, 127):
                assert cache.get(identity, frame) == frame_of(identity, frame, 1000 + frame)
        assert cache.get("a/log/1", 2) is None
        assert cache.get("a/log/2", 1) is None
        assert (cache.hits, cache.misses) == (6, 2)
        cache.close()
        cache = make()


def test_a_killed_process_leaves_its_frames(make, tmp_path):
    """
    Without a close, the next process finds them too.
    """
    cache = make()
    cache.put("a", 0, b"stored")
    for fd in cache._fds:
        os.close(fd)
    cache._fds.clear()
    assert make().get("a", 0) == b"stored"
    cache.is_on = False


def test_the_limit_holds(make, tmp_path):
    """
    Ten times as much as fits: the files stay below the limit, the newest frames are there.
    """
    cache = make()
    for number in range(640):
        cache.put("object", number, frame_of("object", number))
    used = sum(os.stat(tmp_path / "cache" / name).st_blocks * 512 for name in ("index", "frames"))
    assert used <= LEAST
    assert sum(os.path.getsize(tmp_path / "cache" / name) for name in ("index", "frames")) <= LEAST
    found = [number for number in range(640) if cache.get("object", number) is not None]
    assert found == list(range(found[0], 640))
    assert len(found) > 50


def test_small_frames_take_little(make):
    """
    Frames that shrank to a quarter: four times as many are kept.
    """
    cache = make()
    for number in range(200):
        cache.put("object", number, frame_of("object", number, 16_000))
    found = [number for number in range(200) if cache.get("object", number) is not None]
    assert len(found) > 160


def test_what_is_used_stays(make):
    """
    A frame that is read now and then outlives many that are not.
    """
    cache = make()
    cache.put("hot", 0, frame_of("hot", 0))
    for number in range(600):
        cache.put("cold", number, frame_of("cold", number))
        if number % 5 == 0:
            assert cache.get("hot", 0) == frame_of("hot", 0)
    assert cache.get("cold", 0) is None


def test_other_bytes_take_the_place(make):
    """
    A frame that came back wrong from the store is put right by the next put.
    """
    cache = make()
    cache.put("a", 0, b"wrong")
    cache.put("a", 0, b"right")
    assert cache.get("a", 0) == b"right"


def test_the_same_bytes_are_not_written_twice(make):
    """
    Putting what is there costs no space.
    """
    cache = make()
    cache.put("first", 0, b"first")
    for _ in range(2000):
        cache.put("a", 0, frame_of("a", 0))
    assert cache.get("first", 0) == b"first"


def test_an_object_is_forgotten_with_all_its_frames(make):
    """
    And no other object is.
    """
    cache = make()
    names = [f"object {number}" for number in range(20)]
    for name in names:
        for frame in (0, 3, 31):
            cache.put(name, frame, frame_of(name, frame, 10))
    kept = {(name, frame): cache.get(name, frame) for name in names[::2] for frame in (0, 3, 31)}
    for name in names[1::2]:
        cache.forget(name)
        assert [cache.get(name, frame) for frame in (0, 3, 31)] == [None] * 3
    for (name, frame), data in kept.items():
        assert cache.get(name, frame) == data
    assert sum(data is not None for data in kept.values()) > 20


def test_what_cannot_be_kept_is_not(make):
    """
    Too long, empty, or a frame that no object has.
    """
    cache = make()
    cache.put("a", 0, bytes(LARGEST + 1))
    cache.put("a", 1, b"")
    cache.put("a", 1 << 40, b"x")
    assert [cache.get("a", frame) for frame in (0, 1, 1 << 40)] == [None] * 3
    cache.put("a", 0, bytes(LARGEST))
    assert cache.get("a", 0) == bytes(LARGEST)


def test_too_small_a_limit_is_a_mistake(tmp_path):
    """
    With what was got and what is expected.
    """
    with pytest.raises(ValueError, match=f"got a disk cache of 5 bytes, expected {LEAST}"):
        DiskCache.open(str(tmp_path), 5)


def test_files_are_private(make, tmp_path):
    """
    0700 and 0600: frames may be plain.
    """
    make()
    assert stat.S_IMODE(os.stat(tmp_path / "cache").st_mode) == 0o700
    for name in ("index", "frames"):
        assert stat.S_IMODE(os.stat(tmp_path / "cache" / name).st_mode) == 0o600


# --- damage ---


def test_a_changed_frame_is_a_miss(make, tmp_path):
    """
    It is dropped, and can be put anew.
    """
    cache = make()
    cache.put("a", 0, b"x" * 100)
    with open(tmp_path / "cache" / "frames", "r+b") as file:
        file.seek(50)
        file.write(b"y")
    assert cache.get("a", 0) is None
    assert cache._table.find(_digest("a")[:12], 0) is None
    cache.put("a", 0, b"x" * 100)
    assert cache.get("a", 0) == b"x" * 100


@pytest.mark.parametrize("name", ["index", "frames"])
def test_a_file_of_another_size_drops_everything(make, tmp_path, name):
    """
    Cut short, or made for another limit: the cache starts empty.
    """
    cache = make()
    cache.put("a", 0, b"data")
    cache.close()
    os.truncate(tmp_path / "cache" / name, 8192)
    cache = make()
    assert cache.get("a", 0) is None
    cache.put("a", 0, b"data")
    assert cache.get("a", 0) == b"data"
    cache.close()
    assert make(LEAST * 2).get("a", 0) is None


def test_a_foreign_index_drops_everything(make, tmp_path):
    """
    One with a wrong head is not ours.
    """
    cache = make()
    cache.put("a", 0, b"data")
    cache.close()
    with open(tmp_path / "cache" / "index", "r+b") as file:
        file.write(b"SQLite format 3\0")
    cache = make()
    assert cache.is_on
    assert cache.get("a", 0) is None


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32))
def test_whatever_the_index_says_no_byte_is_wrong(make, seed):
    """
    Entries and frames overwritten with anything, also with each other, between two runs.
    """
    choose = random.Random(seed)
    cache = make()
    for number in range(20):
        cache.put("a", number, frame_of("a", number, 5000))
    directory = cache.directory
    cache.close()
    for name, start, unit in (("index", 4096, 32), ("frames", 0, 4096)):
        path = os.path.join(directory, name)
        with open(path, "r+b") as file:
            image = bytearray(file.read())
            units = (len(image) - start) // unit
            used = [at for at in range(units) if any(image[start + at * unit :][:unit])]
            for _ in range(8 if used else 0):
                at, other = (start + choose.choice(used) * unit for _ in range(2))
                if choose.random() < 0.5:
                    image[at : at + unit] = image[other : other + unit]
                else:
                    image[at + choose.randrange(unit)] ^= 1 << choose.randrange(8)
            file.seek(0)
            file.write(image)
    cache = make()
    for number in range(20):
        assert cache.get("a", number) in (None, frame_of("a", number, 5000))
        cache.put("a", number, frame_of("a", number, 5000))
    assert cache.is_on
    cache.close()


# --- when it cannot ---


def test_a_second_process_works_without(make, logged):
    """
    It says so once; the first goes on.
    """
    first = make()
    second = make()
    assert not second.is_on
    second.put("a", 0, b"data")
    second.forget("a")
    assert second.get("a", 0) is None
    first.put("a", 0, b"data")
    assert first.get("a", 0) == b"data"
    assert [event["log_level"].name for event in logged] == ["warn"]
    first.close()
    assert make().is_on


@pytest.mark.parametrize(
    ("name", "number"), [("pwrite", errno.ENOSPC), ("pwrite", errno.EIO), ("preadv", errno.EIO)]
)
def test_a_failing_disk_turns_it_off(make, logged, name, number):
    """
    One line in the log, and every call goes on as if nothing were there.
    """
    calls = Calls()
    cache = make(calls=calls)
    cache.put("a", 0, frame_of("a", 0))
    assert cache.get("a", 0) == frame_of("a", 0)
    calls.failures[name] = number
    for _ in range(3):
        cache.put("b", 0, b"data")
        assert cache.get("a", 1) is None
        cache.forget("a")
    assert not cache.is_on
    assert len(logged) == 1
    assert os.strerror(number) in logged[0]["why"]


def test_a_directory_that_cannot_be_made(tmp_path, logged):
    """
    The cache is off from the start.
    """
    (tmp_path / "file").write_text("")
    cache = DiskCache.open(str(tmp_path / "file" / "cache"), LEAST)
    assert not cache.is_on
    assert cache.get("a", 0) is None
    assert len(logged) == 1


def test_many_threads_get_what_was_put(make):
    """
    Puts, gets and a close at any time: never a wrong byte, never an error.
    """
    cache = make()
    wrong = []

    def work(seed):
        choose = random.Random(seed)
        try:
            for _ in range(300):
                number = choose.randrange(150)
                data = frame_of("a", number, 30_000)
                if choose.random() < 0.5:
                    cache.put("a", number, data)
                elif cache.get("a", number) not in (None, data):
                    wrong.append(number)
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    threads[0].join()
    cache.close()
    for thread in threads:
        thread.join()
    assert wrong == []
