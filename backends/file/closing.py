"""The end of an export: flushed, its file closed once, and everyone told who asked for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backends.file.flushing import SharedFlush
from gateway.errors import Unavailable
from gateway.interfaces import NowOrLater


class Closing:
    """
    Closes a file when its export asks for it.

    Args:
        fd: the file.
        flush: its durability.
        when_idle: calls once nothing uses the file any more.
        call_in_thread: as in `gateway.interfaces.Resources`.
    """

    def __init__(
        self,
        fd: int,
        flush: SharedFlush,
        when_idle: Callable[[Callable[[], None]], None],
        call_in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._fd = fd
        self._flush = flush
        self._when_idle = when_idle
        self._call_in_thread = call_in_thread
        self._has_begun = False
        self._waiting: list[Deferred[None]] | None = []

    def close(self) -> NowOrLater[None]:
        """
        Begin to close, or wait for it; nothing if it is done.

        Raises:
            Unavailable: changes were lost; the file is closed all the same.
        """
        if self._waiting is None:
            return None
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if not self._has_begun:
            self._has_begun = True
            self._when_idle(self._flush_and_release)
        return done

    def _flush_and_release(self) -> None:
        try:
            flushed = self._flush.flush()
        except Unavailable:
            self._release(Failure())
        else:
            if isinstance(flushed, Deferred):
                flushed.addBoth(self._release)
            else:
                self._release(None)

    def _release(self, result: Any) -> None:
        # With the descriptor go the locks, and the blocks of an unlinked file: that
        # can wait for a disk or a network. The kernel closes it even where it reports
        # an error, and whether changes are safe the flush has told.
        self._call_in_thread(os.close, self._fd).addBoth(lambda _: self._tell(result))

    def _tell(self, result: Any) -> None:
        waiting, self._waiting = self._waiting or [], None
        for done in waiting:
            done.callback(result)
