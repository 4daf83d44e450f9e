"""Threads that nobody waits for."""

from __future__ import annotations

from threading import Event

from gateway.threads import StorageThreads


def test_a_thread_that_is_stuck_does_not_hold_up_the_stop() -> None:
    """As behind a disk that never answers; idle ones end."""
    pool = StorageThreads(0, 2, "test")
    pool.start()
    begun, freed = Event(), Event()

    def hang() -> None:
        begun.set()
        freed.wait()

    pool.callInThread(hang)
    begun.wait()
    (thread,) = pool.threads
    assert thread.daemon
    pool.stop()
    assert thread.is_alive()
    freed.set()
    thread.join(60)
    assert not thread.is_alive()
