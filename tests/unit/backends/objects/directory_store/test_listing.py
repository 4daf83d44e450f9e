"""The directory store: listings and keys."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.objects.contract import Exists, Refused
from backends.objects.directory import DirectoryStore
from backends.objects.keys import LONGEST
from backends.objects.walking import walk
from tests.unit.backends.objects.directory_store.listed import keys


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
