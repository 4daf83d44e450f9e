"""Block devices: what may be punched, what may not, and what a wrong punch would lose."""

from __future__ import annotations

import errno
import os

import pytest

from backends.file.syscalls import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, Syscalls
from gateway.errors import ExportUnavailable, NotFast, Unavailable
from tests.doubles.disks import loop_device, mounted
from tests.doubles.kernel import FakeKernel

MIB = 1024 * 1024
SIZE = 4 * MIB


@pytest.fixture
def with_offload(tmp_path, bench_at):
    """A loop device over a file with holes: ``write_zeroes_max_bytes`` is above 0."""
    image = tmp_path / "image"
    image.write_bytes(b"a" * SIZE)
    with loop_device(str(image)) as device:
        bench = bench_at(device, SIZE)
        yield bench
        bench.close()


@pytest.fixture
def without_offload(tmp_path, bench_at):
    """A loop device over ramfs: ``write_zeroes_max_bytes`` is 0."""
    with mounted("ramfs", str(tmp_path)) as directory:
        image = os.path.join(directory, "image")
        with open(image, "wb") as file:
            file.write(b"a" * SIZE)
        with loop_device(image) as device:
            bench = bench_at(device, SIZE)
            yield bench
            bench.close()


def changed(start, end):
    return b"a" * start + bytes(end - start) + b"a" * (SIZE - end)


@pytest.mark.parametrize("fast", [False, True])
def test_whole_pages_are_punched_after_a_sync(with_offload, fast):
    """
    With offload zeroes that may trim are one call, after dirty pages are safe.
    """
    bench = with_offload
    bench.export.write(0, b"b" * 4096, False)
    bench.kernel.calls.clear()
    bench.wait(bench.export.write_zeroes(65536, 65536, True, False, fast))
    assert bench.kernel.calls == ["fdatasync", "punch"]
    expected = bytearray(changed(65536, 131072))
    expected[:4096] = b"b" * 4096
    assert bench.bytes(0, SIZE) == expected
    assert bench.extents() == [(65536, 0), (65536, 3), (SIZE - 131072, 0)]


@pytest.mark.parametrize(("start", "end"), [(1, 70001), (512, 1024), (4095, 4097), (100, SIZE)])
def test_parts_of_pages_are_written_or_refused(with_offload, start, end):
    """
    A fast request with an edge inside a page is refused untouched; a plain one is exact.
    """
    bench = with_offload
    with pytest.raises(NotFast):
        bench.export.write_zeroes(start, end - start, True, False, True)
    assert bench.bytes(0, SIZE) == b"a" * SIZE
    bench.wait(bench.export.write_zeroes(start, end - start, True, False, False))
    assert bench.bytes(0, SIZE) == changed(start, end)


@pytest.mark.parametrize("fixture", ["with_offload", "without_offload"])
@pytest.mark.parametrize(("start", "end"), [(65536, 131072), (1, 70001)])
def test_provisioned_zeroes_are_never_fast(request, fixture, start, end):
    """
    Nothing forbids the kernel to write them: fast is refused, plain is BLKZEROOUT.
    """
    bench = request.getfixturevalue(fixture)
    with pytest.raises(NotFast):
        bench.export.write_zeroes(start, end - start, False, False, True)
    bench.kernel.calls.clear()
    bench.wait(bench.export.write_zeroes(start, end - start, False, True, False))
    assert "zero_device" in bench.kernel.calls
    assert "punch" not in bench.kernel.calls
    assert bench.bytes(0, SIZE) == changed(start, end)
    assert bench.extents(start, end - start) == [(end - start, 2)]


def test_trimming_rounds_inwards(with_offload):
    """
    Pages that are trimmed in part keep all their bytes.
    """
    bench = with_offload
    bench.wait(bench.export.trim(100, 70000, False))
    assert bench.bytes(0, SIZE) == changed(4096, 69632)
    assert bench.extents() == [(4096, 0), (65536, 3), (SIZE - 69632, 0)]


def test_a_trim_refused_by_surprise_keeps_the_bytes(with_offload):
    """
    A device that no longer offloads is not asked again, and nothing is claimed.
    """
    bench = with_offload
    bench.kernel.answers["punch"] = [errno.EOPNOTSUPP]
    bench.wait(bench.export.trim(100, 70000, False))
    assert bench.extents() == [(SIZE, 0)]
    bench.kernel.calls.clear()
    with pytest.raises(NotFast):
        bench.export.write_zeroes(0, 65536, True, False, True)
    assert bench.export.trim(0, SIZE, False) is None
    assert bench.kernel.calls == []
    assert bench.bytes(0, SIZE) == b"a" * SIZE


