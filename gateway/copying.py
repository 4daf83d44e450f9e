"""Copying a disk: holes stay holes, and what was copied is read again and compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore

from gateway.errors import Corrupt, NotFast
from gateway.info import MIB
from gateway.interfaces import Buffer, IExport, NowOrLater
from gateway.maintenance import Progress

#: Bytes that are read and written at a time.
PIECE = MIB
#: Pieces under way at once.
AT_ONCE = 16
#: Bytes after which the target is flushed, and what is there compared.
STEP = 1 << 30
#: Bytes of a digest of a piece, which only accidents may change.
_DIGEST = 8

_ZEROES = bytes(PIECE)


@attrs.define
class Copy:
    """
    One disk on its way to another.

    Attributes:
        source: what is read; it does not change meanwhile.
        target: what is written, at least as large.
        progress: told of bytes of the source that are done.
        clean: the target reads as zeroes where nothing has been copied yet.
        verify: read from the target what was written, and compare.
        reached: called with an offset when all bytes below it are durable in the target.
        copied: bytes of data that were written.
        skipped: bytes that were zero, and not sent.
    """

    source: IExport
    target: IExport
    progress: Progress
    clean: bool = False
    verify: bool = True
    reached: Callable[[int], Awaitable[None]] | None = None
    copied: int = 0
    skipped: int = 0
    #: Of the step under way: offset to length and digest of what was written.
    _written: dict[int, tuple[int, bytes]] = attrs.field(factory=dict, init=False)
    _done: int = attrs.field(default=0, init=False)

    async def run(self, start: int = 0) -> None:
        """
        Copy, from an offset on.

        Args:
            start: bytes that are there already, as `reached` was told.

        Raises:
            StorageError: of either end; `Corrupt` if the copy differs. What was reached stays.
        """
        size = self.source.info.size
        self._done = start
        self.progress(start, size, "bytes")
        for begin in range(start, size, STEP):
            end = min(begin + STEP, size)
            self._written.clear()
            await self._copy(begin, end)
            if self.target.info.abilities.flush:
                await later(self.target.flush())
            if self.verify:
                await self._compare(begin, end)
            if self.reached is not None:
                await self.reached(end)

    async def agrees(self, start: int) -> bool:
        """
        Whether the target still has the last piece of what was copied; `run` may follow.

        Another disk of the same name and size would not, nor one that was changed since.
        """
        at = max(start - PIECE, 0)
        ours = await later(self.source.read(at, start - at))
        return bool(ours == await later(self.target.read(at, start - at)))

    async def _copy(self, begin: int, end: int) -> None:
        at = begin
        async with _Crowd() as crowd:
            while at < end:
                for extent in await later(self.source.extents(at, end - at, False)):
                    stop = min(at + extent.length, end)
                    if extent.zero:
                        await crowd.begin(self._skip(at, stop - at))
                        at = stop
                    while at < stop:
                        length = min(PIECE, stop - at)
                        await crowd.begin(self._copy_piece(at, length))
                        at += length

    async def _copy_piece(self, at: int, length: int) -> None:
        data = await later(self.source.read(at, length))
        if is_zero(data):
            return await self._skip(at, length)
        self._written[at] = length, _digest(data)
        await later(self.target.write(at, data, False))
        self.copied += length
        self._tell(length)

    async def _skip(self, at: int, length: int) -> None:
        if not self.clean:
            await zero(self.target, at, length)
        self.skipped += length
        self._tell(length)

    async def _compare(self, begin: int, end: int) -> None:
        at = begin
        async with _Crowd() as crowd:
            for start in sorted(self._written):
                length, digest = self._written[start]
                await self._expect_zeroes(at, start)
                await crowd.begin(self._expect(start, length, digest))
                at = start + length
            await self._expect_zeroes(at, end)

    async def _expect(self, at: int, length: int, digest: bytes) -> None:
        if _digest(await later(self.target.read(at, length))) != digest:
            raise _differs(at, length)

    async def _expect_zeroes(self, at: int, end: int) -> None:
        """What the target knows to be zero is not read for it."""
        while at < end:
            for extent in await later(self.target.extents(at, end - at, False)):
                stop = min(at + extent.length, end)
                while not extent.zero and at < stop:
                    length = min(PIECE, stop - at)
                    if not is_zero(await later(self.target.read(at, length))):
                        raise _differs(at, length)
                    at += length
                at = stop

    def _tell(self, length: int) -> None:
        self._done += length
        self.progress(self._done, self.source.info.size, "bytes")


async def zero(target: IExport, at: int, length: int) -> None:
    """
    Make a range read as zeroes, in whichever way the target has.

    Raises:
        StorageError: the target's.
    """
    if target.info.abilities.write_zeroes:
        try:
            await later(target.write_zeroes(at, length, True, False, False))
        except NotFast:
            pass  # to a plain request: then they are written
        else:
            return
    for start in range(at, at + length, PIECE):
        await later(target.write(start, _ZEROES[: min(PIECE, at + length - start)], False))


async def is_blank(disk: IExport) -> bool:
    """Whether all of it is known to read as zeroes; nothing is read for it."""
    at = 0
    while at < disk.info.size:
        for extent in await later(disk.extents(at, disk.info.size - at, False)):
            if not extent.zero:
                return False
            at += extent.length
    return True


async def later(result: NowOrLater[Any]) -> Any:
    """The answer, now or later."""
    return await result if isinstance(result, Deferred) else result


def is_zero(data: Buffer) -> bool:
    """Whether a piece is all zeroes; at most `PIECE` bytes."""
    return data == _ZEROES if len(data) == PIECE else data == _ZEROES[: len(data)]


class _Crowd:
    """Some coroutines at once; leaving waits for all, and raises the first failure."""

    def __init__(self) -> None:
        self._room = DeferredSemaphore(AT_ONCE)
        self._running: set[Deferred[None]] = set()
        self._failure: Exception | None = None

    async def __aenter__(self) -> _Crowd:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await DeferredList([*self._running])
        if self._failure is not None and error is None:
            raise self._failure

    async def begin(self, work: Any) -> None:
        """
        Have a coroutine run, when there is room for it.

        Raises:
            Exception: an earlier one failed.
        """
        await self._room.acquire()
        if self._failure is not None:
            work.close()
            self._room.release()
            raise self._failure
        running = Deferred.fromCoroutine(work)
        self._running.add(running)
        running.addErrback(self._failed).addBoth(self._ended, running)

    def _failed(self, failure: Any) -> None:
        if self._failure is None:
            self._failure = failure.value

    def _ended(self, _: object, running: Deferred[None]) -> None:
        self._running.discard(running)
        self._room.release()


def _differs(at: int, length: int) -> Corrupt:
    return Corrupt(f"bytes {at} to {at + length - 1} of the copy are not those that were written")


def _digest(data: Buffer) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
