"""What is read of objects: ranges, whose failures say what is wrong; frames, opened and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from twisted.logger import Logger

from backends.objects.contract import Garbled, IObjectStore, NotFound, StoreError
from backends.volume.environment import Environment
from backends.volume.frames import Opened, open_frame, open_frames
from backends.volume.known_objects import KnownObject
from backends.volume.lineage import Lineage, Source
from gateway.errors import Corrupt, Unavailable
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


class ObjectReads:
    """
    Args:
        store: of all the lineage.
        lineage: who holds the keys of objects.
        disk: stored frames; None for no such cache. It is never why a read fails.
        environment: see there.

    Attributes:
        damaged: frames and headers found damaged or missing, after a second try.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        disk: StoredFrames | None,
        environment: Environment,
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._disk = disk
        self._environment = environment
        self._saving = 0
        self.damaged = 0

    async def get(self, key: str, start: int, length: int) -> bytes:
        """
        Bytes of an object; fewer if it ends before.

        Raises:
            Corrupt: it is missing, or the answer contradicts itself.
            Unavailable: the store did not answer.
        """
        try:
            with stage("store"):
                return await self._store.get(key, start, length)
        except NotFound:
            raise Corrupt(f"{key} is missing from the store, and the map points to it") from None
        except Garbled as failure:
            raise Corrupt(f"{key}: {failure}") from None
        except StoreError as failure:
            raise Unavailable(f"{key}: {failure}") from None

    async def opened(
        self, source: Source, known: KnownObject, data: bytes, start: int, numbers: Sequence[int]
    ) -> Opened:
        """
        Open frames, and keep those that are well on disk.

        Args:
            data: of the object, from ``start``.
            numbers: frames. What is not wholly in ``data`` is left out.
        """
        end = start + len(data)
        header = known.header
        came = [
            number
            for number in numbers
            if start <= header.frame_offset(number) and header.frame_offset(number + 1) <= end
        ]
        crypt = self._lineage[source.volume].crypt
        arguments = header, came, data, start, crypt, known.key, self._disk is not None
        with stage("decode"):
            if len(came) <= _FEW:
                opened = open_frames(*arguments)
            else:
                opened = await self._environment.call_in_thread(open_frames, *arguments)
        self._save(known, opened.stored)
        return opened

    async def kept(
        self, source: Source, known: KnownObject, numbers: Sequence[int]
    ) -> dict[int, bytes]:
        """Plain frames of those that are on disk, and well."""
        disk, crypt = self._disk, self._lineage[source.volume].crypt
        if disk is None:
            return {}

        def look() -> dict[int, bytes]:
            found = {}
            for number in numbers:
                stored = disk.get(known.identity, number)
                if stored is not None:
                    with suppress(Corrupt):  # then the object decides
                        found[number] = open_frame(known.header, number, stored, crypt, known.key)
            return found

        try:
            with stage("disk cache"):
                found: dict[int, bytes] = await self._environment.call_in_thread(look)
        except Exception as failure:
            self._cannot_read(failure)
            return {}
        return found

    async def keeps(self, identity: str, number: int) -> bool:
        """Whether a frame is on disk, well or not."""
        if self._disk is None:
            return False
        try:
            with stage("disk cache"):
                stored = await self._environment.call_in_thread(self._disk.get, identity, number)
        except Exception as failure:
            self._cannot_read(failure)
            return False
        return stored is not None

    def report(self, failure: Exception) -> None:
        """Say what was found damaged, also when it was read a second time."""
        if isinstance(failure, Corrupt):
            self.damaged += 1
            self._log.critical("{why}", why=str(failure))

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

    def _cannot_read(self, failure: Exception) -> None:
        self._log.error("the disk cache cannot be read: {why!r}", why=failure)
