"""
The journal of a volume: makes writes durable on a local disk before they are in the store.

A ring of fixed size. Each record is handed to the kernel when it is made, so
that the death of this process loses none; all who wait for durability share
one fdatasync. Space is used again when the store has the records and a
superblock that says so is durable.

Life: `open`, `replay`, `adopt`, then appends and syncs, `close`. The first
three and `set_aside` block and belong into a thread; the rest is for the
reactor's thread. Never two at a time.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from backends.volume import journal_loss
from backends.volume.journal_creating import JournalCalls
from backends.volume.journal_file import JournalFile
from backends.volume.journal_handover import Handover
from backends.volume.journal_index import Outstanding, RecordIndex
from backends.volume.journal_records import (
    DATA,
    HEAD_BYTES,
    LARGEST,
    Cut,
    Link,
    Record,
    encode,
    size_in_ring,
)
from backends.volume.journal_superblock import CLEAN, IN_USE, Superblock
from backends.volume.units import SECTOR
from gateway.errors import Closed, Unavailable
from gateway.info import MIB
from gateway.interfaces import Buffer

#: Bytes in memory at which there is no room for more.
GATHERED_LIMIT = 64 * MIB
#: Part of the ring that is released before a superblock is written only to say so.
RELEASE_PART = 8

_PADDING = bytes(SECTOR)


@attrs.frozen
class _Sync:
    """
    What one call in a thread makes durable.

    Attributes:
        covers: number of the newest record that was in the file before.
    """

    covers: int
    superblock: Superblock | None


class Journal:
    """
    Made by `open`.

    Attributes:
        epoch: of the attachment that used it last; 0 for a fresh one.
        last: number of the newest record.
        durable: the highest number known to be synced.
        failure: why records are not made durable any more; None as long as they are.
    """

    def __init__(
        self,
        file: JournalFile,
        call_in_thread: Callable[..., Deferred[Any]],
        clock: Callable[[], float],
    ) -> None:
        self._file = file
        self._call_in_thread = call_in_thread
        self._clock = clock
        self.epoch = 0
        self.last = self.durable = 0
        self.failure: str | None = None
        self._is_adopted = False
        self._is_closed = False
        self._sync: _Sync | None = None
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self._for_room: list[Deferred[None]] = []
        self._idle: Deferred[None] | None = None
        self._start_from(file.index)

    @classmethod
    def open(
        cls,
        path: str,
        size: int,
        volume_uuid: uuid.UUID,
        call_in_thread: Callable[..., Deferred[Any]],
        clock: Callable[[], float],
        calls: JournalCalls | None = None,
    ) -> Journal:
        """
        Open the journal at ``path``, or make it; the directory must be there. Blocks.

        Args:
            size: bytes of the file. An existing one that holds records keeps its own.
            call_in_thread: as in `gateway.interfaces.Resources`.
            clock: seconds since 1970.

        Raises:
            ExportBusy: another process holds it.
            JournalDamaged: records were synced and cannot be read, or there is no superblock.
            ExportUnavailable: another volume's, no space, an I/O error.
        """
        calls = JournalCalls() if calls is None else calls
        file = JournalFile.open(path, size, volume_uuid, int(clock() * 1000), calls)
        return cls(file, call_in_thread, clock)

    @property
    def path(self) -> str:
        """The name of its file."""
        return self._file.path

    @property
    def used(self) -> float:
        """How full it is, from 0 to 1."""
        return 1 - self._space() / self.capacity

    @property
    def capacity(self) -> int:
        """Bytes of the ring."""
        return self._file.capacity

    @property
    def largest(self) -> int:
        """Bytes of data that one record may hold."""
        return min((self.capacity - HEAD_BYTES) // SECTOR * SECTOR, LARGEST)

    @property
    def outstanding(self) -> Outstanding:
        """The records that were not released."""
        return self._index.outstanding(self._clock())

    def replay(self, after: int) -> Iterator[Record]:
        """
        The records behind ``after`` that an earlier attachment left, in order. Blocks.

        They stay outstanding until they are released.

        Raises:
            Corrupt, OSError: one of them cannot be read any more.
        """
        if self._is_adopted:
            raise RuntimeError("a journal is replayed before it is adopted")
        return self._file.records(after)

    def describe_loss(self, after: int) -> str:
        """What is lost if the records behind ``after`` are not replayed. Blocks; see `replay`."""
        return journal_loss.describe(journal_loss.sum_up(self.replay(after)))

    def adopt(self, epoch: int, stored: int) -> None:
        """
        Begin to write for a new attachment. Blocks.

        Args:
            epoch: higher than that of every earlier attachment that used the journal.
            stored: the highest record that the store has; numbers go on behind it.

        Raises:
            OSError: the disk failed.
        """
        if epoch <= self.epoch:
            raise ValueError(f"got epoch {epoch}, expected more than {self.epoch}")
        self.release(stored)
        if stored > self.last:
            self._start_from(RecordIndex(replace(self._index.head, lsn=stored + 1)))
        superblock = self._superblock(IN_USE)
        superblock = attrs.evolve(superblock, cut=Cut(self.last + 1, epoch))
        self._file.put_superblocks(superblock)
        self.epoch = epoch
        self._is_adopted = True

    def append(self, kind: int, sector: int, sectors: int, data: Buffer = b"") -> int:
        """
        Add a record behind the others; there must be `room`. Does not wait for I/O.

        Args:
            kind: `DATA`, `ZERO`, `HOLE`.
            data: for `DATA`, ``sectors`` * 512 bytes; may change afterwards.

        Returns:
            The record's number.
        """
        self._check_usable()
        if len(data) != (sectors * SECTOR if kind == DATA else 0):
            raise ValueError(f"got {len(data)} bytes for {sectors} sectors of kind {kind}")
        lsn = self.last + 1
        if self.failure is not None:
            self.last = lsn  # nothing will be written any more, syncs say so
            return lsn
        size = size_in_ring(len(data))
        left = self._space() - size
        if left < 0:
            raise ValueError(f"got a record of {size} bytes, the ring has {left + size} left")
        body = data if type(data) is bytes else bytes(data)
        milliseconds = int(self._clock() * 1000)
        previous = self._index.head
        head, crc = encode(
            self._file.superblock.volume.bytes,
            Record(
                self.epoch,
                lsn,
                self.durable,
                previous.crc,
                kind,
                sector,
                sectors,
                milliseconds,
                body,
            ),
        )
        self._index.add(Link(previous.position + size, lsn + 1, crc), len(body), milliseconds)
        self.last = lsn
        parts = (head, body, _PADDING[: size - len(head) - len(body)])
        self._handover.take(lsn, previous.position, parts, left)
        return lsn

    def handed_over(self) -> Deferred[None] | None:
        """
        Answered when the kernel has every record appended so far; None if it has.

        From then on they survive the death of this process, though not of the
        machine. A journal that failed answers as well: its records are lost.

        Raises:
            Closed: the journal was closed, and not cleanly.
        """
        return self._handover.when_written() if self.failure is None else None

    def sync(self) -> Deferred[None]:
        """
        Answered when every record appended so far is durable.

        Raises:
            Unavailable: it failed, now or at any time before.
        """
        self._check_usable()
        if self.failure is not None:
            return fail(self._unavailable())
        if self.durable == self.last:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append((self.last, waiting))
        self._go_on()
        return waiting

    def room(self, data_bytes: int) -> bool:
        """
        Whether a record with so much data, at most `largest`, can be appended now.

        A journal that failed has room: it keeps nothing.
        """
        if data_bytes > self.largest:
            raise ValueError(f"got {data_bytes} bytes, expected {self.largest} or less")
        if self.failure is not None:
            return True
        in_memory = self._handover.in_memory
        return size_in_ring(data_bytes) <= self._space() and in_memory < GATHERED_LIMIT

    def when_room(self) -> Deferred[None]:
        """
        Answered when there is more room than now; ask `room` again.

        Raises:
            Closed: the journal was closed.
        """
        self._check_usable()
        waiting: Deferred[None] = Deferred()
        self._for_room.append(waiting)
        self._go_on()
        return waiting

    def release(self, lsn: int) -> None:
        """The store has the records up to and including ``lsn``: their space may be used again."""
        self._index.release(lsn)
        if self._is_adopted and not self._is_closed:
            self._go_on()

    def close(self, clean: bool) -> Deferred[None]:
        """
        Release file and lock; to be called once. Who waits for room gets `Closed`.

        Args:
            clean: sync first, and note what is outstanding. Otherwise what
                is under way ends, and nothing more is written.

        Raises:
            Unavailable: records were not made durable.
        """
        if self._is_closed:
            return succeed(None)
        clean = clean and self._is_adopted
        synced = self.sync() if clean else succeed(None)
        self._is_closed = True
        refused = self._take_for_room()
        if not clean:
            covered = self.durable if self._sync is None else self._sync.covers
            while self._waiting and self._waiting[-1][0] > covered:
                refused.append(self._waiting.pop()[1])
            self._handover.drop(self._closed())
        for waiting in refused:
            waiting.errback(self._closed())
        synced.addBoth(self._wait_until_idle)
        if clean:
            synced.addCallback(self._note_outstanding)
        return synced.addBoth(self._release_file)

    def set_aside(self) -> str:
        """
        Rename the file and close it: another attachment has gone on without its records. Blocks.

        Returns:
            Its new name.
        """
        if self._sync is not None or self._handover.is_busy:
            raise RuntimeError("a journal in use cannot be set aside")
        self._is_closed = True
        return self._file.set_aside()

    def _start_from(self, index: RecordIndex) -> None:
        self._index = index
        self.last = self.durable = index.head.lsn - 1
        self.epoch = self._file.superblock.cut.epoch
        self._handover = Handover(
            self._file, self._call_in_thread, self.last, self._written, self._lose
        )

    def _check_usable(self) -> None:
        if self._is_closed:
            raise self._closed()
        if not self._is_adopted:
            raise RuntimeError("a journal is adopted before it is used")

    def _space(self) -> int:
        """Bytes of the ring that no superblock on disk speaks for."""
        return self.capacity - (self._index.head.position - self._file.superblock.tail.position)

    def _superblock(self, state: int) -> Superblock:
        current = self._file.superblock
        return attrs.evolve(
            current,
            sequence=current.sequence + 1,
            state=state,
            tail=self._index.tail,
            durable=self.durable,
            milliseconds=int(self._clock() * 1000),
        )

    def _owes_superblock(self) -> bool:
        """Whether enough was released, or anything that somebody waits for."""
        released = self._index.tail.position - self._file.superblock.tail.position
        return released >= (SECTOR if self._for_room else self.capacity // RELEASE_PART)

    def _go_on(self) -> None:
        """Start a sync if one is due and none is under way."""
        if self._sync is not None or self.failure is not None:
            return
        written = self._handover.written
        owes = self._owes_superblock()
        if owes or (self._waiting and self._waiting[0][0] <= written):
            self._sync = _Sync(written, self._superblock(IN_USE) if owes else None)
            self._call_in_thread(self._file.commit, self._sync.superblock).addCallbacks(
                self._synced, self._not_synced
            )

    def _written(self) -> None:
        """There is less in memory, and perhaps a sync may start."""
        freed = self._take_for_room()
        self._settle()
        for waiting in freed:
            waiting.callback(None)

    def _synced(self, _: Any) -> None:
        sync, self._sync = self._sync, None
        assert sync is not None
        self.durable = sync.covers
        answered = []
        while self._waiting and self._waiting[0][0] <= self.durable:
            answered.append(self._waiting.popleft()[1])
        if sync.superblock is not None:
            answered += self._take_for_room()
        self._settle()
        for waiting in answered:
            waiting.callback(None)

    def _not_synced(self, reason: Failure) -> None:
        self._sync = None
        self._lose(reason)

    def _lose(self, reason: Failure) -> None:
        """Records are lost, or may be: from now on every sync fails."""
        self.failure = self.failure or reason.getErrorMessage()
        waiting, self._waiting = self._waiting, deque()
        freed = self._take_for_room()
        self._settle()
        for _, deferred in waiting:
            deferred.errback(self._unavailable())
        for deferred in freed:
            deferred.callback(None)
        self._handover.drop(None)

    def _settle(self) -> None:
        """Go on, or tell `close` that nothing is under way."""
        if not self._is_closed or self._waiting:
            self._go_on()
        if self._idle is not None and not self._is_under_way():
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _is_under_way(self) -> bool:
        return self._sync is not None or self._handover.is_busy

    def _wait_until_idle(self, result: Any) -> Any:
        if not self._is_under_way():
            return result
        self._idle = Deferred()
        return self._idle.addCallback(lambda _: result)

    def _note_outstanding(self, _: Any) -> Deferred[None]:
        state = CLEAN if self._index.tail == self._index.head else IN_USE
        done = self._call_in_thread(self._file.put_superblocks, self._superblock(state))

        def failed(reason: Failure) -> None:
            self.failure = self.failure or reason.getErrorMessage()
            raise self._unavailable() from reason.value

        return done.addErrback(failed)

    def _release_file(self, result: Any) -> Any:
        self._file.close()
        return result

    def _take_for_room(self) -> list[Deferred[None]]:
        waiting, self._for_room = self._for_room, []
        return waiting

    def _closed(self) -> Closed:
        return Closed(f"journal {self.path} is closed")

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"journal {self.path}: records were lost: {self.failure}")
