"""Finding volumes: all of them, with few requests."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.memory import MemoryStore
from backends.volume.finding import folders


class Counting:
    """Counts listings."""

    def __init__(self):
        self.store = MemoryStore()
        self.listed = 0

    def list(self, prefix, after):
        self.listed += 1
        return self.store.list(prefix, after)


def found(store, prefix=""):
    answers = []
    Deferred.fromCoroutine(folders(store, prefix)).addBoth(answers.append)
    assert isinstance(answers[0], list), answers
    return answers[0]


@pytest.fixture
def store():
    made = Counting()
    for key in (
        "a/b/sb/0000000000000001",
        "a/b-c/sb/0000000000000003",
        "a/log/0000000000000001",  # no superblock
        "vm1/ck/00000001-00000000",
        "vm1/log/0000000000000001",
        "vm1/ref/00000000000000000000000000000000",
        "vm1/sb/0000000000000002",
        "vm1/sb/0000000000000003",
        "vm10/sb/0000000000000001",
        "vm1x/sb/note.txt",
        "some/photo.jpg",
        "sb/x",
    ):
        made.store.put(key, [b""], True)
    return made


def test_every_folder_with_superblocks_is_found_in_one_request(store):
    """Whatever else lies beside and within."""
    assert found(store) == ["a/b", "a/b-c", "vm1", "vm10"]
    assert store.listed == 1


def test_a_folder_is_searched_with_those_below_it(store):
    """And not the ones whose names begin alike."""
    assert found(store, "vm1") == ["vm1"]
    assert found(store, "a") == ["a/b", "a/b-c"]
    assert found(store, "none") == []


def test_a_volume_in_the_stores_root_is_found():
    """As one without a folder."""
    store = Counting()
    store.store.put("sb/0000000000000001", [b""], True)
    assert found(store) == [""]


def test_what_volumes_consist_of_is_jumped_over(store):
    """A large volume takes a few requests, not one for each thousand objects."""
    for slot in range(20_000):
        store.store.put(f"big/log/{slot:016x}", [b""], True)
        store.store.put(f"big/gc/00000001-{slot:08x}", [b""], True)
    store.store.put("big/sb/0000000000000001", [b""], True)
    assert found(store) == ["a/b", "a/b-c", "big", "vm1", "vm10"]
    assert store.listed <= 5
