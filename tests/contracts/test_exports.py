"""The contract of `IExport`, run by every export of this project and every double of one."""

from __future__ import annotations

import errno
import itertools
import os

import pytest
from twisted.internet.task import Clock

from backends.file.provider import FileProvider, FileSettings
from backends.file.syscalls import Syscalls
from backends.memory import MemoryExport
from gateway.interfaces import Resources
from tests.contracts.export_contract import SIZE, ExportContract, Lab
from tests.doubles.always_later import AlwaysLater
from tests.doubles.faulty_export import FaultyExport
from tests.doubles.kernel import FakeKernel, bare_kernel
from tests.doubles.recording_export import RecordingExport
from tests.doubles.threads import ManualThreads, SyncThreads


class TestMemory(ExportContract):
    @pytest.fixture
    def lab(self):
        return Lab(lambda: MemoryExport(SIZE))


class TestMemoryWithALimit(ExportContract):
    @pytest.fixture
    def lab(self):
        return Lab(lambda: MemoryExport(SIZE, limit=SIZE + 65536))


class TestAlwaysLater(ExportContract):
    @pytest.fixture
    def lab(self):
        clock = Clock()
        seeds = itertools.count()
        return Lab(
            lambda: AlwaysLater(MemoryExport(SIZE), clock, next(seeds)),
            go_on=lambda: clock.advance(0.1),
        )


class TestFaultyWithoutFaults(ExportContract):
    @pytest.fixture
    def lab(self):
        return Lab(lambda: FaultyExport(MemoryExport(SIZE)))


class TestRecording(ExportContract):
    @pytest.fixture
    def lab(self):
        return Lab(lambda: RecordingExport(MemoryExport(SIZE)))


def file_lab(directory, threads, syscalls, zeroes=True):
    """A lab of file exports in a directory."""
    resources = Resources(Clock(), threads.call_in_thread, str(directory))
    numbers = itertools.count()
    provider = FileProvider(syscalls)
    last = ""

    def go_on():
        if getattr(threads, "waiting", None):
            threads.step()

    def make():
        nonlocal last
        last = os.path.join(directory, f"disk{next(numbers)}.raw")
        return reopen()

    def reopen():
        settings = FileSettings(path=last, size=SIZE)
        return lab.settle(provider.open_export("disk", settings, False, resources))

    def stored(export, offset, length):
        return os.pread(export._fd, length, offset)

    lab = Lab(make, go_on, reopen, zeroes, stored)
    return lab


@pytest.fixture
def in_memory(tmp_path_factory):
    """A directory on tmpfs."""
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no tmpfs at /dev/shm")
    name = f"/dev/shm/nbdgateway-test-{os.getpid()}"
    os.makedirs(name, exist_ok=True)
    yield name
    for entry in os.scandir(name):
        os.unlink(entry.path)
    os.rmdir(name)


class TestFileWithThreadsAtOnce(ExportContract):
    @pytest.fixture
    def lab(self, tmp_path):
        return file_lab(tmp_path, SyncThreads(), Syscalls())


class TestFileWithThreadsStepByStep(ExportContract):
    @pytest.fixture
    def lab(self, tmp_path):
        return file_lab(tmp_path, ManualThreads(), Syscalls())


class TestFileInMemory(ExportContract):
    @pytest.fixture
    def lab(self, in_memory):
        return file_lab(in_memory, ManualThreads(), Syscalls())


class TestFileThatNeverAnswersNow(ExportContract):
    """Every read and write goes to a thread: the kernel says each would have to wait."""

    @pytest.fixture
    def lab(self, tmp_path):
        waits = dict.fromkeys(["preadv+nowait", "pwritev+nowait", "pwrite"], errno.EAGAIN)
        kernel = FakeKernel(waits)
        return file_lab(tmp_path, ManualThreads(), kernel)


class TestFileOnABareKernel(ExportContract):
    """No holes, no zero ranges, no reads or writes that refuse to wait."""

    @pytest.fixture
    def lab(self, tmp_path):
        return file_lab(tmp_path, ManualThreads(), bare_kernel(), zeroes=False)
