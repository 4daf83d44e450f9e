"""Lack of space: which error it is, and what the map says of the range afterwards."""

from __future__ import annotations

import errno
import os

import pytest

from gateway.errors import NoSpace, Unavailable
from tests.doubles.kernel import FakeKernel

MIB = 1024 * 1024


@pytest.mark.parametrize("fua", [False, True])
def test_no_space_where_space_was_set_aside_is_another_error(full, fua):
    """
    What is not reported as a hole never fails for lack of space.
    """
    bench = full()
    for name in ("pwrite", "pwritev", "pwritev+dsync", "zero"):
        bench.kernel.always[name] = errno.ENOSPC
    with pytest.raises(Unavailable):
        bench.wait(bench.export.write(0, b"b" * 4096, fua))
    with pytest.raises(Unavailable):
        bench.wait(bench.export.write_zeroes(0, 4096, False, fua, False))


def test_a_hole_that_could_not_be_written_stays_a_hole(bench):
    """
    After "no space" the same write may be tried again and fails the same way.
    """
    bench.kernel.always["pwrite"] = errno.ENOSPC
    bench.kernel.answers["pwritev"] = [-4096, errno.ENOSPC, errno.ENOSPC]
    with pytest.raises(NoSpace):
        bench.wait(bench.export.write(0, b"a" * 8192, False))
    assert bench.extents() == [(4096, 0), (MIB - 4096, 3)]
    with pytest.raises(NoSpace):
        bench.wait(bench.export.write(4096, b"a" * 4096, False))
    bench.wait(bench.export.write(4096, b"a" * 4096, False))
    assert bench.extents(0, 8192) == [(8192, 0)]


def test_what_was_written_before_space_ran_out_is_no_hole(bench):
    """
    A write cut short on the reactor and refused in the thread left bytes: they are data.
    """
    bench.kernel.answers["pwrite"] = [-4096]
    bench.kernel.answers["pwritev"] = [errno.ENOSPC]
    with pytest.raises(NoSpace):
        bench.wait(bench.export.write(0, b"a" * 8192, False))
    assert bench.bytes(0, 8192) == b"a" * 4096 + bytes(4096)
    assert bench.extents() == [(4096, 0), (MIB - 4096, 3)]


def test_a_durable_write_that_lacked_space_leaves_no_claim_of_zeroes(bench):
    """
    Space may lack when it is made durable, with the bytes in the cache: never call it a hole.
    """

    def pwritev(fd, buffers, offset, flags):
        if flags & os.RWF_DSYNC:
            os.pwritev(fd, buffers, offset)
        raise OSError(errno.ENOSPC, "no space")

    bench.kernel.pwritev = pwritev
    with pytest.raises(NoSpace):
        bench.wait(bench.export.write(0, b"a" * 4096, True))
    assert bench.bytes(0, 4096) == b"a" * 4096
    assert bench.extents(0, 4096) == [(4096, 0)]


def test_a_failed_provisioning_leaves_no_claim_of_space(full):
    """
    Where a hole was punched and space did not come, the map no longer calls it provisioned.
    """
    bench = full(FakeKernel({"zero": errno.EOPNOTSUPP}))
    bench.wait(bench.export.write_zeroes(0, 65536, False, False, False))
    bench.wait(bench.export.trim(65536, 4096, False))
    bench.kernel.answers["allocate"] = [errno.ENOSPC]
    with pytest.raises(NoSpace):
        bench.wait(bench.export.write_zeroes(0, 69632, False, False, False))
    assert bench.extents(0, 69632) == [(69632, 3)]
