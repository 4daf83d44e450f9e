"""
The way of records into the journal's file: in order, and none of them is answered before.

What the kernel has, the death of this process cannot take. Its page cache
takes a short record in a few microseconds, so most are written where they are
made. Long ones go in a thread, and those that would wait for the disk, and
everything that comes while such a one is under way: whoever reads the journal
stops at the first record that is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backends.volume.journal_file import JournalFile
from gateway.interfaces import Buffer


class Handover:
    """
    Args:
        file: open.
        call_in_thread: as in `gateway.interfaces.Resources`.
        last: number of the newest record that is in the file.
        went_on: called when a thread has written something.
        failed: called when it could not; nothing is to be handed over afterwards.

    Attributes:
        written: number of a record that is in the file, as are all before it.
    """

    def __init__(
        self,
        file: JournalFile,
        call_in_thread: Callable[..., Deferred[Any]],
        last: int,
        went_on: Callable[[], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.written = self._last = last
        self._file = file
        self._call_in_thread = call_in_thread
        self._went_on = went_on
        self._failed = failed
        self._gathered: list[Buffer] = []
        self._gathered_from = 0
        self._gathered_bytes = 0
        self._bytes_under_way = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    @property
    def in_memory(self) -> int:
        """Bytes that are not known to be in the file."""
        return self._gathered_bytes + self._bytes_under_way

    @property
    def is_busy(self) -> bool:
        """Whether a thread writes."""
        return self._bytes_under_way > 0

    def take(self, lsn: int, position: int, parts: Sequence[bytes], free: int) -> None:
        """
        Bring the next record into the file, now or soon.

        Args:
            lsn: its number, one higher than that before.
            position: in the ring.
            parts: joined they are the record.
            free: bytes of the ring behind it that nobody needs.
        """
        self._last = lsn
        done, size = 0, sum(map(len, parts))
        if not self.in_memory:
            done = self._file.write_now(position, parts, free)
            if done == size:
                self.written = lsn
                return
        if not self._gathered:
            self._gathered_from = position + done
        self._gathered += parts if not done else (memoryview(b"".join(parts))[done:],)
        self._gathered_bytes += size - done
        if not self._bytes_under_way:
            self._start()

    def when_written(self) -> Deferred[None] | None:
        """
        Answered when the file has every record taken so far; None if it has.

        A handover that was given up answers as well: there is nothing to wait for.

        Raises:
            Exception: what `drop` was given.
        """
        if self.written == self._last:
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append((self._last, waiting))
        return waiting

    def drop(self, why: Exception | None) -> None:
        """
        Forget what is not under way, and answer all who wait.

        Args:
            why: None for an answer without an error.
        """
        self._gathered, self._gathered_bytes = [], 0
        self.written = self._last
        waiting, self._waiting = self._waiting, deque()
        for _, one in waiting:
            one.callback(None) if why is None else one.errback(why)

    def _start(self) -> None:
        buffers, self._gathered = self._gathered, []
        self._bytes_under_way, self._gathered_bytes = self._gathered_bytes, 0
        self._call_in_thread(self._file.write, self._gathered_from, buffers).addCallbacks(
            self._done, self._not_done, callbackArgs=(self._last,)
        )

    def _done(self, _: Any, lsn: int) -> None:
        self._bytes_under_way = 0
        self.written = max(self.written, lsn)
        if self._gathered:
            self._start()
        there = []
        while self._waiting and self._waiting[0][0] <= lsn:
            there.append(self._waiting.popleft()[1])
        self._went_on()
        for waiting in there:
            waiting.callback(None)

    def _not_done(self, reason: Failure) -> None:
        self._bytes_under_way = 0
        self._failed(reason)
