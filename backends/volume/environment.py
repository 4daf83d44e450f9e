"""What a volume is lent by whoever opens it, and the choices it is opened with."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from backends.volume.processes import Process
from backends.volume.units import OBJECT_BYTES
from gateway.info import MIB


def _to_nobody(words: str) -> None:
    """The default of `Environment.tell`."""


@attrs.frozen
class Environment:
    """
    Time, randomness and threads; passed in so that a simulation can lend its own.

    Attributes:
        clock: an ``IReactorTime``.
        random: for jitter.
        secret_bytes: a number of unpredictable bytes, as `os.urandom` gives them.
        wall: seconds since 1970, for people; nothing is decided by it.
        call_in_thread: runs a blocking function elsewhere and answers with a
            ``Deferred`` of its result.
        process: who this is, in what is written to the store.
        tell: says what opening or closing is busy with; see `gateway.interfaces.Resources`.
    """

    clock: Any
    random: Random
    secret_bytes: Callable[[int], bytes]
    wall: Callable[[], float]
    call_in_thread: Callable[..., Deferred[Any]]
    process: Process
    tell: Callable[[str], None] = _to_nobody

    @property
    def host(self) -> str:
        """Names this machine."""
        return self.process.host


@attrs.frozen(kw_only=True)
class Options:
    """
    How a volume works while it is open; none of it is kept in the volume.

    Attributes:
        object_bytes: bytes of data at which a segment is sealed.
        upload_delay: seconds after which a segment is sealed in any case.
        dirty_limit: bytes of data that may be in memory only; writers wait beyond it.
        flush_deadline: seconds after which a flush that the store does not
            let through fails; what it waited for stays and is tried on.
        checkpoint_objects: log objects after which a checkpoint is due.
        checkpoint_delay: seconds of rest after which one is due if anything changed.
        map_memory: bytes of map pages kept in memory.
        collect: whether the collector runs by itself.
        live_low, live_high: the collector starts when live/total falls below
            the first and stops at the second.
        collect_rate: bytes a second that the collector may move.
        sweep_delay: seconds between two sweeps for orphans; 0 for none.
    """

    object_bytes: int = OBJECT_BYTES
    upload_delay: float = 2.0
    dirty_limit: int = 96 * MIB
    flush_deadline: float = 300.0
    checkpoint_objects: int = 128
    checkpoint_delay: float = 600.0
    map_memory: int = 128 * MIB
    collect: bool = True
    live_low: float = 0.75
    live_high: float = 0.80
    collect_rate: float = 32.0 * MIB
    sweep_delay: float = 86400.0
