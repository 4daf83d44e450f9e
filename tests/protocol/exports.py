"""
The exports that protocol tests talk to, each made when it is first named.

A name is ``KIND`` or ``KIND:ANYTHING``; every name is a disk of its own, so
that tests do not meet in one. `KINDS` says which kinds there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from backends.file.provider import FileProvider, FileSettings
from backends.memory import MemoryExport
from gateway.errors import ExportUnavailable, NotFast, Unavailable, UnknownExport
from gateway.info import KIB, MIB, Abilities, Change, ExportInfo, Extent
from gateway.interfaces import IChangedBlocks, IExport, IExportSource, IOffer, Resources
from tests.doubles.always_later import AlwaysLater
from tests.doubles.changed_blocks import ChangedBlocks

SIZE = 8 * MIB
BIG = 1 << 40
HUGE = 2**63 - 512


class Quick(AlwaysLater):
    """Answers later, but soon."""

    LONGEST = 0.002


@implementer(IExport)
class Wrapper:
    """An export in front of another one; subclasses change what they mean to."""

    def __init__(self, export: Any, **changes: Any) -> None:
        self.info = dataclasses.replace(export.info, **changes)
        self._export = export

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the other one provides is not what this one does
            raise AttributeError(name)
        return self._method(name)

    def _method(self, name: str) -> Any:
        return getattr(self._export, name)


class NeverFast(Wrapper):
    """Has no way of zeroing but writing."""

    def write_zeroes(self, *arguments: Any) -> None:
        raise NotFast


class Fired(Wrapper):
    """Answers now, but in the form of fired Deferreds."""

    def _method(self, name: str) -> Any:
        method = getattr(self._export, name)
        if name == "read_into":
            return lambda offset, buffer: False
        return lambda *arguments: succeed(method(*arguments))


class Broken(Wrapper):
    """Fails every request in the way that storage fails."""

    def _method(self, name: str) -> Any:
        def fail(*arguments: Any) -> Any:
            raise Unavailable("the disk is on fire")

        return getattr(self._export, name) if name == "close" else fail


class Buggy(Wrapper):
    """Fails every request in a way that nobody declared."""

    def _method(self, name: str) -> Any:
        def fail(*arguments: Any) -> Any:
            raise ZeroDivisionError("a bug")

        return getattr(self._export, name) if name == "close" else fail


class Short(Wrapper):
    """Returns a byte less than it was asked for."""

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        return False

    def read(self, offset: int, length: int) -> bytes:
        return b"\xee" * (length - 1)

    def extents(self, offset: int, length: int, first_only: bool) -> list[Extent]:
        return [Extent(length, hole=False, zero=False)]


class TornReads(Wrapper):
    """Cannot read behind its first MiB; everything is data."""

    def read_into(self, offset: int, buffer: memoryview) -> bool:
        if offset + len(buffer) > MIB:
            raise Unavailable("a bad sector")
        return bool(self._export.read_into(offset, buffer))

    def read(self, offset: int, length: int) -> Any:
        if offset + length > MIB:
            raise Unavailable("a bad sector")
        return self._export.read(offset, length)


class LaterChanges(ChangedBlocks):
    """Knows its changes, but has to look them up."""

    def __init__(self, export: Any, reactor: Any) -> None:
        super().__init__(export, REFERENCES)
        self._reactor = reactor

    def changed(self, *arguments: Any) -> Any:
        return deferLater(self._reactor, 0.001, super().changed, *arguments)


@implementer(IChangedBlocks)
class BuggyChanges(Wrapper):
    """Fails when it is asked for its changes, and when it is asked what it could be asked for."""

    def references(self) -> list[str]:
        raise ZeroDivisionError("a bug")

    def changed(self, *arguments: Any) -> list[Change]:
        raise ZeroDivisionError("a bug")


#: The points in time that exports with changes know from the start.
REFERENCES = ("monday", "tues:day")


def _can(export: Any, **changes: bool) -> Wrapper:
    return Wrapper(export, abilities=dataclasses.replace(export.info.abilities, **changes))


_NOTHING = Abilities(False, False, False, False, False, False, False)

#: Kind to a function of the reactor that makes an export.
KINDS: dict[str, Callable[[Any], Any]] = {
    "disk": lambda reactor: MemoryExport(SIZE),
    "later": lambda reactor: Quick(MemoryExport(SIZE), reactor),
    "fired": lambda reactor: Fired(MemoryExport(SIZE)),
    "read-only": lambda reactor: MemoryExport(SIZE, read_only=True),
    "big": lambda reactor: MemoryExport(BIG),
    "huge": lambda reactor: MemoryExport(HUGE),
    "empty": lambda reactor: MemoryExport(0),
    "odd": lambda reactor: MemoryExport(1000),
    "full": lambda reactor: MemoryExport(SIZE, limit=2 * 64 * KIB),
    "aligned": lambda reactor: Wrapper(MemoryExport(SIZE), minimum_block=4096),
    "coarse": lambda reactor: Wrapper(MemoryExport(SIZE), preferred_block=64 * KIB),
    "rotating": lambda reactor: Wrapper(MemoryExport(SIZE), rotational=True),
    "writes-zeroes": lambda reactor: _can(MemoryExport(SIZE), write_zeroes=False),
    "big-writes-zeroes": lambda reactor: _can(MemoryExport(BIG), write_zeroes=False),
    "never-fast": lambda reactor: NeverFast(MemoryExport(SIZE)),
    "no-fast-zero": lambda reactor: _can(MemoryExport(SIZE), fast_zero=False),
    "no-cache": lambda reactor: _can(MemoryExport(SIZE), cache=False),
    "no-fua": lambda reactor: _can(MemoryExport(SIZE), fua=False),
    "bare": lambda reactor: Wrapper(MemoryExport(SIZE), abilities=_NOTHING),
    "broken": lambda reactor: Broken(MemoryExport(SIZE)),
    "buggy": lambda reactor: Buggy(MemoryExport(SIZE)),
    "short": lambda reactor: Short(MemoryExport(SIZE)),
    "torn": lambda reactor: TornReads(MemoryExport(SIZE)),
    "changed": lambda reactor: ChangedBlocks(MemoryExport(SIZE), REFERENCES),
    "changed-later": lambda reactor: LaterChanges(MemoryExport(SIZE), reactor),
    "changed-huge": lambda reactor: ChangedBlocks(MemoryExport(HUGE), REFERENCES),
    "changed-buggy": lambda reactor: BuggyChanges(MemoryExport(SIZE)),
    "tls-only": lambda reactor: MemoryExport(SIZE),
    "vm17-only": lambda reactor: MemoryExport(SIZE),
}

#: What LIST shows, by name.
LISTED = {"disk": "A disk in memory", "read-only": "", "größe": "Ein Name in UTF-8", "tls-only": ""}


@implementer(IOffer)
class TestOffer:
    """
    An offer of one export.

    Attributes:
        opened: how often it was opened.
        users: who opened it and have not released it.
    """

    __test__ = False

    def __init__(self, name: str, make: Callable[[], Any], description: str = "") -> None:
        self.name = name
        self.description = description
        kind = name.partition(":")[0]
        self.tls_only = kind == "tls-only"
        self._only = frozenset({"cn:vm17"}) if kind == "vm17-only" else None
        self._make = make
        self._export: Any = None
        self.opened = self.users = 0

    def admits(self, names: frozenset[str]) -> bool:
        return self._only is None or bool(self._only & names)

    def open(self) -> Any:
        self.opened += 1
        if self._export is None:
            self._export = self._make()
        if isinstance(self._export, Deferred):
            return self._export.addCallback(self._count)
        return self._count(self._export)

    def _count(self, export: Any) -> Any:
        self.users += 1
        return export

    def release(self) -> None:
        assert self.users > 0
        self.users -= 1


@implementer(IExportSource)
class TestSource:
    """
    Every kind of export, under any name.

    Attributes:
        made: the offers named so far; a test may add its own.
        listed: names and descriptions for LIST.
    """

    __test__ = False

    def __init__(self, reactor: Any, files: str | None = None) -> None:
        self.made: dict[str, TestOffer] = {}
        self._files = files
        self.listed = dict(LISTED)
        self._reactor = reactor

    def add(self, name: str, export: Any, description: str = "") -> TestOffer:
        """Offer an export, or a function that makes one."""
        make = export if callable(export) else lambda: export
        self.made[name] = TestOffer(name, make, description)
        return self.made[name]

    def offers(self) -> list[TestOffer]:
        return [self.offer(name) for name in self.listed]

    def offer(self, name: str) -> TestOffer:
        name = name or "disk"
        if name not in self.made:
            kind = name.partition(":")[0]
            if kind == "größe":
                kind = "disk"
            if kind == "unavailable":
                self.made[name] = TestOffer(name, _unavailable)
            elif kind == "never-opens":
                self.made[name] = TestOffer(name, Deferred)
            elif kind == "opens-later":
                self.made[name] = TestOffer(name, self._opens_later)
            elif kind == "file" and self._files is not None:
                path = f"{self._files}/{len(self.made)}"
                self.made[name] = TestOffer(name, lambda: _file(path, self._reactor))
            elif kind in KINDS:
                make, reactor = KINDS[kind], self._reactor
                self.made[name] = TestOffer(name, lambda: make(reactor), self.listed.get(name, ""))
            else:
                raise UnknownExport(name)
        return self.made[name]

    def _opens_later(self) -> Deferred[Any]:
        opening: Deferred[Any] = Deferred()
        self._reactor.callLater(0.01, opening.callback, MemoryExport(SIZE))
        return opening


def _unavailable() -> Any:
    raise ExportUnavailable("the cable is unplugged")


def _file(path: str, reactor: Any) -> Any:
    settings = FileSettings(path=path, size=SIZE)
    resources = Resources(reactor, deferToThread, path)
    return FileProvider().open_export("file", settings, False, resources)


def info(**changes: Any) -> ExportInfo:
    """An export's facts, for tests of the cores."""
    return ExportInfo(**{"size": SIZE, **changes})
