"""What was asked of a store, counted."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from backends.objects.contract import (
    Exists,
    Garbled,
    IObjectStore,
    Listed,
    NotFound,
    Refused,
    Transient,
)
from gateway.interfaces import Buffer

T = TypeVar("T")

#: Seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

#: What `gateway.measures` calls the kinds of failures.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (NotFound, "not_found"),
    (Exists, "exists"),
    (Refused, "refused"),
    (Transient, "transient"),
    (Garbled, "garbled"),
)


@attrs.define
class Count:
    """
    One kind of request.

    Attributes:
        requests: made so far, answered or not; every attempt counts.
        failures: of those, whatever the reason; `NotFound` and `Exists` are some.
        retries: of the requests, those made because an earlier one had failed.
        bytes_up: put by requests that succeeded.
        bytes_down: got by requests that succeeded.
        codes: answered requests, by one of `gateway.measures.CODES`.
        seconds: what answered requests took together.
        took: how many were answered within each of `BOUNDS`, and later.
    """

    requests: int = 0
    failures: int = 0
    retries: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    codes: dict[str, int] = attrs.field(factory=dict)
    seconds: float = 0.0
    took: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS) + 1))

    def answered(self, code: str, seconds: float) -> None:
        """One request came to an end."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.seconds += seconds
        self.took[bisect_left(BOUNDS, seconds)] += 1


@attrs.frozen
class Counters:
    """Counts by kind of request; they only grow."""

    put: Count = attrs.field(factory=Count)
    get: Count = attrs.field(factory=Count)
    head: Count = attrs.field(factory=Count)
    list: Count = attrs.field(factory=Count)
    delete: Count = attrs.field(factory=Count)


@implementer(IObjectStore)
class CountingStore:
    """
    Passes requests on.

    Args:
        clock: seconds that only ever go on.

    Attributes:
        counters: of all requests; whoever retries counts the retries.
    """

    def __init__(self, store: IObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = Counters()
        self._store = store
        self._clock = clock

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        size = sum(memoryview(part).nbytes for part in parts)
        answer = self._store.put(key, parts, if_absent)
        return self._counted(self.counters.put, answer).addCallback(self._put, size)

    def get(self, key: str, start: int, length: int) -> Deferred[bytes]:
        answer = self._store.get(key, start, length)
        return self._counted(self.counters.get, answer).addCallback(self._got)

    def head(self, key: str) -> Deferred[Listed]:
        return self._counted(self.counters.head, self._store.head(key))

    def list(self, prefix: str, after: str) -> Deferred[list[Listed]]:
        return self._counted(self.counters.list, self._store.list(prefix, after))

    def delete(self, keys: Sequence[str]) -> Deferred[None]:
        return self._counted(self.counters.delete, self._store.delete(keys))

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> Deferred[None]:
        return self._store.close()

    def _counted(self, count: Count, answer: Deferred[T]) -> Deferred[T]:
        begun = self._clock()

        def succeeded(result: T) -> T:
            count.answered("ok", self._clock() - begun)
            return result

        def failed(failure: Failure) -> Failure:
            count.failures += 1
            code = next((code for kind, code in _CODES if failure.check(kind)), "failed")
            count.answered(code, self._clock() - begun)
            return failure

        count.requests += 1
        return answer.addCallbacks(succeeded, failed)

    def _put(self, _: None, size: int) -> None:
        self.counters.put.bytes_up += size

    def _got(self, data: bytes) -> bytes:
        self.counters.get.bytes_down += len(data)
        return data
