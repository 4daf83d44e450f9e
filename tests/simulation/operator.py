"""What people and schedules do to a volume while clients use it."""

from __future__ import annotations

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure

from backends.objects.contract import StoreError
from gateway.errors import Corrupt, StorageError, UnknownExport
from gateway.info import MIB
from tests.simulation.model import Wrong
from tests.simulation.offspring import Clone

#: Snapshots at most; beyond it, one is deleted instead.
_MOST = 6


class Operator:
    """
    Acts on one attachment.

    What the subject's ``features`` name is done: ``collect``, ``sweep``, ``checkpoint``,
    ``snapshot``, ``delete_snapshot``, ``read_snapshot``, ``rollback``, ``clone``, ``changed``,
    ``grow``.

    Args:
        simulation: the run.
        session: a `Session`.
    """

    def __init__(self, simulation, session):
        self._simulation = simulation
        self._session = session
        self._random = simulation.random
        self._subject = simulation.subject
        self._snapshots = simulation.snapshots

    async def work(self):
        """An action now and then, until the attachment ends."""
        simulation = self._simulation
        features = sorted(self._subject.features)
        if not features:
            return
        while True:
            await simulation.sleep(self._random.expovariate(1 / simulation.profile.operator))
            session = self._session
            if not session.alive or session.ending or session.fenced:
                return
            await getattr(self, f"_{self._random.choice(features)}")()

    async def check_everything(self):
        """Compare every snapshot and every clone with what it should hold."""
        for snapshot in self._snapshots.there():
            await self._compare_snapshot(snapshot)
            if "changed" in self._subject.features and snapshot.content is not None:
                await self._compare_changes(snapshot)
        for clone in self._simulation.clones:
            await clone.check()

    # Actions.

    async def _collect(self):
        await self._ask("collect", lambda: self._subject.collect(self._session.volume))

    async def _sweep(self):
        await self._ask("sweep", lambda: self._subject.sweep(self._session.volume))

    async def _checkpoint(self):
        session, asked = self._session, self._simulation.moment()
        answer = await self._ask("checkpoint", lambda: self._subject.checkpoint(session.volume))
        if self._succeeded(answer):
            session.branch.stored_done(asked)

    async def _snapshot(self):
        if len(self._snapshots.there()) >= _MOST:
            await self._delete_snapshot()
            return
        session, simulation = self._session, self._simulation
        name = f"s{simulation.next_number()}"
        asked = simulation.moment()
        self._snapshots.asked(name, asked, session.branch)
        answer = await self._ask(
            f"snapshot {name}", lambda: self._subject.snapshot(session.volume, name)
        )
        if self._succeeded(answer):
            self._snapshots.made(name)
            session.branch.stored_done(asked)
            if self._random.random() < 0.3:
                await self._read_snapshot()

    async def _delete_snapshot(self):
        snapshot = self._any_snapshot()
        if snapshot is None or snapshot.pins:
            return
        snapshot.state = "going"
        volume, name = self._session.volume, snapshot.name
        answer = await self._ask(
            f"delete {name}", lambda: self._subject.delete_snapshot(volume, name)
        )
        if self._succeeded(answer):
            self._snapshots.deleted(name)

    async def _read_snapshot(self):
        if (snapshot := self._any_snapshot()) is not None:
            await self._compare_snapshot(snapshot)

    async def _changed(self):
        snapshot = self._any_snapshot()
        if snapshot is not None and snapshot.content is not None:
            await self._compare_changes(snapshot)

    async def _grow(self):
        session, simulation = self._session, self._simulation
        size = max(session.sizes) + 512 * self._random.choice((1, 8, 128, 32768, 40000))
        if size > simulation.first_size + 128 * MIB:
            return
        session.sizes.add(size)
        answer = await self._ask(
            f"grow to {size}", lambda: self._subject.grow(session.volume, size)
        )
        if self._succeeded(answer):
            session.sizes = {size}
            if session.left_size not in (None, size):
                raise Wrong(f"grown to {size}, but the next writer found {session.left_size}")

    async def _rollback(self):
        """Back to a snapshot; clients wait meanwhile."""
        session, snapshot = self._session, self._any_snapshot()
        if snapshot is not None and snapshot.content is None:
            await self._compare_snapshot(snapshot)
        if snapshot is None or snapshot.content is None or not session.alive:
            return
        session.paused = True
        try:
            await session.rest()
            if not session.alive or snapshot.state != "there":
                return
            mutation = session.branch.submit_image(snapshot.content)
            name = snapshot.name
            answer = await self._ask(
                f"rollback {name}", lambda: self._subject.rollback(session.volume, name)
            )
            if session.process.alive:
                session.branch.answer(mutation, self._succeeded(answer))
                if mutation.ok:
                    session.branch.stored_done(self._simulation.moment())
        finally:
            session.paused = False

    async def _clone(self):
        snapshot = self._any_snapshot()
        simulation = self._simulation
        if not simulation.profile.clones or snapshot is None or len(simulation.clones) >= 2:
            return
        snapshot.pins += 1
        clone = Clone(simulation, snapshot, f"clone{simulation.next_number()}")
        if await clone.make():
            simulation.clones.append(clone)
            simulation.count("cloned")
            await clone.use()

    # Inside.

    def _any_snapshot(self):
        there = self._snapshots.there()
        return self._random.choice(there) if there else None

    async def _compare_snapshot(self, snapshot):
        session, simulation, name = self._session, self._simulation, snapshot.name
        snapshot.pins += 1
        try:
            export = await self._ask(
                f"open {name}", lambda: self._subject.open_snapshot(session.volume, name)
            )
            if not self._succeeded(export):
                return
            read = await simulation.read_all(session.process, export)
            if not session.process.alive:
                return
            observed, unknown = read
            if unknown:
                session.permit(f"reading {name}", unknown[0][2])
            else:
                snapshot.check(observed)
            if session.alive:
                await self._ask(f"close {name}", export.close)
        finally:
            snapshot.pins -= 1

    async def _compare_changes(self, snapshot):
        """What is clean is as it was."""
        session, name = self._session, snapshot.name
        asked = self._simulation.moment()
        size = session.volume.info.size
        at = self._random.choice((0, *(offset for offset, _ in self._simulation.zones.zones)))
        snapshot.pins += 1
        try:
            for _ in range(4):
                offset = at
                changes = await self._ask(
                    f"changes since {name} from {offset}",
                    lambda offset=offset: session.volume.changed(
                        name, offset, size - offset, False
                    ),
                )
                if not self._succeeded(changes):
                    return
                for change in changes:
                    if not change.dirty:
                        session.branch.check_unchanged(at, change.length, snapshot.content, asked)
                    at += change.length
                if at >= size:
                    return
        finally:
            snapshot.pins -= 1

    def _succeeded(self, answer):
        return self._session.process.alive and not isinstance(answer, Failure)

    async def _ask(self, text, call):
        """
        Returns:
            The answer; a `Failure` that was to be expected; anything if the process has died.
        """
        simulation, session = self._simulation, self._session
        simulation.note("operator", session.process.name, text)
        answer = await simulation.answer(session.process, maybeDeferred(call), text)
        simulation.count(text.split()[0] + (" failed" if isinstance(answer, Failure) else ""))
        if isinstance(answer, Failure):
            error = answer.value
            simulation.note("operator failed", text, type(error).__name__)
            if isinstance(error, UnknownExport) and session.superseded:
                return answer
            if isinstance(error, StoreError) and simulation.profile.errors:
                return answer
            if isinstance(error, Corrupt) and simulation.profile.faults.wrong:
                return answer  # what was wrong once may fail what can be asked for again
            if not isinstance(error, StorageError):
                answer.raiseException()
            session.permit(text, error)
        return answer
