"""Closing a file export: in a thread, once, after everything else, and told to all."""

from __future__ import annotations

import errno
import os

import pytest

from gateway.errors import Unavailable


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_the_file_is_closed_in_a_thread(bench):
    """
    Closing a descriptor can wait for a network or free an unlinked disk: not on the reactor.
    """
    fd = bench.export._fd
    closing = bench.export.close()
    assert is_open(fd)
    assert not closing.called
    bench.threads.step()
    assert not is_open(fd)
    assert closing.called


def test_it_is_closed_once_and_all_are_told_when_it_is(bench):
    """
    Who asks while it is being closed waits for it; who asks later is answered now.
    """
    bench.export.write(0, b"a" * 4096, False)
    first = bench.export.close()
    bench.threads.step()  # the flush
    second = bench.export.close()
    assert not first.called
    assert not second.called
    assert len(bench.threads.waiting) == 1
    bench.threads.step()
    assert first.called
    assert second.called
    assert bench.export.close() is None
    assert not bench.threads.waiting


def test_a_file_is_closed_after_what_is_under_way(bench):
    """
    Threads have the descriptor until they are done, flushes included.
    """
    fd = bench.export._fd
    bench.export.write(0, b"a" * 4096, True)
    bench.export.write(0, b"b" * 4096, False)
    closing = bench.export.close()
    for _ in range(3):  # two writes, the flush
        assert is_open(fd)
        bench.threads.step()
    bench.threads.step()
    assert not is_open(fd)
    assert closing.called


def test_a_file_whose_flush_failed_is_closed_all_the_same(bench):
    """
    The failure is told, and told to all; the descriptor and its locks are gone.
    """
    fd = bench.export._fd
    bench.export.write(0, b"a" * 4096, False)
    bench.kernel.answers["fdatasync"] = [errno.EIO]
    answers = [bench.export.close() for _ in range(2)]
    bench.threads.drain()
    assert not is_open(fd)
    for answer in answers:
        with pytest.raises(Unavailable):
            bench.wait(answer)
