"""Standard input as a disk to be copied from, and a disk poured out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from gateway.copying import AT_ONCE, PIECE, later
from gateway.errors import ReadOnly, Unavailable
from gateway.info import Abilities, ExportInfo, Extent
from gateway.interfaces import Buffer, IExport, NowOrLater
from gateway.maintenance import Progress

#: Runs a blocking function elsewhere.
InThread = Callable[..., Deferred[Any]]


@implementer(IExport)
class StreamSource:
    """
    Bytes that come in order, once; behind their end, and before ``size``, are zeroes.

    To be read by `gateway.copying.Copy`, which asks for pieces in the order of their offsets.

    Args:
        stream: read by one thread at a time.
        size: bytes of the disk.
    """

    def __init__(self, stream: BinaryIO, size: int, in_thread: InThread) -> None:
        self.info = ExportInfo(size=size, read_only=True, abilities=Abilities(multi_conn=False))
        self._stream = stream
        self._in_thread = in_thread
        self._turn = DeferredLock()
        self._at = 0
        self._ended = False

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        """Never at once."""
        return False

    def read(self, offset: int, length: int) -> NowOrLater[Buffer]:
        """As `IExport.read`, if it is the next piece."""
        return Deferred.fromCoroutine(self._read(offset, length))

    async def _read(self, offset: int, length: int) -> Buffer:
        async with self._turn:
            assert offset >= self._at, "pieces are asked for in order"
            gap = offset - self._at
            data = b""
            if not self._ended:
                await self._in_thread(_skip, self._stream, gap)
                data = await self._in_thread(_read_whole, self._stream, length)
            self._at = offset + length
            if len(data) < length:
                self._ended = True
                data += bytes(length - len(data))
            return data

    async def expect_end(self) -> None:
        """
        Raises:
            Unavailable: there is more than the disk has room for.
        """
        async with self._turn:
            if not self._ended and await self._in_thread(_read_whole, self._stream, 1):
                raise Unavailable(
                    f"the source has more than {self.info.size} bytes, which is all the disk has"
                )

    def extents(self, offset: int, length: int, first_only: bool) -> NowOrLater[list[Extent]]:
        """Data, as far as anybody knows."""
        return [Extent(length, self._ended, self._ended)]

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        """Refused."""
        raise ReadOnly("this is only read")

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        """Refused."""
        raise ReadOnly("this is only read")

    def trim(self, offset: int, length: int, fua: bool) -> NowOrLater[None]:
        """Refused."""
        raise ReadOnly("this is only read")

    def flush(self) -> NowOrLater[None]:
        """Nothing to do."""

    def cache(self, offset: int, length: int) -> NowOrLater[None]:
        """Nothing to do."""

    def close(self) -> NowOrLater[None]:
        """The stream is its owner's."""


async def pour(source: IExport, stream: BinaryIO, in_thread: InThread, progress: Progress) -> None:
    """
    Write all bytes of a disk to a stream, zeroes too, in order.

    Raises:
        StorageError: of the disk.
        OSError: the stream takes no more.
    """
    size = source.info.size
    reading: deque[tuple[int, NowOrLater[Buffer]]] = deque()
    asked = done = 0
    try:
        while done < size:
            while asked < size and len(reading) < AT_ONCE:
                piece = min(PIECE, size - asked)
                reading.append((piece, _ask(source, asked, piece)))
                asked += piece
            length, result = reading.popleft()
            await in_thread(_write_whole, stream, await later(result))
            done += length
            progress(done, size, "bytes")
    finally:
        for _, result in reading:
            if isinstance(result, Deferred):
                result.addErrback(lambda _: None)
    await in_thread(stream.flush)


def _ask(source: IExport, offset: int, length: int) -> Deferred[Buffer]:
    return Deferred.fromCoroutine(_piece(source, offset, length))


async def _piece(source: IExport, offset: int, length: int) -> Buffer:
    """Bytes; where they are known to be zero nothing is read for them."""
    (extent, *_) = await later(source.extents(offset, length, True))
    if extent.zero and extent.length >= length:
        return bytes(length)
    data: Buffer = await later(source.read(offset, length))
    return data


def _skip(stream: BinaryIO, length: int) -> None:
    """Blocks; holds little of it, however long it is."""
    while length and (piece := stream.read(min(length, PIECE))):
        length -= len(piece)


def _read_whole(stream: BinaryIO, length: int) -> bytes:
    """Blocks; shorter only at the end."""
    pieces = []
    while length:
        piece = stream.read(length)
        if not piece:
            break
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _write_whole(stream: BinaryIO, data: Buffer) -> None:
    """Blocks."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
