"""What must be true of a volume that a run has come to the end of, and of one in use."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.simulation import audit
from tests.simulation.attaching import PREFIX, REFUSALS
from tests.simulation.model import Wrong
from tests.simulation.operator import Operator

#: Virtual seconds after which what was still on its way has come.
CALM_DOWN = 1000.0


class Inspection:
    """
    Args:
        run: a `Simulation`.
    """

    def __init__(self, run):
        self._run = run

    async def audit(self, session):
        """Nothing is under way any more: is everything in its place, and nothing else?"""
        await self._run.close(session)
        self._run.attaching.at_rest = True
        await self._run.sleep(CALM_DOWN)
        free = set()
        for _ in range(2):
            session = await self._run.attaching.attach(session)
            subject, volume = self._run.subject, session.volume
            # Or a checkpoint has nothing to do.
            session.write(self._run.zones.zones[0][0], 512, True)
            await session.rest()
            await self._demand(session, "checkpoint", subject.checkpoint(volume))
            for _ in range(100):
                collected = await self._demand(session, "collect", subject.collect(volume))
                await self._run.sleep(60)  # for the collector's own rounds
                if not collected:
                    break
            else:
                raise Wrong("collecting does not end")
            await self._demand(session, "sweep", subject.sweep(volume))
            observed, _ = await self._run.read_all(session.process, volume)
            await self._run.close(session)
            objects = {key: stored.data for key, stored in self._run.store.objects.items()}
            if free & set(objects):
                raise Wrong(f"not deleted, and it was free: {sorted(free & set(objects))}")
            free = audit.check_objects(objects, PREFIX, subject.secret)
        share = audit.live_share(objects, PREFIX, subject.secret)
        if share < subject.live_share:
            raise Wrong(f"collecting has ended, and {share:.3f} of the objects' sectors are live")
        audit.check_rebuilt(objects, PREFIX, subject.secret, self._run.zones, observed)
        await self._check(False)
        if self._run.seed % 3 == 0:
            await self._rebuild(session, observed)
        self._run.count("audited")

    async def _rebuild(self, session, observed):
        """Lose every checkpoint; the disk and its snapshots are as they were."""
        objects = self._run.store.objects
        for key in [key for key in objects if key.startswith(f"{PREFIX}/ck/")]:
            del objects[key]
        process = self._run.process("rebuilder")
        rebuilt = self._run.subject.rebuild(process, PREFIX)
        verdict = await self._run.answer(process, rebuilt, "rebuild")
        if isinstance(verdict, Failure):
            verdict.raiseException()
        if wrong := [one for one in verdict.findings if one.severity.value not in ("note", "leak")]:
            raise Wrong(f"after a rebuild, the check says: {wrong}")
        last = await self._run.attaching.attach(session)
        again, unknown = await self._run.read_all(last.process, last.volume)
        if again != observed or unknown:
            raise Wrong(f"after a rebuild the disk is another; {unknown}")
        self._run.clones.clear()  # their maps were in those checkpoints
        await Operator(self._run, last).check_everything()
        await self._demand(last, "sweep", self._run.subject.sweep(last.volume))
        await self._run.close(last)
        await self._check(False)
        self._run.count("rebuilt")

    async def keep_checking(self, session):
        """The check, now and then, beside one that writes."""
        random = Random(f"{self._run.seed} checks")
        while True:
            await self._run.sleep(random.expovariate(1 / 5))
            if not session.alive or session.ending:
                return
            await self._check(True)

    async def _check(self, is_moving):
        """
        The volume's own check has nothing to complain of.

        Args:
            is_moving: somebody writes meanwhile; then what crashes left may be there.
        """
        process = self._run.process("checker")
        checked = self._run.subject.check(process, PREFIX)
        verdict = await self._run.answer(process, checked, "check")
        if isinstance(verdict, Failure):
            verdict.trap(*REFUSALS)
            if not is_moving:
                verdict.raiseException()
            return
        allowed = {"note", "leak"} if is_moving else {"note"}
        if wrong := [one for one in verdict.findings if one.severity.value not in allowed]:
            raise Wrong("the check says: " + "; ".join(f"{one.severity}: {one}" for one in wrong))
        self._run.count("checked beside a writer" if is_moving else "checked")

    async def _demand(self, session, text, coming):
        """The answer; any failure ends the run."""
        if not isinstance(coming, Deferred):
            coming = Deferred.fromCoroutine(coming)
        answer = await self._run.answer(session.process, coming, text)
        if isinstance(answer, Failure):
            answer.raiseException()
        return answer
