"""Fixtures for the file provider: an export with faked threads, clock and kernel."""

from __future__ import annotations

import os

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from backends.file.provider import FileProvider, FileSettings
from gateway.interfaces import Resources
from tests.doubles.kernel import FakeKernel
from tests.doubles.threads import ManualThreads

MIB = 1024 * 1024


class Bench:
    """
    One disk under test, with everything around it in the test's hands.

    Attributes:
        clock: the export's clock.
        threads: its threads; work waits for `ManualThreads.step`.
        kernel: its system calls.
        export: the export, after `open`.
    """

    def __init__(self, path, size=MIB, kernel=None):
        self.path = str(path)
        self.size = size
        self.clock = Clock()
        self.threads = ManualThreads()
        self.kernel = FakeKernel() if kernel is None else kernel
        self.export = None

    def open(self, read_only=False):
        provider = FileProvider(self.kernel)
        resources = Resources(self.clock, self.threads.call_in_thread, "/")
        settings = FileSettings(path=self.path, size=self.size)
        self.export = self.wait(provider.open_export("disk", settings, read_only, resources))
        self.kernel.calls.clear()
        self.threads.calls = 0
        return self.export

    def wait(self, result):
        """The answer; does the waiting work."""
        if not isinstance(result, Deferred):
            return result
        answers = []
        result.addBoth(answers.append)
        self.threads.drain()
        (answer,) = answers
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer

    def bytes(self, offset, length):
        """What the export reads; the file itself, past map and doubles, has the same."""
        found = bytes(self.wait(self.export.read(offset, length)))
        assert found == os.pread(self.export._fd, length, offset)
        return found

    def extents(self, offset=0, length=None):
        """Lengths and states as in base:allocation: 0 data, 2 zero, 3 hole and zero."""
        length = self.export.info.size - offset if length is None else length
        found = self.export.extents(offset, length, False)
        return [(extent.length, extent.hole + 2 * extent.zero) for extent in found]

    def close(self):
        if self.export is not None:
            try:
                self.wait(self.export.close())
            except Exception:  # the test that made it fail has looked at it
                return


@pytest.fixture
def bench_at():
    """Makes benches and closes their exports."""
    benches = []

    def make(path, size=MIB, kernel=None, read_only=False):
        bench = Bench(path, size, kernel)
        benches.append(bench)
        bench.open(read_only)
        return bench

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(bench_at, tmp_path):
    """A fresh sparse disk of 1 MiB on the file system of the temporary directory."""
    return bench_at(tmp_path / "disk.raw")


@pytest.fixture
def full(bench_at, tmp_path):
    """Makes a disk of 1 MiB full of ``a``, all durable."""

    def make(kernel=None):
        bench = bench_at(tmp_path / "disk.raw", MIB, kernel)
        bench.wait(bench.export.write(0, b"a" * MIB, True))
        bench.kernel.calls.clear()
        bench.threads.calls = 0
        return bench

    return make