def test_without_offload_fast_zeroes_are_refused_without_a_call(without_offload):
    """
    sysfs says 0, so the kernel is not asked: `NotFast`, and unflushed writes are still there.
    """
    bench = without_offload
    bench.wait(bench.export.write(0, b"b" * 65536, False))
    bench.kernel.calls.clear()
    for may_trim in (True, False):
        with pytest.raises(NotFast):
            bench.export.write_zeroes(0, 65536, may_trim, False, True)
    assert bench.kernel.calls == []
    assert bench.bytes(0, SIZE) == b"b" * 65536 + b"a" * (SIZE - 65536)


def test_without_offload_plain_zeroes_are_written_by_the_kernel(without_offload):
    """
    BLKZEROOUT, never a punch; neighbours that are dirty in the cache stay.
    """
    bench = without_offload
    bench.wait(bench.export.write(0, b"b" * 4196, False))
    bench.kernel.calls.clear()
    bench.wait(bench.export.write_zeroes(4096, 65536, True, False, False))
    assert "punch" not in bench.kernel.calls
    expected = b"b" * 4096 + bytes(65536) + b"a" * (SIZE - 69632)
    assert bench.bytes(0, SIZE) == expected
    assert bench.export.trim(0, SIZE, False) is None
    assert bench.bytes(0, SIZE) == expected


def test_the_kernel_drops_dirty_pages_before_it_refuses_to_punch(without_offload):
    """
    The trap this module is built around is there: a refused punch loses a write.
    """
    bench = without_offload
    bench.wait(bench.export.write(0, b"b" * 65536, False))
    fd = bench.export._fd
    with pytest.raises(OSError, match="not supported"):
        Syscalls().fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536)
    assert bench.bytes(0, 65536) == b"a" * 65536


def test_a_punch_refused_by_surprise_loses_no_write(bench_at, tmp_path):
    """
    sysfs promised what the device then refuses: the sync before it saved what was dirty.
    """
    with mounted("ramfs", str(tmp_path)) as directory:
        image = os.path.join(directory, "image")
        with open(image, "wb") as file:
            file.write(b"a" * SIZE)
        with loop_device(image) as device:
            kernel = FakeKernel()
            kernel.limits["write_zeroes_max_bytes"] = 2**31
            bench = bench_at(device, SIZE, kernel)
            bench.wait(bench.export.write(0, b"b" * 65536, False))
            with pytest.raises(NotFast):
                bench.wait(bench.export.write_zeroes(0, 32768, True, False, True))
            assert bench.bytes(0, SIZE) == b"b" * 65536 + b"a" * (SIZE - 65536)
            with pytest.raises(NotFast):
                bench.export.write_zeroes(0, 32768, True, False, True)
            bench.close()


def test_a_device_has_the_size_it_has(with_offload, bench_at):
    """
    A size that differs from the device's is refused when it is opened.
    """
    path = with_offload.path
    with_offload.close()
    with pytest.raises(ExportUnavailable, match=f"{SIZE} bytes, expected {SIZE - 512}"):
        bench_at(path, SIZE - 512)


def test_a_device_without_known_limits_is_not_punched(bench_at, tmp_path):
    """
    No sysfs, no promise.
    """

    class Blind(FakeKernel):
        def queue_limit(self, device, name):
            raise FileNotFoundError(errno.ENOENT, "no such file")

    image = tmp_path / "image"
    image.write_bytes(b"a" * SIZE)
    with loop_device(str(image)) as device:
        bench = bench_at(device, SIZE, Blind())
        with pytest.raises(NotFast):
            bench.export.write_zeroes(0, SIZE, True, False, True)
        bench.close()


@pytest.mark.parametrize("change", ["write_zeroes", "trim"])
def test_a_flush_waits_for_the_syncs_that_go_before_punching(with_offload, change):
    """
    The sync before a punch may be told of a lost change that the fdatasync
    beside it is then not told of: the flush is answered when both have been.
    """
    bench = with_offload
    bench.wait(bench.export.write(0, b"a" * 65536, False))
    flush = bench.export.flush()
    if change == "trim":
        punched = bench.export.trim(0, 8192, False)
    else:
        punched = bench.export.write_zeroes(0, 8192, True, False, False)
    bench.kernel.answers["fdatasync"] = [None, errno.EIO]
    bench.threads.step()
    assert not flush.called
    for answer in (punched, flush):
        with pytest.raises(Unavailable):
            bench.wait(answer)
