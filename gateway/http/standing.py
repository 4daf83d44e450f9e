"""What the HTTP wing asks of the gateway it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from gateway.measures import Sample


class Standing(Protocol):
    """How the gateway stands, as of now."""

    def reasons(self) -> list[str]:
        """Why it is not ready, one line for people each, without secrets; none if it is."""

    def samples(self) -> list[Sample]:
        """Everything that is measured."""

    def connections(self) -> list[dict[str, Any]]:
        """Its clients, for JSON."""

    def summary(self) -> dict[str, Any]:
        """What a dashboard asks for every second, for JSON."""


#: Runs a function in a thread that nothing else waits for.
InThread = Callable[..., Deferred[Any]]
