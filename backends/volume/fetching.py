"""
Reading data from objects: joined misses, merged ranged gets, two caches, every frame checked.

A frame is asked for once however many wait for it. Frames of one object that
are wanted together are got together, across small gaps, and with neighbours if
those have been of use. What comes back wrong is got a second time, past the
disk cache; wrong again, it is `Corrupt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from twisted.internet.defer import Deferred

from backends.objects.contract import IObjectStore
from backends.volume.environment import Environment
from backends.volume.first_reads import FirstReads
from backends.volume.frame_cache import FrameCache
from backends.volume.frame_runs import frames_of, merged, pieces, reach
from backends.volume.header import Header
from backends.volume.known_objects import KnownObject, KnownObjects
from backends.volume.lineage import Lineage, Source
from backends.volume.neighbours import widened
from backends.volume.object_reads import ObjectReads, StoredFrames
from backends.volume.read_ahead import MOST, ReadAhead
from backends.volume.units import FRAME_SECTORS, HEADER_LIMIT, SECTOR
from backends.volume.waiters import fail_all
from gateway.errors import Corrupt, StorageError, Unavailable
from gateway.stages import stage


class Fetcher:
    """
    Frames of objects, from memory, disk or the store.

    Args:
        store: of all the lineage.
        lineage: says what objects are called and who holds their keys.
        memory: plain frames.
        disk: stored frames; None for no such cache.
        environment: see there.

    Attributes:
        busy: how many reads of each object are under way; nobody deletes
            what is read.
    """

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        memory: FrameCache,
        disk: StoredFrames | None,
        environment: Environment,
    ) -> None:
        self._lineage = lineage
        self._memory = memory
        self._objects = KnownObjects(lineage)
        self._reads = ObjectReads(store, lineage, disk, environment)
        self._first = FirstReads(self._reads, lineage, self._objects, memory)
        self._coming: dict[tuple[str, int], list[Deferred[bytes]]] = {}
        self.busy: dict[Source, int] = {}

    @property
    def damaged(self) -> int:
        """Frames and headers found damaged or missing so far, after a second try."""
        return self._reads.damaged

    def read_ahead(self) -> ReadAhead:
        """Guesses that the memory cache can hold until they are read."""
        return ReadAhead(min(MOST, self._memory.memory.limit // 8))

    def cached(self, source: Source, sector: int, sectors: int) -> list[memoryview] | None:
        """The bytes, in pieces, if all of them are in memory."""
        identity = self._objects.identity(source)
        first, inside = divmod(sector, FRAME_SECTORS)
        if inside + sectors <= FRAME_SECTORS:
            plain = self._memory.get((identity, first))
            if plain is None or len(plain) < (inside + sectors) * SECTOR:
                return None
            return [memoryview(plain)[inside * SECTOR : (inside + sectors) * SECTOR]]
        plains: dict[int, bytes] = {}
        for frame in range(first, -(-(sector + sectors) // FRAME_SECTORS)):
            plain = self._memory.get((identity, frame))
            if plain is None:
                return None
            plains[frame] = plain
        return pieces(plains, sector, sectors) if reach(plains, sector + sectors) else None

    async def read(
        self, source: Source, ranges: Sequence[tuple[int, int]]
    ) -> list[list[memoryview]]:
        """
        Args:
            ranges: first sector and number of sectors of the object's plain data.

        Returns:
            For each range its bytes, in pieces.

        Raises:
            Corrupt: object and frame are named.
            Unavailable: the store did not answer, or the object is gone.
        """
        with self.keeping([source]):
            plains = await self._frames(source, frames_of(ranges))
        for sector, sectors in ranges:
            if not reach(plains, sector + sectors):
                raise Corrupt(
                    f"{self._lineage.key(source)}: the map points to sector"
                    f" {sector + sectors - 1}, the object has fewer"
                )
        return [pieces(plains, sector, sectors) for sector, sectors in ranges]

    async def bring(self, source: Source, ranges: Sequence[tuple[int, int]]) -> None:
        """
        Have in memory what will be read, as far as there is room for it.

        Whoever reads meanwhile waits for what is on its way, and finds out what is not well.

        Args:
            ranges: as for `read`.
        """
        wanted = frames_of(ranges)
        with self.keeping([source]), suppress(StorageError):
            known = await self._known(source, wanted)
            missing = self._claim(known, wanted)
            if missing:
                await self._fetch(source, known, missing)

    @contextmanager
    def keeping(self, sources: Sequence[Source]) -> Iterator[None]:
        """Have objects not deleted meanwhile."""
        for source in sources:
            self.busy[source] = self.busy.get(source, 0) + 1
        try:
            yield
        finally:
            for source in sources:
                self.busy[source] -= 1
                if not self.busy[source]:
                    del self.busy[source]

    def learn(self, source: Source, header: Header, plain: Sequence[bytes]) -> None:
        """
        Take an object that was just stored: what was written may be read soon.

        Args:
            plain: of each frame, and keeping nothing else alive.
        """
        known = self._objects.described(source, header)
        self._objects.remember(source, known)
        for number, frame in enumerate(plain):
            self._memory.put_written((known.identity, number), frame)

    async def header(self, source: Source) -> Header:
        """An object's header with its extents, from the store."""
        key = self._lineage.key(source)
        data = await self._reads.get(key, 0, HEADER_LIMIT)
        return self._lineage[source.volume].header(source, data)

    async def _known(self, source: Source, wanted: Sequence[int]) -> KnownObject:
        """An object; if it has to be opened, with what is wanted near its start."""
        known = self._objects.get(source)
        if known is None:
            known = await self._first.read(source, wanted)
        if wanted[-1] >= len(known.header.frames):
            raise Corrupt(
                f"{known.key}: the map points to frame {wanted[-1]},"
                f" the object has {len(known.header.frames)}"
            )
        return known

    async def _frames(self, source: Source, wanted: Sequence[int]) -> dict[int, bytes]:
        known = await self._known(source, wanted)
        found: dict[int, bytes] = {}
        waiting: list[tuple[int, Deferred[bytes]]] = []
        missing: list[int] = []
        for number in wanted:
            plain = self._memory.get((known.identity, number))
            if plain is not None:
                found[number] = plain
                continue
            waiters = self._coming.get((known.identity, number))
            if waiters is None:
                self._coming[known.identity, number] = waiters = []
                missing.append(number)
            one: Deferred[bytes] = Deferred()
            waiters.append(one)
            waiting.append((number, one))
        if missing:
            Deferred.fromCoroutine(self._fetch(source, known, missing))
        failure: Exception | None = None
        with stage("shared fetch") if len(missing) < len(waiting) else nullcontext():
            for number, one in waiting:
                try:
                    found[number] = await one
                except Exception as raised:
                    failure = raised
        if failure is not None:
            raise failure
        return found

    async def _fetch(self, source: Source, known: KnownObject, missing: list[int]) -> None:
        """Get frames and hand them to whoever waits; never fails itself."""
        kept = await self._reads.kept(source, known, missing)
        for number, plain in kept.items():
            self._arrived(known, number, plain, True)
        missing = [number for number in missing if number not in kept]
        if not missing:
            return
        asked = frozenset(missing)
        width = self._memory.memory.width(known.gets)
        known.gets += 1
        along = self._claim(known, widened(missing, width, len(known.header.frames)))
        runs = merged(sorted([*missing, *along]))
        gets = [self._get_run(source, known, run, asked) for run in runs]
        for one in [Deferred.fromCoroutine(get) for get in gets]:
            await one

    def _claim(self, known: KnownObject, numbers: Iterable[int]) -> list[int]:
        """Those that are neither in memory nor coming; from now on they are coming."""
        claimed = []
        for number in numbers:
            place = known.identity, number
            if place not in self._memory and place not in self._coming:
                self._coming[place] = []
                claimed.append(number)
        return claimed

    async def _get_run(
        self, source: Source, known: KnownObject, run: list[int], asked: frozenset[int]
    ) -> None:
        """
        Get frames that lie close together; a damaged one fails alone, after a second try.

        Args:
            asked: what is not brought along only.
        """
        failures: dict[int, Exception] = dict.fromkeys(run, Unavailable("not got"))
        for _ in range(2):
            failures = await self._get_frames(source, known, list(failures), asked)
            failures = self._awaited(known, failures)
            if not any(isinstance(failure, Corrupt) for failure in failures.values()):
                break
        for number, failure in failures.items():
            self._reads.report(failure)
            fail_all(self._coming.pop((known.identity, number), ()), failure)

    async def _get_frames(
        self, source: Source, known: KnownObject, run: list[int], asked: frozenset[int]
    ) -> dict[int, Exception]:
        """
        Get frames, and hand on those that are well.

        Returns:
            The others of ``run``, and why.
        """
        numbers = range(run[0], run[-1] + 1)
        start, length = known.header.frame_range(run[0], run[-1])
        try:
            data = await self._reads.get(known.key, start, length)
            opened = await self._reads.opened(source, known, data, start, numbers)
        except Exception as failure:
            return dict.fromkeys(run, failure)
        for number, plain in opened.plain.items():
            self._arrived(known, number, plain, number in asked)
        short = Corrupt(f"{known.key}: ends {length - len(data)} bytes short of its header's word")
        return {
            number: opened.failures.get(number, short)
            for number in run
            if number not in opened.plain
        }

    def _awaited(self, known: KnownObject, failures: dict[int, Exception]) -> dict[int, Exception]:
        """Those that somebody waits for. What only may be wanted need not be well."""
        wanted = {}
        for number, why in failures.items():
            if self._coming.get((known.identity, number)):
                wanted[number] = why
            else:
                self._coming.pop((known.identity, number), None)
        return wanted

    def _arrived(self, known: KnownObject, number: int, plain: bytes, asked: bool) -> None:
        place = known.identity, number
        waiters = self._coming.pop(place, [])
        if waiters or place not in self._memory:
            self._memory.put(place, plain, asked=asked or bool(waiters))
        for waiter in waiters:
            waiter.callback(plain)
