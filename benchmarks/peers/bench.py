"""Where rows are measured: a store for each kind of disk, and fresh disks in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from benchmarks.peers.disks import Disk
from benchmarks.s3_emulator.conditions import PROFILES, Conditions
from benchmarks.s3_emulator.process import Store, running

#: Figures of one row and one kind of disk; the end of a name is its unit, see `figures`.
Measured = dict[str, float]


class Bench:
    """
    Args:
        home: a directory with a short name.
        profile: of the stores.
        quick: whether little is measured, so that it only shows that it works.
    """

    def __init__(self, home: Path, profile: str, quick: bool) -> None:
        self.profile = profile
        self.quick = quick
        self._home = home
        self._stack = ExitStack()
        self._stores: dict[type[Disk], Store] = {}
        self._numbers = itertools.count()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def some(self, many: int, few: int) -> int:
        """How much of something; ``few`` if it has to be quick."""
        return few if self.quick else many

    @contextmanager
    def disk(
        self, kind: type[Disk], size: int, conditions: Conditions | None = None
    ) -> Iterator[Disk]:
        """
        A fresh disk, serving, in an empty store that counts from here on.

        Args:
            conditions: once it serves; those of the profile if None.
        """
        disk = kind(self._new_home(kind), self.store(kind), size)
        try:
            disk.start()
            disk.store.be(conditions or PROFILES[self.profile])
            disk.store.reset()
            yield disk
        finally:
            disk.store.be(PROFILES["none"])
            disk.stop()

    def another(self, disk: Disk) -> Disk:
        """Not started: the same disk in the same store, from another home."""
        return type(disk)(self._new_home(type(disk)), disk.store, disk.size)

    def store(self, kind: type[Disk]) -> Store:
        """The store of one kind of disk, emptied."""
        if kind not in self._stores:
            self._stores[kind] = self._stack.enter_context(running("none"))
        store = self._stores[kind]
        store.empty()
        return store

    def _new_home(self, kind: type[Disk]) -> Path:
        return self._home / kind.__name__ / str(next(self._numbers))


@attrs.frozen
class Row:
    """
    One row of the table.

    Attributes:
        number: in the list of targets.
        title: what is done.
        target: what is aimed at, in words.
        measure: does it once.
        met: whether figures of ours, by name of the kind, meet the target.
        kinds: names of the kinds it is done with; all if empty.
        once: whether one run has to do: it takes minutes, or counts what does not change.
    """

    number: str
    title: str
    target: str
    measure: Callable[[Bench, type[Disk]], Measured]
    met: Callable[[dict[str, Measured]], bool]
    kinds: frozenset[str] = frozenset()
    once: bool = False
