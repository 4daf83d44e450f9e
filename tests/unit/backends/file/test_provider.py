"""Provider ``file``: settings, what it finds wrong, opening and locking."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

import pytest
from zope.interface.verify import verifyObject

from backends.file.opening import scan
from backends.file.provider import FileProvider, FileSettings
from backends.file.syscalls import Syscalls
from gateway.errors import ExportBusy, ExportUnavailable
from gateway.info import MAX_EXPORT_SIZE
from gateway.interfaces import IStorageProvider
from gateway.settings import read
from tests.doubles.disks import loop_device
from tests.doubles.kernel import FakeKernel

MIB = 1024 * 1024
provider = FileProvider()


def problems(path, size=None, read_only=False):
    return provider.problems(FileSettings(path=str(path), size=size), read_only)


def test_it_provides_the_interface():
    """
    The provider has every method of the law.
    """
    assert verifyObject(IStorageProvider, provider)


def test_settings_are_read_from_texts(tmp_path):
    """
    A relative path starts at the configuration file; sizes have units.
    """
    values = {"path": "disk.raw", "size": "20G"}
    settings, found = read(FileSettings, values, str(tmp_path), str)
    assert found == []
    assert settings == FileSettings(path=str(tmp_path / "disk.raw"), size=20 * 2**30)
    assert provider.describe(settings) == f"file {tmp_path}/disk.raw"


def test_what_is_right_is_no_problem(tmp_path):
    """
    A file that is there, with its size or without; one to be created.
    """
    path = tmp_path / "disk.raw"
    assert problems(path, MIB) == []
    path.write_bytes(bytes(4096))
    assert problems(path) == problems(path, 4096) == problems(path, None, True) == []
    assert path.stat().st_size == 4096


def test_what_is_wrong_is_said(tmp_path):
    """
    Each mistake names its key, what was got and what was expected.
    """
    path = tmp_path / "disk.raw"
    for found in [
        problems(path),
        problems(path, MIB, True),
        problems(tmp_path / "nowhere" / "disk.raw", MIB),
        problems(tmp_path),
        problems("/dev/null"),
        problems(path / "under-a-file") if path.write_bytes(bytes(512)) else [],
    ]:
        (text,) = found
        assert text.startswith("path: got ")
        assert "expected" in text
    (text,) = problems(path, 1024)
    assert text.startswith("size: got 1024, expected 512")
    assert problems(tmp_path / "new", MAX_EXPORT_SIZE + 1)[0].startswith("size: got ")


def test_a_file_is_the_same_under_all_its_names(tmp_path):
    """
    Two paths of one file have one identity, also before it exists.
    """
    (tmp_path / "link").symlink_to(tmp_path / "disk.raw")
    names = [FileSettings(path=str(tmp_path / name)) for name in ("disk.raw", "link")]
    assert provider.identity(names[0]) == provider.identity(names[1])
    (tmp_path / "disk.raw").write_bytes(b"")
    os.link(tmp_path / "disk.raw", tmp_path / "hard")
    names.append(FileSettings(path=str(tmp_path / "hard")))
    assert len({provider.identity(name) for name in names}) == 1
    assert provider.identity(FileSettings(path=str(tmp_path))) != provider.identity(names[0])


def test_a_missing_file_is_created_sparse_and_private(bench_at, tmp_path):
    """
    The new disk has its size, no blocks of data, and nobody else may read it.
    """
    bench_at(tmp_path / "disk.raw", 2**40)
    status = os.stat(tmp_path / "disk.raw")
    assert status.st_size == 2**40
    assert status.st_blocks <= 8
    assert status.st_mode & 0o777 == 0o600


def test_a_file_that_could_not_be_made_is_not_left_behind(bench_at, tmp_path):
    """
    Where the file system does not lock, opening fails and the new file is gone.
    """

    class Lockless(FakeKernel):
        def lock(self, fd, kind, start, length):
            raise OSError(errno.ENOLCK, "no locks available")

    with pytest.raises(ExportUnavailable, match="no locks"):
        bench_at(tmp_path / "disk.raw", MIB, Lockless())
    assert os.listdir(tmp_path) == []


def test_a_file_never_grows_or_shrinks(bench_at, tmp_path):
    """
    Another size than the file's is refused, and the file stays.
    """
    path = tmp_path / "disk.raw"
    path.write_bytes(b"a" * 4096)
    for size in (0, 4095, 8192):
        with pytest.raises(ExportUnavailable, match=f"has 4096 bytes, expected {size}"):
            bench_at(path, size)
    assert path.read_bytes() == b"a" * 4096


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_disk_is_refused(bench_at, tmp_path, make):
    """
    A pipe or a directory in the file's place is an error, not a wait.
    """
    make(tmp_path / "disk.raw")
    with pytest.raises(ExportUnavailable, match=r"disk\.raw"):
        bench_at(tmp_path / "disk.raw", None)


def test_a_missing_file_cannot_be_opened_without_a_size(bench_at, tmp_path):
    """
    Nothing is created by accident.
    """
    for size, read_only in [(None, False), (MIB, True)]:
        with pytest.raises(ExportUnavailable):
            bench_at(tmp_path / "disk.raw", size, None, read_only)
    assert os.listdir(tmp_path) == []


def test_an_empty_file_is_a_disk_of_no_bytes(bench_at, tmp_path):
    """
    Size 0 is a size.
    """
    bench = bench_at(tmp_path / "disk.raw", 0)
    assert bench.export.info.size == 0
    assert bench.export.flush() is None


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_one_writer_or_many_readers(bench_at, tmp_path, first, second, both):
    """
    A second export of one file is refused unless both only read; closing lets go.
    """
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    holder = bench_at(path, read_only=first)
    if both:
        bench_at(path, read_only=second)
        return
    with pytest.raises(ExportBusy, match="another process"):
        bench_at(path, read_only=second)
    holder.close()
    bench_at(path, read_only=second)


def qemu_io(path, *options):
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed")
    command = ["qemu-io", "-f", "raw", *options, "-c", "read 0 512", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_qemu_is_kept_off_a_disk_that_is_written(bench_at, tmp_path):
    """
    Neither reading nor writing tools of QEMU open a file that a gateway writes.
    """
    bench_at(tmp_path / "disk.raw")
    for options in ([], ["-r"]):
        done = qemu_io(tmp_path / "disk.raw", *options)
        assert done.returncode != 0
        assert "lock" in done.stderr


def test_qemu_may_read_what_is_only_read(bench_at, tmp_path):
    """
    A disk that a gateway only reads is open to QEMU for reading, not for writing.
    """
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    bench_at(path, read_only=True)
    assert qemu_io(path, "-r").returncode == 0
    assert qemu_io(path).returncode != 0


@pytest.mark.parametrize("read_only", [False, True])
def test_a_disk_that_qemu_writes_is_busy(bench_at, tmp_path, read_only):
    """
    QEMU's own locks keep a gateway off.
    """
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed")
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as qemu:
        qemu.stdin.write("read 0 512\n")
        qemu.stdin.flush()
        line = ""
        while "read 512" not in line:
            line = qemu.stdout.readline()
        with pytest.raises(ExportBusy):
            bench_at(path, read_only=read_only)
        qemu.stdin.write("quit\n")
        qemu.stdin.close()
        qemu.stdout.read()


def test_a_device_in_use_is_busy(bench_at, tmp_path):
    """
    A block device that someone holds exclusively is not opened.
    """
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    with loop_device(str(image)) as device:
        holder = os.open(device, os.O_RDWR | os.O_EXCL)
        try:
            with pytest.raises(ExportBusy, match="in use"):
                bench_at(device)
        finally:
            os.close(holder)
        assert provider.identity(FileSettings(path=device))[0] == "device"


def test_descriptors_are_not_inherited(bench):
    """
    A child process does not keep the disk open, nor its lock.
    """
    assert not os.get_inheritable(bench.export._fd)


def test_a_read_only_disk_is_not_touched_by_opening(bench_at, tmp_path):
    """
    No probe runs on a file that may not be changed.
    """
    path = tmp_path / "disk.raw"
    path.write_bytes(b"a" * MIB)
    kernel = FakeKernel(dict.fromkeys(["punch", "zero", "allocate"], errno.EIO))
    bench = bench_at(path, MIB, kernel, read_only=True)
    assert bench.export.info.read_only
    assert not bench.export.info.abilities.trim
    assert bench.bytes(0, MIB) == b"a" * MIB


class Seeks(Syscalls):
    """A file system with data where it is told, whatever is under it."""

    def __init__(self, data, size):
        self.data = data
        self.size = size

    def lseek(self, fd, offset, whence):
        for start, end in self.data:
            if whence == os.SEEK_DATA and end > offset:
                return max(start, offset)
            if whence == os.SEEK_HOLE and start <= offset < end:
                return end
        if whence == os.SEEK_DATA:
            raise OSError(errno.ENXIO, "no data")
        return offset


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], [(0, 100, 2)]),
        ([(0, 100)], [(0, 100, 0)]),
        ([(0, 10)], [(0, 10, 0), (10, 100, 2)]),
        ([(10, 20), (30, 100)], [(0, 10, 2), (10, 20, 0), (20, 30, 2), (30, 100, 0)]),
        ([(10, 20), (30, 40), (50, 60)], [(0, 10, 2), (10, 20, 0), (20, 30, 2), (30, 100, 0)]),
        ([(90, 120)], [(0, 90, 2), (90, 100, 0)]),
    ],
)
def test_holes_are_looked_up_as_far_as_it_is_worth(data, expected):
    """
    Holes count as proof of zeroes; behind so many runs the rest is data.
    """
    assert list(scan(Seeks(data, 100), 0, 100, max_runs=2).runs(0, 100)) == expected


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EOPNOTSUPP, errno.EIO])
def test_without_an_answer_about_holes_all_is_data(error):
    """
    A file system that cannot tell has no known zeroes.
    """

    class Mute(Syscalls):
        def lseek(self, fd, offset, whence):
            raise OSError(error, os.strerror(error))

    assert list(scan(Mute(), 0, 100).runs(0, 100)) == [(0, 100, 0)]
