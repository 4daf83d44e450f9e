"""A blocking store behind threads: reads and writes in lanes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from backends.objects.contract import IBlockingStore, IObjectStore, Listed, Refused, StoreError
from gateway.interfaces import Buffer

T = TypeVar("T")

#: Runs a blocking function elsewhere, as `gateway.interfaces.Resources.call_in_thread` does.
CallInThread: TypeAlias = "Callable[..., Deferred[Any]]"


def _as_it_comes(ended: Deferred[None]) -> Deferred[None]:
    return ended


@implementer(IObjectStore)
class ThreadedStore:
    """
    Lifts an `IBlockingStore`; each call is one attempt.

    Args:
        blocking: does the work, in several threads at once.
        call_reads: for get, head and list.
        call_writes: for put and delete; while it is busy, reads go on.
        let_go: of the threads, when the store is closed. It is given the end
            of all that is under way and answers when the threads are gone, at
            the latest then; it may decide not to wait any longer.
    """

    def __init__(
        self,
        blocking: IBlockingStore,
        call_reads: CallInThread,
        call_writes: CallInThread,
        let_go: Callable[[Deferred[None]], Deferred[None]] = _as_it_comes,
    ) -> None:
        self._blocking = blocking
        self._call_reads = call_reads
        self._call_writes = call_writes
        self._let_go = let_go
        self._under_way = 0
        self._closed = False
        self._waiting: list[Deferred[None]] = []  # for nothing to be under way

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        return self._call(self._call_writes, self._blocking.put, key, parts, if_absent)

    def get(self, key: str, start: int, length: int) -> Deferred[bytes]:
        return self._call(self._call_reads, self._blocking.get, key, start, length)

    def head(self, key: str) -> Deferred[Listed]:
        return self._call(self._call_reads, self._blocking.head, key)

    def list(self, prefix: str, after: str) -> Deferred[list[Listed]]:
        return self._call(self._call_reads, self._blocking.list, prefix, after)

    def delete(self, keys: Sequence[str]) -> Deferred[None]:
        return self._call(self._call_writes, self._blocking.delete, keys)

    def describe(self) -> str:
        return self._blocking.describe()

    def close(self) -> Deferred[None]:
        self._closed = True
        return self._let_go(Deferred.fromCoroutine(self._end()))

    async def _end(self) -> None:
        if self._under_way:
            quiet: Deferred[None] = Deferred()
            self._waiting.append(quiet)
            await quiet
        try:
            await self._call_writes(self._blocking.close)
        except StoreError:
            pass  # it is given up either way, and so are threads that would not come back

    def _call(self, caller: CallInThread, work: Callable[..., T], *args: Any) -> Deferred[T]:
        if self._closed:
            return fail(Refused(f"{self.describe()}: the store is closed"))
        self._under_way += 1
        # A thread knows for whom it works: the store's request id is a note for the log.
        answer: Deferred[T] = caller(copy_context().run, work, *args)
        return answer.addBoth(self._answered)

    def _answered(self, result: T) -> T:
        self._under_way -= 1
        if not self._under_way:
            waiting, self._waiting = self._waiting, []
            for quiet in waiting:
                quiet.callback(None)
        return result
