"""The directory store: whatever else lies in its tree."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
from pathlib import Path

import pytest

from backends.objects.contract import NotFound, Refused
from tests.unit.backends.objects.directory_store.listed import keys


class TestForeignFiles:
    def test_a_listing_passes_them_over(self, store, root):
        """
        Links, sockets, pipes, empty directories, names that are no UTF-8: none is an object.
        """
        store.put("vol/1", [b"data"], True)
        store.put("vol/2", [b"data"], True)
        (root / "vol" / "link").symlink_to(root / "vol" / "1")
        (root / "vol" / "loop").symlink_to("loop")
        (root / "vol" / "dangling").symlink_to("nowhere")
        (root / "linked").symlink_to(root / "vol")
        (root / "empty").mkdir()
        os.mkfifo(root / "pipe")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(root / "socket"))
        Path(os.fsdecode(os.fsencode(root / "vol") + b"/\xff")).write_bytes(b"x")
        os.makedirs(os.fsencode(root) + b"/\xfe/deep")
        Path(os.fsdecode(os.fsencode(root) + b"/\xfe/deep/file")).write_bytes(b"x")
        assert keys(store) == ["vol/1", "vol/2"]
        assert keys(store, "vol/") == ["vol/1", "vol/2"]
        assert keys(store, "linked/") == []
        for key in ("vol/link", "vol/loop", "vol/dangling", "pipe", "socket", "empty", "vol"):
            with pytest.raises(NotFound):
                store.get(key, 0, 1)
            with pytest.raises(NotFound):
                store.head(key)
        for key in ("vol/link", "pipe", "socket", "empty"):
            with pytest.raises(Refused, match="not a file"):
                store.put(key, [b""], True)

    def test_an_object_behind_a_linked_directory_is_refused(self, store, root):
        """
        A listing would not find it again.
        """
        (root / "real").mkdir()
        (root / "linked").symlink_to(root / "real")
        with pytest.raises(Refused, match="Not a directory"):
            store.put("linked/1", [b""], True)

    def test_a_tree_without_end(self, store, root):
        """
        Paths that no key could reach are not entered.
        """
        place = os.open(root, os.O_RDONLY)
        for _ in range(2000):
            os.mkdir("d", dir_fd=place)
            below = os.open("d", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = below
        os.close(place)
        try:
            assert keys(store) == []
        finally:
            subprocess.run(["rm", "-r", str(root / "d")], check=True)

    def test_a_sweep_that_comes_before_the_lock(self, store, root, monkeypatch):
        """
        A file that was taken for a leftover before it was locked is given up for another.
        """
        real, left = fcntl.flock, [3]

        def flock(fd, operation):
            if left[0]:
                left[0] -= 1
                (name,) = os.listdir(root / ".tmp")
                os.unlink(root / ".tmp" / name)
            real(fd, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        store.put("vol/1", [b"data"], True)
        assert left == [0]
        assert store.get("vol/1", 0, 9) == b"data"

    def test_a_sweep_that_holds_the_lock(self, store, monkeypatch):
        """
        Likewise.
        """
        real, left = fcntl.flock, [3]

        def flock(fd, operation):
            if left[0]:
                left[0] -= 1
                raise BlockingIOError(errno.EWOULDBLOCK, "locked")
            real(fd, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        store.put("vol/1", [b"data"], True)
        assert store.get("vol/1", 0, 9) == b"data"

    def test_a_file_system_without_locks(self, store, root, monkeypatch):
        """
        Objects are put all the same; what may be a leftover stays.
        """
        (root / ".tmp").mkdir()
        (root / ".tmp" / "leftover").touch()

        def flock(fd, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
        store.put("vol/1", [b"data"], True)
        assert keys(store) == ["vol/1"]
        assert os.listdir(root / ".tmp") == ["leftover"]

    def test_a_folder_of_unfinished_files_with_strangers(self, store, root):
        """
        What the store did not make and cannot remove does not keep it from working.
        """
        (root / ".tmp" / "directory").mkdir(parents=True)
        (root / ".tmp" / "link").symlink_to("nowhere")
        store.put("vol/1", [b"data"], True)
        assert keys(store) == ["vol/1"]
