"""Doubles for the neighbors of the stairwell: a provider, a protocol, resources."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from gateway import settings
from gateway.config import ExportSpec
from gateway.errors import UnknownExport
from gateway.info import ExportInfo
from gateway.interfaces import IDerivedExports, IStorageProvider, Resources


@attrs.frozen
class FakeSettings:
    """Keys of the fake provider."""

    size: int = settings.setting(settings.size, "Bytes.", 4096)
    place: str = settings.setting(settings.text, "Where.", "")
    wrong: str = settings.setting(settings.text, "A problem to report.", "")


class FakeExport:
    """An export that only opens and closes."""

    def __init__(self, size: int, read_only: bool = False) -> None:
        self.info = ExportInfo(size, read_only)
        self.closes = 0
        self.closing: Any = None

    def close(self) -> Any:
        self.closes += 1
        return self.closing


@implementer(IDerivedExports)
class FakeVolume(FakeExport):
    """
    An export with others that derive from it.

    Attributes:
        snapshots: what to answer, or raise, by name.
        asked: the names asked for.
    """

    def __init__(self, size: int, **snapshots: Any) -> None:
        super().__init__(size)
        self.snapshots = snapshots
        self.asked: list[str] = []

    def derived(self, name: str) -> Any:
        self.asked.append(name)
        answer = self.snapshots.get(name, UnknownExport(name))
        if isinstance(answer, Exception):
            raise answer
        return answer


@implementer(IStorageProvider)
class FakeProvider:
    """
    Opens when the test says so.

    Attributes:
        attempts: one ``(name, Deferred)`` for each call to open.
        now: what to answer, or raise, at once.
    """

    settings = FakeSettings

    def __init__(self, name: str = "fake", now: Any = None) -> None:
        self.name = name
        self.now = now
        self.attempts: list[tuple[str, Deferred[Any]]] = []

    def problems(self, settings: FakeSettings, read_only: bool) -> list[str]:
        if settings.wrong == "crash":
            raise RuntimeError("the provider is broken")
        return [settings.wrong] if settings.wrong else []

    def identity(self, settings: FakeSettings) -> Hashable | None:
        return settings.place or None

    def describe(self, settings: FakeSettings) -> str:
        return f"{settings.size} bytes at {settings.place or 'nowhere'}"

    def open_export(
        self, name: str, settings: FakeSettings, read_only: bool, resources: Resources
    ) -> Any:
        attempt: Deferred[Any] = Deferred()
        self.attempts.append((name, attempt))
        if isinstance(self.now, Exception):
            raise self.now
        if self.now is not None:
            return self.now
        return attempt


class FakeFactory(Factory):
    """A protocol's factory that remembers what it was made from."""

    protocol = Protocol
    noisy = False

    def __init__(self, spec: Any, table: Any, reactor: Any, shutdown_timeout: float) -> None:
        self.spec = spec
        self.table = table
        self.shutdown_timeout = shutdown_timeout
        self.connections: set[object] = set()
        self.shut_downs = 0
        self.ended: Deferred[None] = succeed(None)

    def shut_down(self) -> Deferred[None]:
        self.shut_downs += 1
        return self.ended


def resources() -> Resources:
    """Resources without threads."""
    return Resources(Clock(), lambda function, *args: succeed(function(*args)), "/nonexistent")


def spec(name: str, provider: Any, **values: Any) -> ExportSpec:
    """An export of `FakeProvider`."""
    stored = FakeSettings(**{key: values.pop(key) for key in ("size", "place") if key in values})
    return ExportSpec(
        name=name,
        provider=provider,
        settings=stored,
        identity=provider.identity(stored),
        **values,
    )
