"""The directory store: durability, other processes, crashes, and whatever else lies in the tree."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends.objects.contract import Exists, Garbled, NotFound, Refused, Transient
from backends.objects.directory import DirectoryStore
from backends.objects.keys import LONGEST
from backends.objects.walking import walk


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "store"
    made.mkdir()
    return made


@pytest.fixture
def store(root):
    return DirectoryStore(str(root))


@pytest.fixture
def trace(monkeypatch, root):
    """The calls that matter for durability, with paths below the root; temporary names are TMP."""
    calls = []

    def short(path):
        path = os.fsdecode(path)
        if "/.tmp/" in path:
            return "TMP"
        return os.path.relpath(path, root)

    def watch(name, path_of=short):
        real = getattr(os, name)

        def watched(*args, **named):
            calls.append((name, path_of(args[0])))
            return real(*args, **named)

        monkeypatch.setattr(os, name, watched)

    watch("fsync", lambda fd: short(os.readlink(f"/proc/self/fd/{fd}")))
    for name in ("mkdir", "link", "rename", "rmdir"):
        watch(name)
    return calls


def fail(monkeypatch, name, number, when=lambda *args: True):
    """Let a system call fail where ``when`` says so."""
    real = getattr(os, name)

    def failing(*args, **named):
        if when(*args):
            raise OSError(number, os.strerror(number))
        return real(*args, **named)

    monkeypatch.setattr(os, name, failing)


def keys(store, prefix="", after=""):
    return [listed.key for listed in store.list(prefix, after)]


def is_directory(fd):
    return os.path.isdir(f"/proc/self/fd/{fd}")


class TestDurability:
    def test_a_name_is_given_to_complete_and_durable_bytes(self, store, trace):
        """
        The file is synced before it is linked, each new directory's parent before, the last after.
        """
        store.put("vol/log/1", [b"data"], True)
        assert trace == [
            ("mkdir", ".tmp"),
            ("fsync", "TMP"),
            ("mkdir", "vol"),
            ("fsync", "."),
            ("mkdir", "vol/log"),
            ("fsync", "vol"),
            ("link", "TMP"),
            ("fsync", "vol/log"),
        ]

    @pytest.mark.parametrize(("if_absent", "call"), [(True, "link"), (False, "rename")])
    def test_a_known_directory_costs_one_sync(self, store, trace, if_absent, call):
        """
        Once a directory's own name is durable, only what it holds is synced.
        """
        store.put("vol/1", [b""], True)
        trace.clear()
        store.put("vol/2", [b"data"], if_absent)
        assert trace == [("fsync", "TMP"), (call, "TMP"), ("fsync", "vol")]

    def test_directories_that_were_there_are_synced_once(self, store, root, trace):
        """
        Whoever made them may not have come to it.
        """
        (root / "vol" / "log").mkdir(parents=True)
        trace.clear()
        store.put("vol/log/1", [b""], True)
        assert [path for call, path in trace if call == "fsync"] == ["TMP", ".", "vol", "vol/log"]

    def test_what_exists_is_durable(self, store, root, trace):
        """
        The object may be our own earlier attempt, whose last sync was never reached.
        """
        DirectoryStore(str(root)).put("vol/1", [b"data"], True)
        trace.clear()
        with pytest.raises(Exists, match="vol/1"):
            store.put("vol/1", [b"data"], True)
        assert trace[-1] == ("fsync", "vol")

    def test_deletes_are_synced_once_for_a_directory(self, store, trace):
        """
        A batch syncs each directory once.
        """
        for n in range(10):
            store.put(f"vol/{n}", [b""], True)
        trace.clear()
        store.delete([f"vol/{n}" for n in range(9)])
        assert trace == [("fsync", "vol"), ("rmdir", "vol")]

    def test_empty_directories_go(self, store, root, trace):
        """
        With the last object its directories go, up to the root, and durably.
        """
        store.put("a/b/c/1", [b""], True)
        store.put("a/2", [b""], True)
        trace.clear()
        store.delete(["a/b/c/1"])
        assert not (root / "a" / "b").exists()
        store.delete(["a/2"])
        assert os.listdir(root) == [".tmp"]
        assert trace[-1] == ("fsync", ".")
        store.put("a/b/c/1", [b"again"], True)
        assert store.get("a/b/c/1", 0, 9) == b"again"

    def test_a_removed_directory_is_not_known_any_more(self, store, root, trace):
        """
        Somebody else may have made it again, and not have come to syncing it.
        """
        store.put("vol/1", [b""], True)
        store.delete(["vol/1"])
        (root / "vol").mkdir()
        trace.clear()
        store.put("vol/2", [b""], True)
        assert [path for call, path in trace if call == "fsync"] == ["TMP", ".", "vol"]

    def test_a_directory_that_vanishes_under_a_put_is_made_again(self, store, monkeypatch, root):
        """
        Another process may remove it, empty as it is, just before the link.
        """
        store.put("vol/log/0", [b""], True)
        DirectoryStore(str(root)).delete(["vol/log/0"])
        assert not (root / "vol").exists()
        store.put("vol/log/1", [b"data"], True)

        real, left = os.link, [3]

        def link(source, path):
            if left[0]:
                left[0] -= 1
                os.rmdir(os.path.dirname(path))
            real(source, path)

        monkeypatch.setattr(os, "link", link)
        store.put("vol/gc/1", [b"data"], True)
        assert keys(store) == ["vol/gc/1", "vol/log/1"]

    def test_an_object_that_vanishes_under_a_put_frees_its_name(self, store, monkeypatch):
        """
        The name was taken, and free again before anybody looked: the put goes on.
        """
        store.put("vol/1", [b"first"], True)
        real = os.link

        def link(source, path):
            try:
                real(source, path)
            except FileExistsError:
                os.unlink(path)
                raise

        monkeypatch.setattr(os, "link", link)
        store.put("vol/1", [b"other"], True)
        assert store.get("vol/1", 0, 9) == b"other"


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


class TestListing:
    def test_only_directories_that_matter_are_read(self, store, monkeypatch):
        """
        Prefix and ``after`` decide which branches of the tree are looked at.
        """
        for key in ("a/x/1", "a/y/1", "b/1", "a-/1", "a/z", "c/1"):
            store.put(key, [b""], True)
        read = []
        real = os.scandir

        def scandir(path):
            read.append(os.path.relpath(os.fsdecode(path), store.describe()[10:]))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        for prefix, after, directories in [
            ("a/x/", "", ["a/x"]),
            ("a/x/1", "", ["a/x"]),
            ("a/x", "", ["a", "a/x"]),
            ("a/", "a/y", ["a", "a/y"]),
            ("a/", "a/y/0", ["a", "a/y"]),
            ("", "b", [".", "b", "c"]),
            ("", "b/1", [".", "b", "c"]),
            ("", "b0", [".", "c"]),
            ("nothing/here/", "", []),
        ]:
            read.clear()
            store.list(prefix, after)
            assert read == directories, (prefix, after)

    def test_what_disappears_on_the_way_is_not_listed(self, store, monkeypatch, root):
        """
        A delete beside a listing takes nothing but its own objects out of it.
        """
        for key in ("a/1", "b/1", "b/2", "c/1"):
            store.put(key, [b""], True)
        listing = walk(os.fsencode(root), b"", b"", frozenset({b".tmp"}))
        assert next(listing).key == "a/1"
        store.delete(["c/1"])
        assert next(listing).key == "b/1"
        store.delete(["b/2"])
        assert list(listing) == []

    @given(
        keys=st.lists(st.text(alphabet="a-/0.ä😀", min_size=1, max_size=8), max_size=15),
        prefix=st.text(alphabet="a-/0.", max_size=4),
        after=st.text(alphabet="a-/0.ä", max_size=6),
    )
    def test_it_equals_a_sorted_list(self, tmp_path_factory, keys, prefix, after):
        """
        Any keys, any prefix, any ``after``.
        """
        store = DirectoryStore(str(tmp_path_factory.mktemp("store")))
        model = set()
        for key in keys:
            try:
                store.put(key, [b""], True)
                model.add(key)
            except (Refused, Exists):
                pass  # no key, or in the way of another
        expected = sorted(key for key in model if key.startswith(prefix) and key > after)
        assert [listed.key for listed in store.list(prefix, after)] == expected


_PUT_ALL = """
import sys
from backends.objects.contract import Exists
from backends.objects.directory import DirectoryStore
store = DirectoryStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[3])):
    try:
        store.put(f"{n % 7}/{n:04d}", [sys.argv[2].encode() * 1000], True)
        print(n, flush=True)
    except Exists:
        pass
    if n % 3 == 0:  # directories come and go under the other's puts
        store.put(f"{n % 7}-{n}/{sys.argv[2]}", [b""], True)
        store.delete([f"{n % 7}-{n}/{sys.argv[2]}"])
