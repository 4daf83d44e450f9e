"""
A gateway whose disk is slow on purpose, and counts what it is asked to do.

    python -m benchmarks.slow_disk gw.ini

Serves a configuration in which ``provider = slow`` is known: a disk in memory
with the delays and abilities of the August 2019 experiment. Never reports a
hole, so that no client can skip what is to be measured.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from backends.memory import MemoryExport
from gateway import settings, validation
from gateway.config import number
from gateway.errors import NotFast
from gateway.info import Abilities, Extent
from gateway.interfaces import Buffer, IExport, IStorageProvider, NowOrLater, Resources
from gateway.providers import BUILT_IN, Providers
from gateway.service import Gateway

reactor: Any = _reactor

#: Bytes that one write of the store carries.
OPERATION = 256 * 1024


@attrs.frozen
class SlowSettings:
    """The keys of an export section with ``provider = slow``."""

    size: int = settings.setting(settings.size, "Bytes of the disk.")
    counts: str = settings.setting(settings.path, "Where the counts are written to at the end.")
    write_ms: int = settings.setting(number, "Milliseconds per 256 KiB or part of it.", 20)
    zero_ms: int = settings.setting(number, "Milliseconds per zero, however long.", 5)
    zeroes: bool = settings.setting(settings.boolean, "It can zero without writing.", True)
    advertise: bool = settings.setting(settings.boolean, "Say that FAST_ZERO is known.", True)


@implementer(IStorageProvider)
class SlowProvider:
    """Makes slow disks."""

    name = "slow"
    settings = SlowSettings

    def problems(self, settings: SlowSettings, read_only: bool) -> list[str]:
        return []

    def identity(self, settings: SlowSettings) -> Hashable | None:
        return None

    def describe(self, settings: SlowSettings) -> str:
        return "memory, slow on purpose"

    def open_export(
        self, name: str, settings: SlowSettings, read_only: bool, resources: Resources
    ) -> IExport:
        return SlowExport(settings, resources.reactor)


@implementer(IExport)
class SlowExport(MemoryExport):
    """
    A disk in memory that takes its time.

    Args:
        settings: delays and abilities.
        reactor: for the delays.
    """

    def __init__(self, settings: SlowSettings, reactor: Any) -> None:
        super().__init__(settings.size)
        abilities = Abilities(fast_zero=settings.advertise)
        self.info = replace(self.info, abilities=abilities)
        self._settings = settings
        self._reactor = reactor
        self._counts: Counter[str] = Counter()

    def write(self, offset: int, data: Buffer, fua: bool) -> NowOrLater[None]:
        operations = -(-len(data) // OPERATION)
        self._counts["writes"] += operations
        self._counts["bytes"] += len(data)
        return self._later(operations * self._settings.write_ms, super().write, offset, data, fua)

    def write_zeroes(
        self, offset: int, length: int, may_trim: bool, fua: bool, fast: bool
    ) -> NowOrLater[None]:
        if not self._settings.zeroes:
            self._counts["fast refused" if fast else "zeroes written"] += 1
            raise NotFast("this disk can only write zeroes")
        self._counts["fast zeroes" if fast else "zeroes"] += 1
        return self._later(
            self._settings.zero_ms, super().write_zeroes, offset, length, may_trim, fua, fast
        )

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        return [Extent(length, hole=False, zero=False)]

    def close(self) -> None:
        Path(self._settings.counts).write_text(json.dumps(self._counts))
        super().close()

    def _later(self, milliseconds: int, call: Any, *arguments: Any) -> Deferred[None]:
        return deferLater(self._reactor, milliseconds / 1000, call, *arguments)


def main() -> None:
    """Serve until SIGTERM."""
    providers = Providers({**BUILT_IN, "slow": "benchmarks.slow_disk.SlowProvider"}, (), ())
    service = Gateway(validation.load(sys.argv[1], providers=providers))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(service.startService)
    reactor.run()


if __name__ == "__main__":
    main()
