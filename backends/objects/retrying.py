"""Asking a store again when it did not answer, and telling our own object from another's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from backends.objects.backoff import Attempts, BackOff
from backends.objects.contract import Exists, Garbled, IObjectStore, Listed, NotFound, Transient
from backends.objects.counting import Count, Counters, CountingStore
from gateway.info import MIB
from gateway.interfaces import Buffer
from gateway.stages import current

T = TypeVar("T")

#: Bytes read at once when an object is compared with what was to be put.
PIECE = 4 * MIB


@implementer(IObjectStore)
class RetryingStore:
    """
    Requests that failed for now are made again, until a deadline.

    `Transient` failures are retried, those of a get also when `Garbled`;
    `Refused` and `NotFound` are answers. When a put finds its name taken, the
    object there is compared with what was to be put: the very same bytes are
    those of an earlier attempt, and success. Others are looked at twice.

    Args:
        store: makes one attempt each; its own time-outs end those that hang.
        clock: for waiting.
        random: draws the waits.
        deadline: seconds from a request's start, after which no attempt
            begins: then its last failure is raised, with a text that tells
            how often and how long it was tried.
        first_delay: seconds; the bound of the first wait, doubled with each.
        longest_delay: seconds; no wait is longer.
    """

    def __init__(
        self,
        store: IObjectStore,
        clock: IReactorTime,
        random: Random,
        deadline: float,
        first_delay: float,
        longest_delay: float,
    ) -> None:
        self._store = CountingStore(store, clock.seconds)
        self._back_off = BackOff(clock, random, deadline, first_delay, longest_delay)

    @property
    def counters(self) -> Counters:
        """Of every attempt that was made."""
        return self._store.counters

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        return Deferred.fromCoroutine(self._put(key, parts, if_absent))

    def get(self, key: str, start: int, length: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._get(Attempts(self._back_off), key, start, length))

    def head(self, key: str) -> Deferred[Listed]:
        return Deferred.fromCoroutine(self._head(Attempts(self._back_off), key))

    def list(self, prefix: str, after: str) -> Deferred[list[Listed]]:
        attempts = Attempts(self._back_off)
        call = _persist(attempts, self.counters.list, self._store.list, prefix, after)
        return Deferred.fromCoroutine(call)

    def delete(self, keys: Sequence[str]) -> Deferred[None]:
        attempts = Attempts(self._back_off)
        call = _persist(attempts, self.counters.delete, self._store.delete, keys)
        return Deferred.fromCoroutine(call)

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> Deferred[None]:
        """What waits for another attempt fails now, with its last failure."""
        self._back_off.close()
        return self._store.close()

    async def _get(self, attempts: Attempts, key: str, start: int, length: int) -> bytes:
        counts, get = self.counters.get, self._store.get
        return await _persist(attempts, counts, get, key, start, length, kinds=(Transient, Garbled))

    async def _head(self, attempts: Attempts, key: str) -> Listed:
        return await _persist(attempts, self.counters.head, self._store.head, key)

    async def _put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> None:
        attempts = Attempts(self._back_off)
        while True:
            try:
                await self._store.put(key, parts, if_absent)
                return
            except Transient as error:
                failure = error
            except Exists:
                try:
                    if await self._holds(attempts, key, b"".join(parts)):
                        return
                except NotFound:
                    failure = Transient(f"{key}: there was such an object, and then there was none")
                else:
                    raise
            await attempts.pause(failure)
            self.counters.put.retries += 1
            _tell_of_retry()

    async def _holds(self, attempts: Attempts, key: str, data: bytes) -> bool:
        """
        Whether the object of that name is made of ``data``.

        Raises:
            NotFound: it has gone.
        """
        if (await self._head(attempts, key)).size != len(data):
            return False
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            # Whoever is told "no" gives up what it has: one wrong answer is not enough for that.
            for _ in range(2):
                if await self._get(attempts, key, start, len(piece)) == piece:
                    break
            else:
                return False
        return True


def _tell_of_retry() -> None:
    stages = current()
    if stages is not None:
        stages.count("retries")


async def _persist(
    attempts: Attempts,
    count: Count,
    call: Callable[..., Deferred[T]],
    *args: Any,
    kinds: tuple[type[Transient | Garbled], ...] = (Transient,),
) -> T:
    """Call until that succeeds, or fails otherwise than by ``kinds``."""
    while True:
        try:
            return await call(*args)
        except kinds as error:
            await attempts.pause(error)
        count.retries += 1
        _tell_of_retry()
