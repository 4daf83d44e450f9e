"""Durability of the file export: what a flush covers, and that a lost change stays lost."""

from __future__ import annotations

import errno

import pytest

from gateway.errors import NoSpace, Unavailable


def test_a_flush_of_nothing_is_answered_now(bench):
    """
    Without changes since the last flush there is no thread and no system call.
    """
    assert bench.export.flush() is None
    bench.wait(bench.export.write(0, b"a", False))
    bench.wait(bench.export.flush())
    bench.threads.calls = 0
    assert bench.export.flush() is None
    assert bench.threads.calls == 0


def test_flushes_with_nothing_written_between_share_one_call(bench):
    """
    Ten flushes of the same changes cost one fdatasync.
    """
    bench.export.write(0, b"a" * 4096, False)
    flushes = [bench.export.flush() for _ in range(10)]
    bench.threads.drain()
    assert all(flush.called for flush in flushes)
    assert bench.kernel.calls.count("fdatasync") == 1


def test_a_flush_asked_for_after_a_later_write_needs_the_next_call(bench):
    """
    An fdatasync that began before a write was answered does not cover it.
    """
    bench.export.write(0, b"a" * 4096, False)
    first = bench.export.flush()
    bench.export.write(4096, b"b" * 4096, False)
    second = bench.export.flush()
    third = bench.export.flush()
    bench.threads.step()
    assert first.called
    assert not second.called
    assert not third.called
    bench.threads.step()
    assert second.called
    assert third.called
    assert bench.kernel.calls.count("fdatasync") == 2


@pytest.mark.parametrize("change", ["write", "write_zeroes", "trim"])
def test_a_flush_covers_every_kind_of_change(bench, change):
    """
    Writes, zeroes and trims alike make the next flush a real one.
    """
    bench.wait(bench.export.write(0, b"a" * 8192, False))
    bench.wait(bench.export.flush())
    bench.kernel.calls.clear()
    args = {
        "write": (0, b"b", False),
        "write_zeroes": (0, 4096, True, False, False),
        "trim": (0, 4096, False),
    }
    bench.wait(getattr(bench.export, change)(*args[change]))
    bench.wait(bench.export.flush())
    assert bench.kernel.calls[-1] == "fdatasync"


def test_a_failed_flush_fails_every_later_one(bench):
    """
    The kernel reports a lost page once; the export goes on saying it.
    """
    bench.export.write(0, b"a" * 4096, False)
    bench.kernel.answers["fdatasync"] = [errno.EIO]
    with pytest.raises(Unavailable):
        bench.wait(bench.export.flush())
    with pytest.raises(Unavailable):
        bench.wait(bench.export.flush())
    bench.export.write(0, b"a" * 4096, False)
    with pytest.raises(Unavailable, match="lost"):
        bench.wait(bench.export.flush())
    with pytest.raises(Unavailable):
        bench.wait(bench.export.close())


def test_flushes_that_wait_for_a_failed_one_fail_too(bench):
    """
    Those queued behind an fdatasync that fails are not tried: they fail.
    """
    bench.export.write(0, b"a" * 4096, False)
    first = bench.export.flush()
    bench.export.write(0, b"b" * 4096, False)
    second = bench.export.flush()
    bench.kernel.answers["fdatasync"] = [errno.EIO]
    bench.threads.drain()
    for flush in (first, second):
        with pytest.raises(Unavailable):
            bench.wait(flush)
    assert bench.kernel.calls.count("fdatasync") == 1


