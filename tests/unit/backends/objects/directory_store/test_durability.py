"""The directory store: what is answered is durable, names and directories as well."""

from __future__ import annotations

import os

import pytest

from backends.objects.contract import Exists
from backends.objects.directory import DirectoryStore
from tests.unit.backends.objects.directory_store.listed import keys


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
