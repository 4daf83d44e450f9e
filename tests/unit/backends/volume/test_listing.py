"""Whole listings, page after page."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from backends.objects.contract import PAGE
from backends.objects.memory import MemoryStore
from backends.volume.listing import everything


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, 2 * PAGE + 5])
def test_all_keys_of_a_folder_in_order(count):
    store = MemoryStore()
    keys = [f"log/{number:06}" for number in range(count)]
    for key in [*keys, "a", "log", "loh/1"]:
        store.put(key, [b"x"], True)
    found = []
    Deferred.fromCoroutine(everything(store, "log/")).addCallback(found.append)
    assert [one.key for one in found[0]] == keys
    Deferred.fromCoroutine(everything(store, "log/", "log/000000")).addCallback(found.append)
    assert [one.key for one in found[1]] == keys[1:]
