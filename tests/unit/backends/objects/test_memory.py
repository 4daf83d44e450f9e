"""The memory stores beyond the contract: answers that have come, dates, threads."""

from __future__ import annotations

from threading import Thread

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from backends.objects.contract import Exists, IBlockingStore, NotFound, Refused
from backends.objects.memory import BlockingMemoryStore, MemoryStore


def answer(deferred):
    """What the Deferred has fired with."""
    answers = []
    deferred.addBoth(answers.append)
    (found,) = answers
    if hasattr(found, "raiseException"):
        found.raiseException()
    return found


def test_every_answer_has_come():
    """
    The Deferreds have fired when the calls return; failures too.
    """
    store = MemoryStore()
    answer(store.put("a", [b"da", b"ta"], True))
    assert answer(store.get("a", 1, 9)) == b"ata"
    assert answer(store.head("a")).size == 4
    assert len(answer(store.list("", ""))) == 1
    answer(store.delete(["a"]))
    with pytest.raises(NotFound):
        answer(store.get("a", 0, 1))


def test_objects_are_dated_by_the_clock():
    """
    A test's clock is the store's.
    """
    clock = Clock()
    clock.advance(1000)
    store = MemoryStore(clock)
    answer(store.put("a", [b""], True))
    clock.advance(5)
    answer(store.put("b", [b""], True))
    assert [listed.modified for listed in answer(store.list("", ""))] == [1000, 1005]
    assert answer(store.head("a")).modified == 1000


def test_objects_outlive_closing():
    """
    A volume that is attached again finds what it stored.
    """
    store = MemoryStore()
    answer(store.put("a", [b"data"], True))
    answer(store.close())
    assert answer(store.get("a", 0, 9)) == b"data"


def test_what_is_no_key_is_refused():
    """
    Mistakes are found without a real store.
    """
    store = MemoryStore()
    for key in ("", "a//b", "/a", "a/..", "a\0", "a" * 1025):
        with pytest.raises(Refused, match="expected"):
            answer(store.put(key, [b""], True))


def test_the_blocking_store_is_for_threads():
    """
    It provides the law for threads, and racing ones have one winner.
    """
    store = BlockingMemoryStore()
    assert verifyObject(IBlockingStore, store)
    won = []

    def race(n):
        try:
            store.put("a", [bytes([n])], True)
            won.append(n)
        except Exists:
            pass

    threads = [Thread(target=race, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert store.get("a", 0, 9) == bytes([winner])
