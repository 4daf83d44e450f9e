"""The fast-zero table on real file systems: what each does with each kind of zeroes."""

from __future__ import annotations

import os

import pytest

from backends.file.syscalls import Syscalls
from gateway.errors import NotFast
from tests.doubles.disks import mounted

MIB = 1024 * 1024

# Columns as in test_zeroing.TABLE: state afterwards as in base:allocation, or NotFast.
FULL = [3, 3, 2, 2]
TABLE = {
    "ext4": FULL,
    "xfs": FULL,
    "btrfs": FULL,
    "tmpfs": [3, 3, 2, NotFast],
    "ramfs": [NotFast, NotFast, NotFast, NotFast],
}
REQUESTS = [(True, False), (True, True), (False, False), (False, True)]


@pytest.fixture(scope="module", params=list(TABLE))
def file_system(request, tmp_path_factory):
    """A kind of file system and a directory on a fresh one."""
    with mounted(request.param, str(tmp_path_factory.mktemp("fs"))) as directory:
        yield request.param, directory


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize(("start", "end"), [(65536, 131072), (1, 70001), (0, 4 * MIB)])
def test_zeroes_over_data(bench_at, file_system, column, start, end):
    """
    Every cell: what is promised is kept to the byte; what is refused is untouched.
    """
    kind, directory = file_system
    size = 4 * MIB
    path = os.path.join(directory, f"disk{column}-{start}.raw")
    bench = bench_at(path, size, RealKernel())
    for offset in range(0, size, MIB):
        bench.wait(bench.export.write(offset, b"a" * MIB, False))
    may_trim, fast = REQUESTS[column]
    expected = b"a" * start + bytes(end - start) + b"a" * (size - end)
    state = TABLE[kind][column]
    if state is NotFast:
        with pytest.raises(NotFast):
            bench.export.write_zeroes(start, end - start, may_trim, False, fast)
        expected = b"a" * size
    else:
        bench.wait(bench.export.write_zeroes(start, end - start, may_trim, False, fast))
        assert bench.extents(start, end - start) == [(end - start, state)]
    assert bench.bytes(0, size) == expected
    bench.close()
    bench.open()
    assert bench.bytes(0, size) == expected
    offset = 0
    for length, status in bench.extents():
        assert status in (0, 3)
        assert status == 0 or not any(expected[offset : offset + length])
        offset += length
    assert offset == size
    bench.close()
    os.unlink(path)


def test_a_fresh_disk_is_zeroed_for_nothing(bench_at, file_system):
    """
    A new disk is known to be a hole on every file system, with or without offload.
    """
    kind, directory = file_system
    bench = bench_at(os.path.join(directory, "fresh.raw"), 64 * MIB, RealKernel())
    assert bench.export.write_zeroes(0, 64 * MIB, True, True, True) is None
    assert bench.extents() == [(64 * MIB, 3)]
    bench.close()


def test_holes_are_found_again(bench_at, file_system):
    """
    After a restart the file system tells where the holes are; where it cannot, all is data.
    """
    kind, directory = file_system
    bench = bench_at(os.path.join(directory, "holes.raw"), 4 * MIB, RealKernel())
    bench.wait(bench.export.write(MIB, b"a" * MIB, False))
    bench.close()
    bench.open()
    expected = [(4 * MIB, 0)] if kind == "ramfs" else [(MIB, 3), (MIB, 0), (2 * MIB, 3)]
    assert bench.extents() == expected
    bench.close()


class RealKernel(Syscalls):
    """The real kernel, with the lists that a bench clears."""

    def __init__(self):
        self.calls = []
