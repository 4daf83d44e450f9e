"""What all connections of one process share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.polling import Polling
from gateway.traffic import Connections


class TellsSlow(Protocol):
    """Is told of requests that took long; `gateway.slow.SlowOperations` is one."""

    threshold: float

    def answered(
        self, seconds: float, stages: Any, op: str, offset: int, length: int, **about: Any
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Shared:
    """
    One for all listeners on one reactor.

    Attributes:
        clock: seconds that only ever go on; a reactor's clock can be set back.
        polling: who may ask its socket on.
        payload_memory: lends buffers for long payloads.
        clients: who is connected, and what was done.
        slow: is told of each request that was answered later; None for nobody.
        numbers: tell connections apart in the log.
    """

    clock: Callable[[], float] = time.monotonic
    polling: Polling = field(default_factory=Polling)
    payload_memory: PayloadMemory = field(default_factory=PayloadMemory)
    clients: Connections = field(default_factory=lambda: Connections(time.time))
    slow: TellsSlow | None = None
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
