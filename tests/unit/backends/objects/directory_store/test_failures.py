"""The directory store: what the system refuses, and what it does by halves."""

from __future__ import annotations

import errno
import os

import pytest

from backends.objects.contract import Garbled, Refused, Transient
from backends.objects.directory import DirectoryStore
from tests.unit.backends.objects.directory_store.listed import keys


def fail(monkeypatch, name, number, when=lambda *args: True):
    """Let a system call fail where ``when`` says so."""
    real = getattr(os, name)

    def failing(*args, **named):
        if when(*args):
            raise OSError(number, os.strerror(number))
        return real(*args, **named)

    monkeypatch.setattr(os, name, failing)


def is_directory(fd):
    return os.path.isdir(f"/proc/self/fd/{fd}")


class TestFailures:
    def test_a_full_disk(self, store, root, monkeypatch):
        """
        Refused, with the path, the reason and where to look; nothing is left over.
        """
        fail(monkeypatch, "write", errno.ENOSPC)
        with pytest.raises(Refused, match=r"put .*/vol/1: No space left on device; look at"):
            store.put("vol/1", [b"data"], True)
        assert keys(store) == []
        assert os.listdir(root / ".tmp") == []

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT])
    def test_what_will_not_change_is_refused(self, store, monkeypatch, number):
        """
        Permissions, quotas and read-only mounts.
        """
        fail(monkeypatch, "link", number)
        with pytest.raises(Refused, match=os.strerror(number) + "; look at"):
            store.put("vol/1", [b"data"], True)

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENFILE, errno.ESTALE, errno.ENOMEM])
    @pytest.mark.parametrize("request_", ["put", "get", "head", "list", "delete"])
    def test_what_may_change_is_transient(self, store, monkeypatch, number, request_):
        """
        Bad reads and writes, lack of memory and descriptors, servers that are away.
        """
        store.put("vol/1", [b"data"], True)
        calls = {
            "put": ("write", lambda: store.put("vol/2", [b"data"], True)),
            "get": ("pread", lambda: store.get("vol/1", 0, 4)),
            "head": ("lstat", lambda: store.head("vol/1")),
            "list": ("scandir", lambda: store.list("", "")),
            "delete": ("unlink", lambda: store.delete(["vol/1"])),
        }
        name, call = calls[request_]
        with monkeypatch.context() as patch:
            fail(patch, name, number)
            with pytest.raises(Transient, match=f"{request_} .*: {os.strerror(number)}"):
                call()
        assert keys(store) == ["vol/1"]

    def test_a_file_that_cannot_be_synced_can_be_put_again(self, store, monkeypatch, root):
        """
        What was written is thrown away: another attempt starts from the bytes.
        """
        with monkeypatch.context() as patch:
            fail(patch, "fsync", errno.EIO, lambda fd: not is_directory(fd))
            with pytest.raises(Transient):
                store.put("vol/1", [b"data"], True)
        assert os.listdir(root / ".tmp") == []
        store.put("vol/1", [b"data"], True)

    def test_a_directory_that_cannot_be_synced_is_refused(self, store, monkeypatch):
        """
        The kernel says it once: trying again would succeed and prove nothing.
        """
        fail(monkeypatch, "fsync", errno.EIO, is_directory)
        with pytest.raises(Refused, match="fsync .*Input/output error"):
            store.put("vol/1", [b"data"], True)

    def test_a_root_that_is_missing(self, store, root):
        """
        A file system that is not mounted is not taken for an empty store, nor filled.
        """
        root.rmdir()
        for call in [
            lambda: store.put("vol/1", [b"data"], True),
            lambda: store.get("vol/1", 0, 1),
            lambda: store.head("vol/1"),
            lambda: store.list("", ""),
            lambda: store.list("vol/log/", ""),
            lambda: store.delete(["vol/1"]),
        ]:
            with pytest.raises(Refused, match=f"no directory {root}; .*mounted"):
                call()
        assert not root.exists()

    def test_fewer_bytes_than_there_should_be(self, store, monkeypatch):
        """
        A file that ends before its size is garbled, not short.
        """
        store.put("vol/1", [b"data"], True)
        real = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, n, at: real(fd, min(n, 3 - at), at))
        with pytest.raises(Garbled, match="got 3 bytes from 0 on, expected 4 of 4"):
            store.get("vol/1", 0, 4)

    def test_short_reads_and_writes_are_continued(self, store, monkeypatch):
        """
        The kernel may do less than it was asked for.
        """
        write, pread = os.write, os.pread
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, 3), at))
        store.put("vol/1", [b"0123456789", b"abc"], True)
        assert store.get("vol/1", 1, 11) == b"123456789ab"

    def test_a_key_below_an_object(self, store):
        """
        A file is no directory; the failure says what to look at.
        """
        store.put("vol/1", [b"data"], True)
        with pytest.raises(Refused, match="vol/1/x: Not a directory; look at"):
            store.put("vol/1/x", [b"data"], True)
        with pytest.raises(Refused, match="not a file"):
            store.put("vol", [b"data"], True)
        with pytest.raises(Refused, match="Is a directory"):
            store.put("vol", [b"data"], False)

    @pytest.mark.parametrize("first", [".tmp", "lost+found"])
    def test_names_that_are_taken_by_others(self, store, first):
        """
        The store's own folder, and the file system's, hold no objects.
        """
        for key in (first, f"{first}/x"):
            with pytest.raises(Refused, match="first segment"):
                store.put(key, [b""], True)
        store.put(f"vol/{first}/x", [b""], True)
        assert keys(store) == [f"vol/{first}/x"]

    def test_a_segment_that_is_too_long(self, store):
        """
        The file system's limit is told.
        """
        with pytest.raises(Refused, match="File name too long; look at the length of the key"):
            store.put("a" * 256, [b""], True)

    def test_the_root_is_made_absolute(self, root, monkeypatch):
        """
        A daemon goes to another directory after it has read its configuration.
        """
        monkeypatch.chdir(root.parent)
        store = DirectoryStore("store/")
        monkeypatch.chdir("/")
        assert store.describe() == f"directory {root}"
        store.put("vol/1", [b"data"], True)
        assert (root / "vol" / "1").read_bytes() == b"data"
