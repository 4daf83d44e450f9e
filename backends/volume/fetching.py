"""
Reading data from objects: joined misses, merged ranged gets, two caches, every frame checked.

A frame is asked for once however many wait for it. Frames of one object that
are wanted together are got together, across small gaps, and with neighbours if
those have been of use. What comes back wrong is got a second time, past the
disk cache; wrong again, it is `Corrupt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from backends.objects.contract import Garbled, IObjectStore, NotFound, StoreError
from backends.volume.environment import Environment
from backends.volume.frame_cache import FrameCache
from backends.volume.frame_runs import GAP_BEHIND_HEADER, frames_of, merged, pieces, reach
from backends.volume.frames import Opened, open_frame, open_frames
from backends.volume.header import Header
from backends.volume.known_objects import KnownObject, KnownObjects
from backends.volume.likeness import Likeness
from backends.volume.lineage import Lineage, Source
from backends.volume.neighbours import widened
from backends.volume.read_ahead import MOST, ReadAhead
from backends.volume.units import FRAME, FRAME_SECTORS, HEADER_LIMIT, SECTOR
from gateway.errors import Corrupt, StorageError, Unavailable
from gateway.info import MIB
from gateway.stages import stage

#: Frames that are opened on the spot; more have the reactor for too long, and are worth a thread.
_FEW = 4

#: Bytes on their way to the disk cache: its disk may be slower than the store.
_SAVED_AT_ONCE = 32 * MIB


class StoredFrames(Protocol):
    """A disk cache of frames as they lie in their objects; called in a thread."""

    def get(self, identity: str, frame: int) -> bytes | None: ...

    def put(self, identity: str, frame: int, data: bytes) -> None: ...


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
        damaged: frames and headers found damaged or missing, after a second try.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        memory: FrameCache,
        disk: StoredFrames | None,
        environment: Environment,
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._memory = memory
        self._disk = disk
        self._environment = environment
        self._objects = KnownObjects(lineage)
        self._likeness = Likeness()
        self._opening: dict[Source, list[Deferred[KnownObject]]] = {}
        self._coming: dict[tuple[str, int], list[Deferred[bytes]]] = {}
        self._saving = 0
        self.busy: dict[Source, int] = {}
        self.damaged = 0

    def read_ahead(self, size: int) -> ReadAhead:
        """
        Guesses that the memory cache can hold until they are read.

        Args:
            size: of the disk in bytes.
        """
        return ReadAhead(size, min(MOST, self._memory.memory.limit // 8))

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
        known = self._objects.learn(source, header)
        for number, frame in enumerate(plain):
            self._memory.put_written((known.identity, number), frame)

    async def header(self, source: Source) -> Header:
        """An object's header with its extents, from the store."""
        key = self._lineage.key(source)
        data = await self._get(key, 0, HEADER_LIMIT)
        return self._lineage[source.volume].header(source, data)

    async def _known(self, source: Source, wanted: Sequence[int]) -> KnownObject:
        """An object; if it has to be opened, with what is wanted near its start."""
        known = self._objects.get(source)
        if known is None:
            known = await self._open(source, wanted)
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
        if self._disk is not None:
            try:
                with stage("disk cache"):
                    missing = await self._from_disk(source, known, missing)
            except Exception as failure:
                self._log.error("the disk cache cannot be read: {why!r}", why=failure)
                missing = [one for one in missing if (known.identity, one) in self._coming]
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

    async def _from_disk(self, source: Source, known: KnownObject, missing: list[int]) -> list[int]:
        disk, crypt = self._disk, self._lineage[source.volume].crypt
        assert disk is not None

        def look() -> dict[int, bytes]:
            found = {}
            for number in missing:
                stored = disk.get(known.identity, number)
                if stored is not None:
                    with suppress(Corrupt):  # then the object decides
                        found[number] = open_frame(known.header, number, stored, crypt, known.key)
            return found

        found = await self._environment.call_in_thread(look)
        for number, plain in found.items():
            self._arrived(known, number, plain, True)
        return [number for number in missing if number not in found]

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
        for failure in failures.values():
            if isinstance(failure, Corrupt):
                self.damaged += 1
                self._log.critical("{why}", why=str(failure))
        for number, failure in failures.items():
            self._failed(known, number, failure)

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
            data = await self._get(known.key, start, length)
            end = start + len(data)
            came = [one for one in numbers if known.header.frame_offset(one + 1) <= end]
            opened = await self._open_all(source, known, came, data, start)
        except Exception as failure:
            return dict.fromkeys(run, failure)
        for number, plain in opened.plain.items():
            self._arrived(known, number, plain, number in asked)
        short = Corrupt(f"{known.key}: ends {length - len(data)} bytes short of its header's word")
        failures = opened.failures | dict.fromkeys(numbers[len(came) :], short)  # in order
        return {number: why for number, why in failures.items() if number in run}

    def _awaited(self, known: KnownObject, failures: dict[int, Exception]) -> dict[int, Exception]:
        """Those that somebody waits for. What only may be wanted need not be well."""
        wanted = {}
        for number, why in failures.items():
            if self._coming.get((known.identity, number)):
                wanted[number] = why
            else:
                self._coming.pop((known.identity, number), None)
        return wanted

    async def _open_all(
        self, source: Source, known: KnownObject, numbers: Sequence[int], data: bytes, start: int
    ) -> Opened:
        """
        Open frames, and keep those that are well on disk.

        Args:
            data: of the object, from ``start``; all of the frames is in it.
        """
        keep = self._disk is not None
        crypt = self._lineage[source.volume].crypt
        arguments = known.header, numbers, data, start, crypt, known.key, keep
        with stage("decode"):
            if len(numbers) <= _FEW:
                opened = open_frames(*arguments)
            else:
                opened = await self._environment.call_in_thread(open_frames, *arguments)
        self._save(known, opened.stored)
        return opened

    def _save(self, known: KnownObject, frames: Mapping[int, bytes]) -> None:
        """Keep stored frames on disk, unless too much is under way there."""
        disk, size = self._disk, sum(map(len, frames.values()))
        if disk is None or not frames or self._saving + size > _SAVED_AT_ONCE:
            return
        self._saving += size

        def save() -> None:
            for number, stored in frames.items():
                disk.put(known.identity, number, stored)

        def saved(_: object) -> None:
            """The cache says for itself why it does not keep things."""
            self._saving -= size

        self._environment.call_in_thread(save).addBoth(saved)

    def _arrived(self, known: KnownObject, number: int, plain: bytes, asked: bool) -> None:
        place = known.identity, number
        waiters = self._coming.pop(place, [])
        if waiters or place not in self._memory:
            self._memory.put(place, plain, asked=asked or bool(waiters))
        for waiter in waiters:
            waiter.callback(plain)

    def _failed(self, known: KnownObject, number: int, failure: Exception) -> None:
        for waiter in self._coming.pop((known.identity, number), ()):
            waiter.errback(_own(failure))

    async def _open(self, source: Source, wanted: Sequence[int]) -> KnownObject:
        """Read an object's header, once for all who ask; they go on in the order they came."""
        one: Deferred[KnownObject] = Deferred()
        waiters = self._opening.setdefault(source, [])
        waiters.append(one)
        if len(waiters) == 1:
            Deferred.fromCoroutine(self._find(source, wanted))
        return await one

    async def _find(self, source: Source, wanted: Sequence[int]) -> None:
        """Read a header, and some of what is wanted along with it; never fails itself."""
        try:
            # Frames that are on disk need not be got.
            wanted = wanted if self._disk is None else await self._not_on_disk(source, wanted)
            known = await self._meet(source, wanted)
        except Exception as failure:
            if isinstance(failure, Corrupt):
                self.damaged += 1
                self._log.critical("{why}", why=str(failure))
            for waiter in self._opening.pop(source):
                waiter.errback(_own(failure))
            return
        for waiter in self._opening.pop(source):
            waiter.callback(known)

    async def _meet(self, source: Source, wanted: Sequence[int]) -> KnownObject:
        """
        Get a header with frames near the start of the object along; and, at the same time,
        what probably are the others.
        """
        key = self._lineage.key(source)
        runs = list(merged([-1, *wanted], GAP_BEHIND_HEADER))
        near = HEADER_LIMIT + (runs[0][-1] + 1) * FRAME
        places = [self._likeness.place(run[0], run[-1]) for run in runs[1:]]
        guesses = [
            (place[0], Deferred.fromCoroutine(self._guessed(key, *place)))
            for place in places
            if place is not None
        ]
        try:
            data = await self._get(key, 0, near)
            header = self._lineage[source.volume].header(source, data)
        except Corrupt:
            data = await self._get(key, 0, near)
            header = self._lineage[source.volume].header(source, data)
        self._likeness.learn(header)
        known = self._objects.learn(source, header)
        await self._take(source, known, data, 0, wanted)
        for start, guess in guesses:
            await self._take(source, known, await guess, start, wanted)
        known.gets += len(guesses)
        return known

    async def _guessed(self, key: str, start: int, length: int) -> bytes:
        """What lies there; nothing if that does not work, as it is asked for again then."""
        try:
            return await self._get(key, start, length)
        except (Corrupt, Unavailable):
            return b""

    async def _not_on_disk(self, source: Source, wanted: Sequence[int]) -> Sequence[int]:
        """All of what is wanted if the first is not there, else nothing."""
        disk, identity = self._disk, self._objects.identity(source)
        assert disk is not None
        try:
            with stage("disk cache"):
                there = await self._environment.call_in_thread(disk.get, identity, wanted[0])
        except Exception as failure:
            self._log.error("the disk cache cannot be read: {why!r}", why=failure)
            return wanted
        return wanted if there is None else ()

    async def _take(
        self, source: Source, known: KnownObject, data: bytes, start: int, wanted: Sequence[int]
    ) -> None:
        """Keep the frames that came, wholly, with bytes of the object from ``start`` on."""
        header, end = known.header, start + len(data)
        came = [
            number
            for number in range(len(header.frames))
            if start <= header.frame_offset(number) and header.frame_offset(number + 1) <= end
        ]
        opened = await self._open_all(source, known, came, data, start)
        # Whoever wants one that is not well gets it again, and finds out.
        for number, plain in opened.plain.items():
            self._memory.put((known.identity, number), plain, asked=number in wanted)

    async def _get(self, key: str, start: int, length: int) -> bytes:
        try:
            with stage("store"):
                return await self._store.get(key, start, length)
        except NotFound:
            raise Corrupt(f"{key} is missing from the store, and the map points to it") from None
        except Garbled as failure:
            raise Corrupt(f"{key}: {failure}") from None
        except StoreError as failure:
            raise Unavailable(f"{key}: {failure}") from None


def _own(failure: Exception) -> Exception:
    """For each who waits: where a failure came by is noted in it."""
    # What is no failure of storage may be made of more than its text.
    return type(failure)(*failure.args) if isinstance(failure, StorageError) else failure
