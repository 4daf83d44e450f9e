"""The first read of an object: its header, once for all who ask, and what else they want of it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from backends.volume.frame_cache import FrameCache
from backends.volume.frame_runs import GAP_BEHIND_HEADER, merged
from backends.volume.known_objects import KnownObject, KnownObjects
from backends.volume.likeness import Likeness
from backends.volume.lineage import Lineage, Source
from backends.volume.object_reads import ObjectReads
from backends.volume.units import FRAME, HEADER_LIMIT
from backends.volume.waiters import fail_all
from gateway.errors import Corrupt, Unavailable

#: Frames that are guessed, together: all who come meanwhile wait for them.
_FEW = 4


class FirstReads:
    """
    Args:
        reads: of the objects.
        lineage: says what they are called.
        objects: gets to know them.
        memory: takes the frames that come along.
    """

    def __init__(
        self, reads: ObjectReads, lineage: Lineage, objects: KnownObjects, memory: FrameCache
    ) -> None:
        self._reads = reads
        self._lineage = lineage
        self._objects = objects
        self._memory = memory
        self._likeness = Likeness()
        self._waiting: dict[Source, list[Deferred[KnownObject]]] = {}

    async def read(self, source: Source, wanted: Sequence[int]) -> KnownObject:
        """
        Get to know an object. All who ask meanwhile go on in the order in which they came.

        Args:
            wanted: sorted numbers of frames. They are in memory then if they lie near the
                start, or where those of other objects did.

        Raises:
            Corrupt, Unavailable: as `ObjectReads.get`, or what is there is not that object.
        """
        one: Deferred[KnownObject] = Deferred()
        waiters = self._waiting.setdefault(source, [])
        waiters.append(one)
        if len(waiters) == 1:
            Deferred.fromCoroutine(self._read_for_all(source, wanted))
        return await one

    async def _read_for_all(self, source: Source, wanted: Sequence[int]) -> None:
        """Never fails itself."""
        try:
            if await self._reads.keeps(self._objects.identity(source), wanted[0]):
                wanted = ()  # it need not be got
            known = await self._read(source, wanted)
        except Exception as failure:
            self._reads.report(failure)
            fail_all(self._waiting.pop(source), failure)
            return
        for waiter in self._waiting.pop(source):
            waiter.callback(known)

    async def _read(self, source: Source, wanted: Sequence[int]) -> KnownObject:
        """
        Get a header with frames near the start of the object along; or, at the same time, a few
        others from where they probably are.
        """
        key = self._lineage.key(source)
        runs = list(merged([-1, *wanted], GAP_BEHIND_HEADER))
        near = HEADER_LIMIT + (runs[0][-1] + 1) * FRAME
        guess = self._guess(key, runs[1:])
        try:
            data = await self._reads.get(key, 0, near)
            header = self._lineage[source.volume].header(source, data)
        except Corrupt:
            data = await self._reads.get(key, 0, near)
            header = self._lineage[source.volume].header(source, data)
        self._likeness.learn(header)
        known = self._objects.described(source, header)
        await self._take(source, known, data, 0, wanted)
        if guess is not None:
            start, data = await guess
            await self._take(source, known, data, start, wanted)
            known.gets += 1
        # Not before: who comes now finds in memory what was on its way, and gets it no second time.
        self._objects.remember(source, known)
        return known

    def _guess(self, key: str, runs: Sequence[Sequence[int]]) -> Deferred[tuple[int, bytes]] | None:
        """Get where frames probably are: its start in the object and its bytes. None: not tried."""
        if not runs or runs[-1][-1] - runs[0][0] >= _FEW:
            return None
        place = self._likeness.place(runs[0][0], runs[-1][-1])
        return None if place is None else Deferred.fromCoroutine(self._guessed(key, *place))

    async def _guessed(self, key: str, start: int, length: int) -> tuple[int, bytes]:
        """Nothing if that does not work: it is asked for again then, where the header says."""
        try:
            return start, await self._reads.get(key, start, length)
        except (Corrupt, Unavailable):
            return start, b""

    async def _take(
        self, source: Source, known: KnownObject, data: bytes, start: int, wanted: Sequence[int]
    ) -> None:
        """Keep the frames that came with bytes of the object from ``start`` on."""
        numbers = range(len(known.header.frames))
        opened = await self._reads.opened(source, known, data, start, numbers)
        # Whoever wants one that is not well gets it again, and finds out.
        for number, plain in opened.plain.items():
            self._memory.put((known.identity, number), plain, asked=number in wanted)
