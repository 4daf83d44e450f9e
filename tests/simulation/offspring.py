"""Volumes that come from another, and live beside it: clones and copies."""

from __future__ import annotations

from twisted.python.failure import Failure

from backends.objects.contract import StoreError
from gateway.errors import ExportUnavailable, StorageError
from tests.simulation.model import Branch, Wrong
from tests.simulation.session import Session

#: Failures of whatever opens something beside the volume.
_REFUSALS = (StorageError, StoreError, ExportUnavailable)


class Offspring:
    """
    A volume made of another, with a life of its own.

    Args:
        simulation: the run.
        prefix: its place in the store.
        check_first: takes the model bytes that it holds at first, and raises `Wrong`.
    """

    def __init__(self, simulation, prefix, check_first):
        self._simulation = simulation
        self._prefix = prefix
        self._check_first = check_first
        self._branch = None
        self._process = None

    async def use(self):
        """Attach it, compare it, change it, and crash."""
        attached = await self._attach()
        if attached is None:
            return
        process, volume, observed = attached
        simulation = self._simulation
        session = Session(
            simulation, process, volume, Branch(simulation.zones, observed, simulation.moment)
        )
        self._branch = session.branch
        if simulation.random.random() < 0.5:
            process.kill_after(simulation.random.randint(1, 200), lambda: None)
        await simulation.answer(
            process, simulation.run_beside(session.work(25)), f"clients of {self._prefix}"
        )
        process.kill()

    async def check(self):
        """At the end: it holds what it should."""
        for _ in range(3):
            if self._process is not None:
                self._process.kill()
            attached = await self._attach()
            if attached is not None:
                attached[0].kill()
                return
        raise Wrong(f"{self._prefix} cannot be attached any more")

    async def _attach(self):
        simulation = self._simulation
        process = self._process = simulation.process(self._prefix)
        attached = simulation.subject.attach(process, self._prefix)
        volume = await simulation.answer(process, attached, f"attach {self._prefix}")
        if not process.alive:
            return None
        if isinstance(volume, Failure):
            volume.trap(*_REFUSALS)
            process.kill()
            return None
        read = await simulation.read_all(process, volume)
        if not process.alive:
            return None
        observed, unknown = read
        if unknown:
            process.kill()
            return None
        if self._branch is None:
            self._check_first(observed)
        else:
            self._branch.check_crash(observed)
        return process, volume, observed


class Clone(Offspring):
    """
    Made of a snapshot.

    Args:
        snapshot: a `Snapshot`; it cannot be deleted any more.
    """

    def __init__(self, simulation, snapshot, prefix):
        super().__init__(simulation, prefix, snapshot.check)
        self._snapshot = snapshot

    async def make(self):
        """False if it could not be made."""
        simulation = self._simulation
        process = simulation.process("cloner")
        made = simulation.subject.clone(
            process, simulation.prefix, self._snapshot.name, self._prefix
        )
        answer = await simulation.answer(process, made, f"clone {self._snapshot.name}")
        process.kill()
        if isinstance(answer, Failure):
            answer.trap(*_REFUSALS)
            return False
        return True


class Copy(Offspring):
    """
    All objects of a volume, somewhere else: volumes of one uuid, that go different ways.

    Args:
        branch: the `Branch` of its last writer, which is dead.
    """

    def __init__(self, simulation, branch, prefix):
        super().__init__(simulation, prefix, branch.check_crash)

    def make(self):
        """Now."""
        self._simulation.store.copy(self._simulation.prefix, self._prefix)
