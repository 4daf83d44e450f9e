"""Threads for a store: as many as it may have requests under way, none before the first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from backends.objects.contract import IBlockingStore, Transient
from backends.objects.threaded import ThreadedStore

T = TypeVar("T")

#: Seconds that a closing store is given to answer what is under way.
PATIENCE = 30.0


class _Threads(ThreadPool):
    """Threads that do not keep the process from ending; one may be stuck behind a dead disk."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # noqa: N815


class Pool:
    """
    At most ``size`` threads, made when there is work for them.

    Args:
        reactor: an `IReactorFromThreads`; answers come on its thread.
        name: of the threads, for debuggers.
        size: calls at once; more wait for their turn.
    """

    def __init__(self, reactor: Any, name: str, size: int) -> None:
        self._reactor = reactor
        self._name = name
        self._size = size
        self._threads: _Threads | None = None
        self._unanswered: set[Deferred[Any]] = set()
        self._stopped = False

    def call(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """
        Run ``work`` in a thread.

        Raises:
            Transient: the pool was stopped before the work was done; it may
                still be under way, but not if it had not begun.
        """
        if self._stopped:
            return fail(self._too_late())
        if self._threads is None:
            self._threads = _Threads(0, self._size, self._name)
            self._threads.start()
        answer: Deferred[T] = Deferred()
        self._unanswered.add(answer)
        done = deferToThreadPool(self._reactor, self._threads, self._work, work, args)
        done.addBoth(self._answer, answer)
        return answer

    def stop(self) -> None:
        """
        End threads that have nothing to do, fail what is unanswered; waits for nobody.
        """
        self._stopped = True
        if self._threads is not None:
            threads, self._threads = self._threads, None
            threads.threads.clear()  # `stop` would wait for those
            threads.stop()
        unanswered, self._unanswered = self._unanswered, set()
        for answer in unanswered:
            answer.errback(self._too_late())

    def _work(self, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        """In a thread. Once the pool is stopped nothing begins: its buffers may be in use again."""
        if self._stopped:
            raise self._too_late()
        return work(*args)

    def _answer(self, result: Any | Failure, answer: Deferred[Any]) -> None:
        if answer in self._unanswered:
            self._unanswered.remove(answer)
            answer.callback(result)

    def _too_late(self) -> Transient:
        return Transient(f"threads {self._name}: stopped before the request was answered")


class Pools:
    """
    The threads of one store: some that read, some that write.

    Args:
        reactor: an `IReactorFromThreads` and `IReactorTime`.
        reads: threads that read.
        writes: threads that write.
        patience: seconds.
    """

    def __init__(self, reactor: Any, reads: int, writes: int, patience: float = PATIENCE) -> None:
        self.reads = Pool(reactor, "store-reads", reads)
        self.writes = Pool(reactor, "store-writes", writes)
        self._reactor = reactor
        self._patience = patience

    def let_go(self, ended: Deferred[None]) -> Deferred[None]:
        """Stop when ``ended`` fires, or after ``patience``: that makes it fire."""
        timer = self._reactor.callLater(self._patience, self._stop)

        def stop(result: T) -> T:
            if timer.active():
                timer.cancel()
            self._stop()
            return result

        return ended.addBoth(stop)

    def _stop(self) -> None:
        self.reads.stop()
        self.writes.stop()


def in_threads(
    blocking: IBlockingStore, reactor: Any, reads: int, writes: int, patience: float = PATIENCE
) -> ThreadedStore:
    """
    A store with threads of its own; arguments as for `Pools`.

    Starts nothing before it is first asked for something: the process may fork until then.
    """
    pools = Pools(reactor, reads, writes, patience)
    return ThreadedStore(blocking, pools.reads.call, pools.writes.call, pools.let_go)
