"""A volume in virtual time over a store that keeps a list of what was asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from backends.objects.contract import IObjectStore, Listed
from gateway.info import MIB
from gateway.interfaces import Buffer
from tests.doubles.phantom_store import PhantomStore
from tests.doubles.volumes import VolumeHost

#: Bytes that random writes and reads have here.
BLOCK = 4096

#: What is written: a block that is neither zeroes nor short to say, again and again.
PATTERN = bytes(range(256)) * (BLOCK // 256) * (8 * MIB // BLOCK)


@attrs.frozen
class Request:
    """
    One request to the store.

    Attributes:
        kind: ``put``, ``get``, ``head``, ``list`` or ``delete``.
        key: of the object, without the volume's prefix; what was listed or deleted first.
        size: bytes sent or received as data.
    """

    kind: str
    key: str
    size: int


class Requests(list[Request]):
    """Requests in the order in which they were made."""

    def count(self, kind: str, folder: str = "") -> int:  # type: ignore[override]
        """How many of one kind; in ``log``, ``ck``, ``sb``, ... alone if a folder is given."""
        return sum(1 for one in self if one.kind == kind and one.key.startswith(folder))

    def bytes(self, kind: str, folder: str = "") -> int:
        """What they moved."""
        return sum(one.size for one in self if one.kind == kind and one.key.startswith(folder))

    def summary(self) -> str:
        """For people: how many of each kind, where, and how many bytes."""
        found: dict[tuple[str, str], list[int]] = {}
        for one in self:
            found.setdefault((one.kind, one.key.partition("/")[0]), []).append(one.size)
        return ", ".join(
            f"{len(sizes)} {kind.upper()} {folder}" + (f" ({sum(sizes):,} B)" if any(sizes) else "")
            for (kind, folder), sizes in sorted(found.items())
        )


@implementer(IObjectStore)
class RecordingStore:
    """
    Passes requests on and writes them down.

    Args:
        store: answers them.
        clock: for delays.

    Attributes:
        requests: all of them.
        delay: seconds after which answers come; 0 for at once.
    """

    def __init__(self, store, clock) -> None:
        self.requests = Requests()
        self._store = store
        self._clock = clock
        self.delay = 0.0

    def put(self, key: str, parts: Sequence[Buffer], if_absent: bool) -> Deferred[None]:
        self._note("put", key, sum(memoryview(part).nbytes for part in parts))
        return self._later(self._store.put(key, parts, if_absent))

    def get(self, key: str, start: int, length: int) -> Deferred[bytes]:
        number = len(self.requests)
        self._note("get", key, 0)

        def got(data: bytes) -> bytes:
            self.requests[number] = attrs.evolve(self.requests[number], size=len(data))
            return data

        return self._later(self._store.get(key, start, length).addCallback(got))

    def head(self, key: str) -> Deferred[Listed]:
        self._note("head", key, 0)
        return self._later(self._store.head(key))

    def list(self, prefix: str, after: str) -> Deferred[list[Listed]]:
        self._note("list", prefix, 0)
        return self._later(self._store.list(prefix, after))

    def delete(self, keys: Sequence[str]) -> Deferred[None]:
        self._note("delete", keys[0] if keys else "", 0)
        return self._later(self._store.delete(keys))

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> Deferred[None]:
        return self._store.close()

    def _note(self, kind: str, key: str, size: int) -> None:
        self.requests.append(Request(kind, key.partition("/")[2], size))

    def _later(self, answer: Deferred) -> Deferred:
        if not self.delay:
            return answer
        return answer.addBoth(lambda result: deferLater(self._clock, self.delay, lambda: result))


class Lab(VolumeHost):
    """
    Volumes whose requests are on record.

    Args:
        settings: as for `VolumeHost`; the memory cache is 64 MiB unless they say otherwise.

    Attributes:
        objects: the store itself.
    """

    def __init__(self, **settings) -> None:
        super().__init__(**{"cache": 64 * MIB, **settings})
        self.objects = PhantomStore()
        self.store = RecordingStore(self.objects, self.clock)

    @contextmanager
    def counting(self) -> Iterator[Requests]:
        """The requests made inside the ``with``; the list is filled when it ends."""
        requests = Requests()
        start = len(self.store.requests)
        yield requests
        requests += self.store.requests[start:]

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def fill(self, volume, start: int, end: int, piece: int = MIB) -> None:
        """Write the pattern over a range, in order."""
        for offset in range(start, end, piece):
            self.settle(volume.write(offset, PATTERN[: min(piece, end - offset)], False))
            self.clock.advance(0.001)

    def scatter(self, volume, writes: int, start: int, end: int, seed: int = 1) -> None:
        """
        Write blocks at random places.

        A hundredth of a second passes every 64 writes: 6,400 a second.
        """
        random = Random(seed)
        first, last = start // BLOCK, end // BLOCK
        block = PATTERN[:BLOCK]
        for number in range(writes):
            answer = volume.write(random.randrange(first, last) * BLOCK, block, False)
            if isinstance(answer, Deferred):
                self.settle(answer)
            if not number % 64:
                self.clock.advance(0.01)