def test_a_durable_write_that_reached_the_cache_alone_fails_later_flushes(bench):
    """
    A write with FUA that was not made durable is a lost change.
    """
    bench.kernel.answers["pwritev+dsync"] = [errno.EIO]
    with pytest.raises(Unavailable):
        bench.wait(bench.export.write(0, b"a" * 4096, True))
    with pytest.raises(Unavailable):
        bench.wait(bench.export.flush())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (errno.EIO, errno.EIO),
        (errno.EIO, errno.ENOSPC),
        (errno.EROFS, errno.EROFS),
        (errno.ENOSPC, errno.EIO),
        (errno.ENOSPC, None),
    ],
)
def test_a_durable_write_that_took_the_error_of_earlier_ones_fails_later_flushes(
    bench, first, second
):
    """
    The kernel tells once that write-back failed: told to a write, a flush still says it.
    """
    bench.export.write(65536, b"a" * 4096, False)
    bench.kernel.answers["pwritev+dsync"] = [first]
    bench.kernel.answers["pwritev"] = [second]
    with pytest.raises(Unavailable):
        bench.wait(bench.export.write(0, b"a" * 4096, True))
    for _ in range(2):
        with pytest.raises(Unavailable, match="lost"):
            bench.wait(bench.export.flush())


def test_a_durable_write_that_was_not_written_loses_nothing(bench):
    """
    No space for a write with FUA is an answer, not a lost change: flushing goes on.
    """
    bench.kernel.answers["pwritev+dsync"] = [errno.ENOSPC]
    bench.kernel.answers["pwritev"] = [errno.ENOSPC]
    with pytest.raises(NoSpace):
        bench.wait(bench.export.write(0, b"a" * 4096, True))
    bench.wait(bench.export.write(0, b"a" * 4096, False))
    bench.wait(bench.export.flush())


@pytest.mark.parametrize("request_", ["write_zeroes", "trim"])
def test_durable_zeroes_sync_before_they_are_answered(bench, request_):
    """
    FUA on zeroes and trims is an fdatasync after the change; its failure stays.
    """
    bench.wait(bench.export.write(0, b"a" * 8192, False))
    bench.kernel.calls.clear()
    args = (0, 4096, True, True, False) if request_ == "write_zeroes" else (0, 4096, True)
    bench.wait(getattr(bench.export, request_)(*args))
    assert bench.kernel.calls == ["punch", "fdatasync"]
    bench.wait(bench.export.write(0, b"a" * 8192, False))
    bench.kernel.answers["fdatasync"] = [errno.EIO]
    with pytest.raises(Unavailable):
        bench.wait(getattr(bench.export, request_)(*args))
    with pytest.raises(Unavailable):
        bench.wait(bench.export.flush())


def test_known_zeroes_that_are_not_durable_yet_are_made_so(bench):
    """
    Zeroing a hole that only the cache knows of, with FUA, waits for an fdatasync.
    """
    bench.wait(bench.export.write(0, b"a" * 8192, True))
    bench.wait(bench.export.write_zeroes(0, 8192, True, False, False))
    bench.kernel.calls.clear()
    bench.wait(bench.export.write_zeroes(0, 8192, True, True, True))
    assert bench.kernel.calls == ["fdatasync"]
    assert bench.export.write_zeroes(0, 8192, True, True, True) is None


def test_closing_makes_everything_durable(bench):
    """
    `close` ends with an fdatasync if anything was changed.
    """
    bench.export.write(0, b"a" * 4096, False)
    bench.wait(bench.export.close())
    assert bench.kernel.calls[-1] == "fdatasync"


@pytest.mark.parametrize("fails", [True, False])
def test_a_flush_waits_for_the_durable_writes_beside_it(bench, fails):
    """
    A durable write may be told of a lost change that the fdatasync beside it
    is then not told of: the flush is answered when both have been.
    """
    bench.export.write(0, b"a" * 4096, False)
    flush = bench.export.flush()
    if fails:
        bench.kernel.answers["pwritev+dsync"] = [errno.EIO]
    durable = bench.export.write(8192, b"b" * 4096, True)
    bench.threads.step()
    assert "fdatasync" in bench.kernel.calls
    assert not flush.called
    later = bench.export.flush()
    bench.threads.drain()
    if not fails:
        bench.wait(durable)
        bench.wait(flush)
        bench.wait(later)
        return
    for answer in (durable, flush, later):
        with pytest.raises(Unavailable):
            bench.wait(answer)
    with pytest.raises(Unavailable):
        bench.export.flush()
