"""Stores in threads: lanes of their own, nothing started early, closing that does not hang."""

from __future__ import annotations

import threading

import pytest
from zope.interface.verify import verifyObject

from backends.objects.contract import IBlockingStore, Refused, Transient
from backends.objects.memory import BlockingMemoryStore
from backends.objects.pools import Pool, in_threads
from backends.objects.threaded import ThreadedStore
from tests.contracts.store_contract import StoreLab
from tests.doubles.faulty_store import FaultyBlockingStore
from tests.doubles.pump import Pump
from tests.doubles.threads import ManualThreads


@pytest.fixture
def blocking():
    return FaultyBlockingStore(BlockingMemoryStore())


@pytest.fixture
def pump():
    return Pump()


@pytest.fixture
def lab(blocking, pump):
    """One thread that reads, one that writes, and little patience."""
    return StoreLab(in_threads(blocking, pump, 1, 1, patience=0.01), pump.turn)


#: Of other tests in this process.
_others: set[threading.Thread] = set()


def store_threads():
    found = [thread for thread in threading.enumerate() if "store-" in thread.name]
    return [thread for thread in found if thread not in _others]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    """Every test lets its threads end."""
    _others.clear()
    _others.update(store_threads())
    yield
    for thread in store_threads():
        thread.join(60)
    assert store_threads() == []


class TestLanes:
    def test_reads_and_writes_have_their_own_threads(self):
        """
        Get, head and list by one caller, put and delete by the other.
        """
        reads, writes = ManualThreads(), ManualThreads()
        store = ThreadedStore(BlockingMemoryStore(), reads.call_in_thread, writes.call_in_thread)
        answers = [store.put("a", [b"data"], True), store.delete(["b"])]
        assert (reads.calls, writes.calls) == (0, 2)
        writes.drain()
        answers += [store.get("a", 0, 9), store.head("a"), store.list("", "")]
        assert (reads.calls, writes.calls) == (3, 2)
        reads.drain()
        assert [answer.called for answer in answers] == [True] * 5

    def test_a_stuck_write_does_not_keep_a_read_waiting(self, lab, blocking):
        """
        With every writing thread busy, reads are answered.
        """
        lab.put("a", b"data")
        come, go_on = blocking.hold("put")
        put = lab.store.put("b", [b""], True)
        assert come.wait(60)
        assert lab.read("a") == b"data"
        go_on.set()
        lab.settle(put)
        lab.settle(lab.store.close())


class TestPools:
    def test_nothing_starts_before_it_is_needed(self, lab):
        """
        The process forks between making a store and using it.
        """
        assert store_threads() == []
        lab.put("a")
        assert [thread.daemon for thread in store_threads()] == [True]
        lab.settle(lab.store.close())

    def test_there_are_no_more_threads_than_told(self, pump):
        """
        Work beyond them waits for its turn.
        """
        pool = Pool(pump, "store-test", 3)
        lock, running, most = threading.Lock(), [0], [0]
        together = threading.Barrier(3)

        def work(n):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            together.wait(60)
            with lock:
                running[0] -= 1
            return n

        lab = StoreLab(None, pump.turn)
        assert lab.all([pool.call(work, n) for n in range(12)]) == list(range(12))
        assert most == [3]
        pool.stop()

    def test_the_threads_end_with_the_store(self, lab):
        """
        Closing leaves no thread behind.
        """
        lab.put("a")
        lab.read("a")
        threads = store_threads()
        assert len(threads) == 2
        lab.settle(lab.store.close())
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


class TestClosing:
    def test_it_waits_for_what_is_under_way(self, blocking):
        """
        The store under it is closed last, in a thread.
        """
        reads, writes = ManualThreads(), ManualThreads()
        store = ThreadedStore(blocking, reads.call_in_thread, writes.call_in_thread)
        put, get = store.put("a", [b"data"], True), store.get("a", 0, 4)
        closing = store.close()
        writes.drain()
        assert put.called
        assert not closing.called
        reads.drain()
        assert get.called
        assert [call[0] for call in blocking.calls] == ["put", "get"]
        writes.drain()
        assert closing.called
        assert blocking.calls[-1] == ("close",)

    def test_nothing_is_asked_of_a_closed_store(self, lab):
        """
        The failure says so, from the moment of closing.
        """
        closing = lab.store.close()
        with pytest.raises(Refused, match="memory: the store is closed"):
            lab.settle(lab.store.get("a", 0, 1))
        lab.settle(closing)
        with pytest.raises(Refused, match="closed"):
            lab.put("a")

    def test_closing_twice_is_allowed(self, lab):
        """
        Both are answered.
        """
        lab.put("a")
        lab.all([lab.store.close(), lab.store.close()])
        lab.settle(lab.store.close())

    def test_a_stuck_thread_does_not_keep_it_from_ending(self, lab, blocking):
        """
        After some patience requests fail; those that had not begun never will.
        """
        come, go_on = blocking.hold("put")
        stuck, queued = lab.store.put("a", [b""], True), lab.store.put("b", [b""], True)
        assert come.wait(60)
        (thread,) = store_threads()
        lab.settle(lab.store.close())
        assert thread.is_alive()
        for error in lab.outcomes([stuck, queued]):
            assert isinstance(error, Transient)
            assert "stopped before" in str(error)
        go_on.set()
        thread.join(60)
        assert not thread.is_alive()
        assert [call[1] for call in blocking.calls] == ["a"]

    def test_an_answer_that_comes_too_late_is_dropped(self, lab, blocking, pump):
        """
        The request has failed by then.
        """
        come, go_on = blocking.hold("get")
        blocking.fail("get", Refused("too late as well"), "before")
        stuck = lab.store.get("a", 0, 1)
        assert come.wait(60)
        lab.settle(lab.store.close())
        (error,) = lab.outcomes([stuck])
        assert isinstance(error, Transient)
        go_on.set()
        pump.turn()

    def test_a_store_that_does_not_close_is_given_up(self, lab, blocking):
        """
        Closing answers all the same.
        """
        blocking.fail("close", Transient("away"))
        lab.put("a")
        lab.settle(lab.store.close())


def test_bugs_are_passed_on(lab, blocking):
    """
    An exception that is no failure of the store comes through as it is.
    """
    blocking.fail("get", ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError, match="oops"):
        lab.settle(lab.store.get("a", 0, 1))
    lab.settle(lab.store.close())


def test_the_double_is_lawful(blocking):
    """
    The store that fails when told has every method for threads.
    """
    assert verifyObject(IBlockingStore, blocking)
