"""Threads for storage calls, none of which can keep the process from ending."""

from __future__ import annotations

from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool


class _Thread(Thread):
    """A thread that nobody waits for; it may be stuck in the kernel, behind a dead disk."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, daemon=True, **named)

    def join(self, timeout: float | None = None) -> None:
        super().join(0 if timeout is None else timeout)


class StorageThreads(ThreadPool):
    """
    A pool whose `stop` does not wait.

    What has to be finished before the end is waited for by its result.
    """

    threadFactory = _Thread
