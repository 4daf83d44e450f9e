"""Taking turns, and doing many things at once but not too many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock

T = TypeVar("T")
R = TypeVar("R")


class Turn:
    """A lock that is held with ``async with``; whoever asks first is first."""

    def __init__(self) -> None:
        self._lock = DeferredLock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *failure: object) -> None:
        self._lock.release()


async def each(items: Iterable[T], do: Callable[[T], Awaitable[R]], limit: int) -> list[R]:
    """
    The results of ``do`` for every item, in order, at most ``limit`` under way at once.

    Raises:
        Exception: the first failure, when all that had begun have ended.
    """
    waiting = list(enumerate(items))[::-1]
    results: dict[int, R] = {}
    failures: list[BaseException] = []

    async def work() -> None:
        while waiting and not failures:
            number, item = waiting.pop()
            try:
                results[number] = await do(item)
            except Exception as failure:
                failures.append(failure)

    for worker in [Deferred.fromCoroutine(work()) for _ in range(min(limit, len(waiting)))]:
        await worker
    if failures:
        raise failures[0]
    return [results[number] for number in sorted(results)]
