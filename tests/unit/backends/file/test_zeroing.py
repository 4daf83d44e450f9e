"""The fast-zero table of the file export, cell by cell, on a kernel that answers as told."""

from __future__ import annotations

import errno
import os

import pytest

from backends.file.syscalls import TMPFS_MAGIC
from backends.file.zeroing import PIECE
from backends.zero_map import ZERO
from gateway.errors import NoSpace, NotFast, ReadOnly, Unavailable
from tests.doubles.kernel import FakeKernel, bare_kernel

MIB = 1024 * 1024
NO_ZERO_RANGE = {"zero": errno.EOPNOTSUPP}

# Kernel, then what a request over data leads to: the calls made in a thread and
# the state afterwards as in base:allocation, or NotFast. Columns: zeroes that
# may trim, the same fast, provisioned zeroes, the same fast.
PUNCHES = (["punch"], 3)
KEEPS = (["zero"], 2)
TABLE = {
    "a file system with holes and zero ranges": (
        dict,
        [PUNCHES, PUNCHES, KEEPS, KEEPS],
    ),
    "a file system with holes alone": (
        lambda: {"always": NO_ZERO_RANGE},
        [PUNCHES, PUNCHES, (["punch", "allocate"], 2), NotFast],
    ),
    "tmpfs": (
        lambda: {"always": NO_ZERO_RANGE, "magic": TMPFS_MAGIC},
        [PUNCHES, PUNCHES, (["pwrite"], 2), NotFast],
    ),
    "a file system with neither": (
        lambda: {"always": {"punch": errno.EOPNOTSUPP, **NO_ZERO_RANGE}},
        [NotFast, NotFast, NotFast, NotFast],
    ),
}
REQUESTS = [(True, False), (True, True), (False, False), (False, True)]
CELLS = [
    pytest.param(make, *REQUESTS[column], row[column], id=f"{name}-{column}")
    for name, (make, row) in TABLE.items()
    for column in range(4)
]


@pytest.mark.parametrize(("make", "may_trim", "fast", "expected"), CELLS)
def test_zeroes_over_data(full, make, may_trim, fast, expected):
    """
    Data is zeroed by the cheapest call there is; without one, `NotFast` now, untouched.
    """
    bench = full(FakeKernel(**make()))
    if expected is NotFast:
        with pytest.raises(NotFast):
            bench.export.write_zeroes(4096, 8192, may_trim, False, fast)
        assert bench.kernel.calls == []
        assert bench.threads.calls == 0
        assert bench.bytes(0, MIB) == b"a" * MIB
        return
    calls, state = expected
    bench.wait(bench.export.write_zeroes(4096, 8192, may_trim, False, fast))
    assert bench.kernel.calls == calls
    assert bench.extents() == [(4096, 0), (8192, state), (MIB - 12288, 0)]
    assert bench.bytes(0, MIB) == b"a" * 4096 + bytes(8192) + b"a" * (MIB - 12288)


@pytest.mark.parametrize("make", [FakeKernel, bare_kernel])
@pytest.mark.parametrize("fast", [False, True])
def test_zeroes_over_a_hole_cost_nothing(bench_at, tmp_path, make, fast):
    """
    A whole empty disk is zeroed now, without thread or call, on any file system.
    """
    bench = bench_at(tmp_path / "disk.raw", 2**40, make())
    assert bench.export.write_zeroes(0, 2**40, True, False, fast) is None
    assert bench.export.write_zeroes(513, 2**32 - 1, True, False, fast) is None
    assert bench.kernel.calls == []
    assert bench.threads.calls == 0
    assert bench.extents() == [(2**40, 3)]


def test_an_empty_disk_is_fast_until_it_is_written(bench_at, tmp_path):
    """
    Without any offload the known zeroes alone answer fast requests: yes, then no.
    """
    bench = bench_at(tmp_path / "disk.raw", MIB, bare_kernel())
    assert bench.export.write_zeroes(0, MIB, True, False, True) is None
    bench.wait(bench.export.write(4096, b"a", False))
    with pytest.raises(NotFast):
        bench.export.write_zeroes(0, MIB, True, False, True)
    assert bench.export.write_zeroes(4097, 4096, True, False, True) is None
    assert bench.bytes(4095, 3) == b"\0a\0"


def test_provisioned_zeroes_stay_and_cost_nothing(full):
    """
    Zeroing known zeroes again, trimming or not, leaves them provisioned.
    """
    bench = full()
    bench.wait(bench.export.write_zeroes(0, 65536, False, False, False))
    bench.kernel.calls.clear()
    assert bench.export.write_zeroes(0, 65536, True, False, True) is None
    assert bench.export.write_zeroes(512, 1000, False, False, True) is None
    assert bench.kernel.calls == []
    assert bench.extents(0, 65536) == [(65536, 2)]


def test_trimming_releases_provisioned_zeroes(full):
    """
    A trim wants the space back, zero or not.
    """
    bench = full()
    bench.wait(bench.export.write_zeroes(0, 65536, False, False, False))
    bench.wait(bench.export.trim(0, 65536, False))
    assert bench.extents(0, 65536) == [(65536, 3)]


def test_trimming_a_hole_costs_nothing(bench):
    """
    mkfs trims whole empty disks: no thread, no call.
    """
    assert bench.export.trim(0, MIB, False) is None
    assert bench.export.trim(0, MIB, True) is None
    assert bench.kernel.calls == []


