"""What the file export does on the reactor, and what it leaves to threads."""

from __future__ import annotations

import errno

import pytest

from backends.file.page_cache import (
    FIRST_PAUSE,
    INLINE_LIMIT,
    LONGEST_PAUSE,
    MAX_REFUSED_WRITES,
    SLOW_WRITE,
)
from backends.file.syscalls import TMPFS_MAGIC
from tests.doubles.kernel import FakeKernel

MIB = 1024 * 1024
NOT_REFUSABLE = {"pwritev+nowait": errno.EOPNOTSUPP}


@pytest.fixture
def plain(bench_at, tmp_path):
    """A disk on a file system where a write cannot be told not to wait, as on ext4."""
    return bench_at(tmp_path / "plain.raw", 4 * MIB, FakeKernel(NOT_REFUSABLE))


class SlowKernel(FakeKernel):
    """Each write into the page cache takes `delay` seconds of its clock."""

    delay = 0.0

    def pwrite(self, fd, data, offset):
        self.now += self.delay
        return super().pwrite(fd, data, offset)


@pytest.fixture
def slow(bench_at, tmp_path):
    """A disk whose writes can be made slow."""
    return bench_at(tmp_path / "slow.raw", 4 * MIB, SlowKernel(NOT_REFUSABLE))


def test_what_is_cached_is_read_now(plain):
    """
    Just written bytes are read without a thread.
    """
    plain.export.write(0, b"a" * 4096, False)
    buffer = bytearray(4096)
    assert plain.export.read_into(0, memoryview(buffer))
    assert buffer == b"a" * 4096
    assert plain.threads.calls == 0


@pytest.mark.parametrize("answer", [errno.EAGAIN, errno.EIO, -100])
def test_what_is_not_cached_is_left_to_a_thread(plain, answer):
    """
    A read that would wait, failed or came short is done again in a thread.
    """
    plain.export.write(0, b"a" * 4096, False)
    plain.kernel.answers["preadv+nowait"] = [answer]
    assert not plain.export.read_into(0, memoryview(bytearray(4096)))
    assert plain.bytes(0, 4096) == b"a" * 4096
    assert plain.threads.calls == 1


def test_a_kernel_that_cannot_read_without_waiting_is_asked_once(plain):
    """
    EOPNOTSUPP is remembered: later reads go to threads without a system call.
    """
    plain.export.write(0, b"a" * 4096, False)
    plain.kernel.always["preadv+nowait"] = errno.EOPNOTSUPP
    plain.kernel.calls.clear()
    for _ in range(3):
        assert not plain.export.read_into(0, memoryview(bytearray(10)))
    assert plain.kernel.calls == ["preadv+nowait"]


def test_on_tmpfs_reads_are_plain_and_now(bench_at, tmp_path):
    """
    Where the page cache is the store nothing waits, so no flag is needed.
    """
    bench = bench_at(tmp_path / "disk.raw", MIB, FakeKernel(magic=TMPFS_MAGIC))
    bench.export.write(1, b"a" * 100, False)
    assert bench.export.read_into(0, memoryview(bytearray(4096)))
    assert bench.kernel.calls == ["pwrite", "preadv"]


def test_known_zeroes_are_read_now_even_if_the_kernel_would_wait(plain):
    """
    A hole needs no I/O, whatever the page cache says.
    """
    plain.kernel.always["preadv+nowait"] = errno.EAGAIN
    buffer = bytearray(b"?" * 4096)
    assert plain.export.read_into(8192, memoryview(buffer))
    assert buffer == bytes(4096)
    assert plain.export.read(8192, 4096) == bytes(4096)
    assert plain.threads.calls == 0


def test_what_others_write_is_read_where_it_is_only_read(bench_at, tmp_path):
    """
    A read-only export reads what a program without locks wrote into a former hole.
    """
    path = tmp_path / "shared.raw"
    with open(path, "wb") as file:
        file.truncate(MIB)
    bench = bench_at(path, read_only=True)
    assert bench.extents() == [(MIB, 3)]
    with open(path, "r+b") as file:
        file.write(b"new" * 1000)
    assert bench.bytes(0, 3000) == b"new" * 1000
    buffer = bytearray(3000)
    assert bench.export.read_into(0, memoryview(buffer))
    assert buffer == b"new" * 1000


def test_long_requests_go_to_threads(plain):
    """
    More than 1 MiB is not copied on the reactor: other connections come first.
    """
    data = b"a" * (INLINE_LIMIT + 1)
    plain.wait(plain.export.write(0, data, False))
    assert plain.threads.calls == 1
    assert not plain.export.read_into(0, memoryview(bytearray(INLINE_LIMIT + 1)))
    assert plain.bytes(0, len(data)) == data


def test_a_short_read_in_a_thread_goes_on(plain):
    """
    The kernel may hand out less than asked; the rest is asked for.
    """
    plain.wait(plain.export.write(0, b"abcdefgh", False))
    plain.kernel.answers["preadv"] = [-3, -2]
    assert plain.bytes(0, 8) == b"abcdefgh"


def test_whole_pages_are_written_now(plain):
    """
    A write of whole pages needs no read and no thread.
    """
    assert plain.export.write(8192, b"a" * 8192, False) is None
    assert plain.threads.calls == 0
    assert plain.kernel.calls == ["pwritev+nowait", "pwrite"]


@pytest.mark.parametrize(("offset", "length"), [(100, 3996), (4096, 100), (5000, 100)])
def test_parts_of_pages_are_written_now_if_they_are_cached(plain, offset, length):
    """
    A page written in part must be read first: on the reactor only if it is in the cache.
    """
    plain.export.write(0, b"a" * 12288, False)
    plain.threads.calls = 0
    assert plain.export.write(offset, b"b" * length, False) is None
    plain.kernel.always["preadv+nowait"] = errno.EAGAIN
    later = plain.export.write(offset, b"c" * length, False)
    assert plain.threads.calls == 1
    plain.wait(later)
    assert plain.bytes(offset - 1, length + 2).strip(b"a") == b"c" * length


