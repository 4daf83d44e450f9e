"""Making a disk file: whole or not at all, whenever the process is killed."""

from __future__ import annotations

import errno
import os

import pytest

from backends.file import creating
from backends.file.locking import lock
from backends.file.syscalls import Syscalls
from gateway.errors import ExportBusy, ExportUnavailable

MIB = 1024 * 1024


class Killed(BaseException):
    """The process ends here: nothing is cleaned up."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "disk.raw"


@pytest.mark.parametrize("call", ["open", "ftruncate", "fsync", "link", "unlink"])
def test_wherever_it_is_killed_the_next_start_has_the_disk(bench_at, path, monkeypatch, call):
    """
    Right before or after any step: under its name there is nothing, or a disk of its size;
    the next start opens it and leaves no other name.
    """
    for after in (False, True):
        with monkeypatch.context() as patch:
            real = getattr(os, call)

            def die(*args, real=real, patch=patch, after=after, **named):
                if after:
                    real(*args, **named)
                patch.setattr(creating.os, "unlink", lambda *_: None)  # who is dead cleans nothing
                raise Killed

            patch.setattr(creating.os, call, die)
            with pytest.raises(Killed):
                creating.create(Syscalls(), str(path), MIB)
        if path.exists():
            assert path.stat().st_size == MIB
        bench = bench_at(path)
        assert bench.extents() == [(MIB, 3)]
        bench.close()
        assert os.listdir(path.parent) == ["disk.raw"]
        os.unlink(path)


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(path, monkeypatch):
    """
    A file that appears while the disk is made stays as it is, and nothing else is left.
    """
    fsync = os.fsync

    def appear(fd):
        fsync(fd)
        path.write_bytes(b"mine")

    monkeypatch.setattr(creating.os, "fsync", appear)
    with pytest.raises(FileExistsError):
        creating.create(Syscalls(), str(path), MIB)
    assert path.read_bytes() == b"mine"
    assert os.listdir(path.parent) == ["disk.raw"]


def test_two_who_make_it_do_not_disturb_each_other(path):
    """
    What another process is making is not stale: it holds the lock.
    """
    other = path.parent / ".disk.raw.unfinished"
    other.write_bytes(b"")
    fd = os.open(other, os.O_RDWR)
    try:
        lock(Syscalls(), fd, str(other), read_only=False)
        with pytest.raises(ExportBusy):
            creating.create(Syscalls(), str(path), MIB)
        assert other.exists()
    finally:
        os.close(fd)


def test_a_stale_name_of_a_disk_that_moved_costs_it_nothing(bench_at, path):
    """
    Of a disk that was killed with both names and then renamed, the stale one goes, the bytes stay.
    """
    moved = path.parent / "moved.raw"
    moved.write_bytes(b"a" * 4096)
    os.link(moved, path.parent / ".disk.raw.unfinished")
    bench_at(path)
    assert moved.read_bytes() == b"a" * 4096
    assert sorted(os.listdir(path.parent)) == ["disk.raw", "moved.raw"]


def test_other_links_of_a_disk_are_left_alone(bench_at, path):
    """
    Only the name that the making uses, and only if it is this disk, is removed.
    """
    path.write_bytes(bytes(4096))
    os.link(path, path.parent / "hard")
    (path.parent / ".disk.raw.unfinished").write_bytes(b"other")
    bench_at(path, 4096)
    assert sorted(os.listdir(path.parent)) == [".disk.raw.unfinished", "disk.raw", "hard"]


def test_a_disk_that_cannot_be_sized_leaves_nothing(bench_at, path, monkeypatch):
    """
    A size that the file system does not take is an error, and no file.
    """

    def refuse(fd, size):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(creating.os, "ftruncate", refuse)
    with pytest.raises(ExportUnavailable, match="too large"):
        bench_at(path)
    assert os.listdir(path.parent) == []