def test_trimming_where_nothing_can_be_released_keeps_the_bytes(full):
    """
    A trim that cannot be done is a success and does nothing; the ability is off.
    """
    bench = full(bare_kernel())
    assert not bench.export.info.abilities.trim
    assert bench.export.trim(0, MIB, True) is None
    assert bench.bytes(0, MIB) == b"a" * MIB


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_plain_request_refused_by_surprise_is_written(full, error):
    """
    The probe said yes and the kernel says no: the thread writes zeroes in pieces.
    """
    bench = full()
    bench.kernel.answers["punch"] = [error]
    bench.wait(bench.export.write_zeroes(100, MIB - 200, True, False, False))
    assert bench.bytes(0, MIB) == b"a" * 100 + bytes(MIB - 200) + b"a" * 100
    assert bench.extents() == [(100, 0), (MIB - 200, 2), (100, 0)]


def test_zeroes_are_written_piece_by_piece_to_the_end(bench_at, tmp_path):
    """
    The fallback reaches every byte of a long range, also when writes come short.
    """
    size = 130 * MIB
    bench = bench_at(tmp_path / "disk.raw", size)
    last = size - MIB
    for offset in range(0, size, MIB):
        bench.wait(bench.export.write(offset, b"a" * MIB, False))
    bench.kernel.answers["punch"] = [errno.EOPNOTSUPP]
    bench.kernel.answers["pwrite"] = [-1000, None, -1]
    bench.wait(bench.export.write_zeroes(0, size, True, False, False))
    for offset in (0, MIB, 64 * MIB, 65 * MIB, last):
        assert bench.bytes(offset, MIB) == bytes(MIB)
    # The disk ends at `size`; nothing was written behind it.
    assert os.stat(bench.path).st_size == size


def test_a_fast_request_refused_by_surprise_changes_nothing_and_latches(full):
    """
    Once refused late, then refused at once; EINVAL alone says nothing about the next range.
    """
    bench = full()
    bench.kernel.answers["punch"] = [errno.EINVAL, errno.EOPNOTSUPP]
    bench.kernel.always["zero"] = errno.EOPNOTSUPP
    for _ in range(2):
        with pytest.raises(NotFast):
            bench.wait(bench.export.write_zeroes(0, 4096, True, False, True))
    with pytest.raises(NotFast):
        bench.wait(bench.export.write_zeroes(0, 4096, True, False, True))  # by ZERO_RANGE
    bench.kernel.calls.clear()
    with pytest.raises(NotFast):
        bench.export.write_zeroes(0, 4096, True, False, True)
    assert bench.kernel.calls == []
    assert bench.bytes(0, MIB) == b"a" * MIB


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.parametrize("may_trim", [False, True])
def test_a_fast_request_stopped_on_its_way_is_neither_refused_nor_written(
    bench_at, tmp_path, error, may_trim
):
    """
    Behind a piece that was zeroed it is an error: "nothing was changed" would be a lie, and
    writing the rest is what the client would not wait for.
    """
    bench = bench_at(tmp_path / "disk.raw", 2 * PIECE)
    for offset in (0, PIECE):
        bench.wait(bench.export.write(offset, b"a" * 4096, False))
    call = "punch" if may_trim else "zero"
    bench.kernel.answers[call] = [None, error]
    bench.kernel.calls.clear()
    with pytest.raises(Unavailable):
        bench.wait(bench.export.write_zeroes(0, 2 * PIECE, may_trim, False, True))
    assert bench.kernel.calls == [call, call]
    assert bench.bytes(0, 4096) == bytes(4096)
    assert bench.bytes(PIECE, 4096) == b"a" * 4096


def test_a_trim_refused_by_surprise_keeps_the_bytes(full):
    """
    Nothing is claimed to be zero that was not released.
    """
    bench = full()
    bench.kernel.answers["punch"] = [errno.EOPNOTSUPP]
    bench.wait(bench.export.trim(0, MIB, False))
    assert bench.bytes(0, MIB) == b"a" * MIB
    assert bench.extents() == [(MIB, 0)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EFBIG, NoSpace),
        (errno.EROFS, ReadOnly),
        (errno.EIO, Unavailable),
        (errno.ENXIO, Unavailable),
    ],
)
def test_errors_become_kinds(bench, error, kind):
    """
    On a hole, each error number of the kernel has its kind, for writes and for zeroes.
    """
    bench.kernel.always["pwrite"] = bench.kernel.always["pwritev"] = error
    with pytest.raises(kind):
        bench.wait(bench.export.write(0, b"a" * 4096, False))
    bench.kernel.answers["zero"] = [error]
    with pytest.raises(kind):
        bench.wait(bench.export.write_zeroes(65536, 4096, False, False, False))


def test_the_map_knows_no_zeroes_that_failed_to_come(full):
    """
    A failed zeroing leaves data called data.
    """
    bench = full()
    bench.kernel.answers["punch"] = [errno.EIO]
    with pytest.raises(Unavailable):
        bench.wait(bench.export.write_zeroes(0, 4096, True, False, True))
    assert bench.extents() == [(MIB, 0)]


def test_unwritten_zeroes_read_as_zero_before_and_after(full):
    """
    `ZERO` in the map is a claim about reading, at any alignment.
    """
    bench = full()
    bench.wait(bench.export.write_zeroes(1, 99999, False, False, True))
    assert bench.export._map.reads_zero(1, 100000)
    assert list(bench.export._map.runs(1, 100000)) == [(1, 100000, ZERO)]
    assert bench.bytes(0, 100001) == b"a" + bytes(99999) + b"a"


def test_the_probe_leaves_contents_and_size_alone(bench_at, tmp_path):
    """
    Opening a disk finds out what the file system can do, at the cost of a page at most.
    """
    path = tmp_path / "disk.raw"
    path.write_bytes(b"a" * 65537)
    before = os.stat(path)
    for _ in range(3):
        bench_at(path, 65537).close()
    after = os.stat(path)
    assert path.read_bytes() == b"a" * 65537
    assert after.st_size == before.st_size
    assert (after.st_blocks - before.st_blocks) * 512 <= 4096