def test_a_slow_write_sends_the_next_ones_to_threads(slow):
    """
    A write on the reactor that had to wait is the last one there for a while.
    """
    slow.kernel.delay = SLOW_WRITE * 2
    assert slow.export.write(0, b"a" * 4096, False) is None
    slow.kernel.delay = 0.0
    assert slow.export.write(0, b"b" * 4096, False) is not None
    slow.threads.drain()
    slow.kernel.now += FIRST_PAUSE
    assert slow.export.write(0, b"c" * 4096, False) is None


def test_the_time_of_day_does_not_matter(slow):
    """
    A clock that is set back or forward during a write does not make it slow or quick.
    """
    for jump in (3600, -3600):
        pwrite = slow.export._page_cache._pwrite

        def jumping(fd, data, offset, jump=jump, pwrite=pwrite):
            slow.clock.rightNow += jump
            return pwrite(fd, data, offset)

        slow.export._page_cache._pwrite = jumping
        for _ in range(3):
            assert slow.export.write(0, b"a" * 4096, False) is None
        slow.export._page_cache._pwrite = pwrite


def test_writes_that_stay_slow_go_to_threads_for_longer(slow):
    """
    One slow write may be a busy processor; a row of them is a device that cannot keep up.
    """

    def slow_write_now() -> None:
        slow.kernel.delay = SLOW_WRITE * 2
        assert slow.export.write(0, b"a" * 4096, False) is None
        slow.kernel.delay = 0.0

    pauses = []
    for _ in range(8):
        slow_write_now()
        started = slow.kernel.now
        while (later := slow.export.write(0, b"b" * 4096, False)) is not None:
            slow.wait(later)
            slow.kernel.now += FIRST_PAUSE / 4
        pauses.append(slow.kernel.now - started)
    assert pauses == sorted(pauses)
    assert pauses[0] < 2 * FIRST_PAUSE
    assert LONGEST_PAUSE <= pauses[-1] < 2 * LONGEST_PAUSE
    slow.kernel.now += 2 * LONGEST_PAUSE
    slow_write_now()
    slow.kernel.now += FIRST_PAUSE
    assert slow.export.write(0, b"c" * 4096, False) is None


def test_quick_writes_stay_on_the_reactor(slow):
    """
    The limit is for each write alone, not for their sum.
    """
    slow.kernel.delay = SLOW_WRITE / 2
    for _ in range(20):
        assert slow.export.write(0, b"a" * 4096, False) is None


def test_a_write_does_not_wait_on_the_reactor_for_zeroing_in_a_thread(plain):
    """
    fallocate holds the file's lock in the kernel: meanwhile writes go to threads.
    """
    plain.export.write(0, b"a" * 65536, False)
    zeroing = plain.export.write_zeroes(0, 4096, True, False, False)
    elsewhere = plain.export.write(8192, b"b" * 4096, False)
    assert elsewhere is not None
    plain.threads.drain()
    assert zeroing.called
    assert elsewhere.called
    assert plain.export.write(8192, b"b" * 4096, False) is None


def test_writes_that_can_be_refused_need_no_guess(bench_at, tmp_path):
    """
    Where the kernel can be told not to wait, as on xfs, it decides about each write.
    """

    class Obliging(FakeKernel):
        def pwritev(self, fd, buffers, offset, flags=0):
            if flags and not self.answers.get("pwritev+nowait"):
                self.calls.append("pwritev+nowait")
                flags = 0
            return super().pwritev(fd, buffers, offset, flags)

    bench = bench_at(tmp_path / "disk.raw", MIB, Obliging())
    assert bench.export.write(10, b"a" * 100, False) is None
    bench.kernel.answers["pwritev+nowait"] = [errno.EAGAIN] * MAX_REFUSED_WRITES * 2
    for _ in range(MAX_REFUSED_WRITES * 2):
        bench.wait(bench.export.write(10, b"b" * 100, False))
    assert bench.export.write(10, b"c" * 100, False) is None
    assert "pwrite" not in bench.kernel.calls
    assert bench.bytes(9, 102) == b"\0" + b"c" * 100 + b"\0"


def test_a_kernel_that_always_refuses_to_write_is_no_longer_asked(bench_at, tmp_path):
    """
    Copy-on-write files refuse every write that must not wait; then the guard decides.
    """
    kernel = FakeKernel({"pwritev+nowait": errno.EAGAIN})
    bench = bench_at(tmp_path / "disk.raw", MIB, kernel)
    for _ in range(MAX_REFUSED_WRITES):
        bench.wait(bench.export.write(0, b"a" * 4096, False))
    assert bench.export.write(0, b"a" * 4096, False) is None
    assert bench.kernel.calls[-1] == "pwrite"


def test_a_write_cut_short_on_the_reactor_is_done_again_in_a_thread(plain):
    """
    No half of a write is answered.
    """
    plain.kernel.answers["pwrite"] = [-100]
    later = plain.export.write(0, b"a" * 4096, False)
    assert later is not None
    plain.wait(later)
    assert plain.bytes(0, 4097) == b"a" * 4096 + b"\0"


def test_durable_writes_never_run_on_the_reactor(plain):
    """
    FUA waits for the device, so it goes to a thread.
    """
    later = plain.export.write(0, b"a" * 4096, True)
    assert plain.kernel.calls == []
    plain.wait(later)
    assert plain.kernel.calls == ["pwritev+dsync"]
