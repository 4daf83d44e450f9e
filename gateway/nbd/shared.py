"""What all connections of one process share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.nbd.payloads import PayloadMemory
from gateway.nbd.polling import Polling
from gateway.traffic import Connections


@dataclass(frozen=True, slots=True)
class Shared:
    """
    One for all listeners on one reactor.

    Attributes:
        clock: seconds that only ever go on; a reactor's clock can be set back.
        polling: who may ask its socket on.
        payload_memory: lends buffers for long payloads.
        clients: who is connected, and what was done.
    """

    clock: Callable[[], float] = time.monotonic
    polling: Polling = field(default_factory=Polling)
    payload_memory: PayloadMemory = field(default_factory=PayloadMemory)
    clients: Connections = field(default_factory=lambda: Connections(time.time))