"""

_PUT_ON = """
import itertools, sys
from backends.objects.directory import DirectoryStore
store = DirectoryStore(sys.argv[1])
for n in itertools.count(int(sys.argv[2])):
    store.put(f"log/{n:08d}", [n.to_bytes(8, "big") * 50_000] * 3, n % 2 == 0)
    print(n, flush=True)
"""

_BE_STUCK = """
import os, sys
from backends.objects.directory import DirectoryStore
def fsync(fd):
    print("written", flush=True)
    sys.stdin.read()
    sys.exit()
os.fsync = fsync
DirectoryStore(sys.argv[1]).put("log/1", [b"data"], True)
"""


@pytest.fixture
def start(root):
    """Runs a program over the root, with arguments; it is gone after the test."""
    started = []

    def start_one(program, *args):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(root), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(backends.__file__).parent.parent,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


class TestProcesses:
    def test_racing_processes_win_each_name_once(self, store, start):
        """
        Two processes put the same keys; each key is won by exactly one, whose bytes are there.
        """
        count = 300
        racers = {name: start(_PUT_ALL, name, str(count)) for name in ("x", "y")}
        for racer in racers.values():
            assert racer.stdout.readline() == "ready\n"
        for racer in racers.values():
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = {name: [int(n) for n in racer.stdout] for name, racer in racers.items()}
        assert [racer.wait() for racer in racers.values()] == [0, 0]
        assert sorted(won["x"] + won["y"]) == list(range(count))
        for name, numbers in won.items():
            for n in numbers:
                assert store.get(f"{n % 7}/{n:04d}", 0, 2000) == name.encode() * 1000
        assert len(keys(store)) == count

    def test_a_killed_process_leaves_whole_objects(self, store, start, root):
        """
        Whatever a put was doing, there is the whole object or nothing; answered ones are there.
        """
        begin = 0
        for answered in (0, 1, 3, 10):
            process = start(_PUT_ON, str(begin))
            numbers = [int(process.stdout.readline()) for _ in range(answered + 1)]
            process.kill()
            numbers += [int(line) for line in process.stdout]
            process.wait()
            found = store.list("log/", "")
            assert [listed.key for listed in found[: begin + len(numbers)]] == [
                f"log/{n:08d}" for n in range(begin + len(numbers))
            ]
            for n, listed in enumerate(found):
                assert store.get(listed.key, 0, listed.size + 1) == n.to_bytes(8, "big") * 150_000
            begin = len(found)
        DirectoryStore(str(root)).put("log/x", [b""], True)
        assert os.listdir(root / ".tmp") == []

    def test_leftovers_of_the_dead_are_swept_and_files_of_the_living_are_not(self, start, root):
        """
        A new store removes what no live process is writing, when it first puts something.
        """
        living, dead = start(_BE_STUCK), start(_BE_STUCK)
        for process in (living, dead):
            assert process.stdout.readline() == "written\n"
        assert len(os.listdir(root / ".tmp")) == 2
        dead.kill()
        dead.wait()
        store = DirectoryStore(str(root))
        assert keys(store) == []
        assert len(os.listdir(root / ".tmp")) == 2
        store.put("vol/1", [b"data"], True)
        assert len(os.listdir(root / ".tmp")) == 1
        living.stdin.close()
        living.wait()
        assert keys(store) == ["vol/1"]
        assert os.listdir(root / ".tmp") == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "got 0 bytes"),
        ("/", "segment ''"),
        ("/a", "segment ''"),
        ("a/", "segment ''"),
        ("a//b", "segment ''"),
        (".", r"segment '\.'"),
        ("a/./b", r"segment '\.'"),
        ("..", r"segment '\.\.'"),
        ("../a", r"segment '\.\.'"),
        ("a/..", r"segment '\.\.'"),
        ("a\0b", "NUL"),
        ("a\ud800", "UTF-8"),
        ("a/" * (LONGEST // 2) + "b", "got 1025 bytes, expected 1 to 1024"),
    ],
)
def test_what_is_no_key_is_refused(store, root, key, text):
    """
    No request leaves the root, whatever the key looks like; the text says what is wrong.
    """
    for call in [
        lambda: store.put(key, [b"data"], True),
        lambda: store.get(key, 0, 1),
        lambda: store.head(key),
        lambda: store.delete(["a", key]),
    ]:
        with pytest.raises(Refused, match=text):
            call()
    assert os.listdir(root.parent) == ["store"]
    assert os.listdir(root) == []
    assert keys(store, key) == []
    assert keys(store, "", key) == []
