"""One run: a volume's whole life under virtual time, decided by a seed."""

from __future__ import annotations

import traceback
from random import Random

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from gateway.errors import StorageError
from gateway.info import KIB
from tests.simulation.attaching import DEAD, PREFIX, REFUSALS, Attaching
from tests.simulation.inspection import Inspection
from tests.simulation.model import Wrong, Zones
from tests.simulation.offspring import Copy
from tests.simulation.operator import Operator
from tests.simulation.process import Process
from tests.simulation.snapshots import Snapshots
from tests.simulation.store import SimulatedStore
from tests.simulation.virtual_time import VirtualTime

#: Virtual seconds after which what is unanswered counts as never answered.
PATIENCE = 7200.0

#: Events after which a run counts as one that goes round in circles.
MOST_STEPS = 2_000_000


@attrs.frozen
class Report:
    """
    How a run went.

    Attributes:
        failure: None, or a text that says what was wrong.
        trace: of everything that happened.
        fingerprint: a hash of it.
        counts: of a few things that a run should have seen.
    """

    seed: int
    profile: str
    failure: str | None
    trace: list
    fingerprint: str
    counts: dict


class Simulation:
    """
    Args:
        subject: makes and opens what is simulated.
        profile: a `Profile`.
        seed: an int; the same one gives the same run.
        audited: whether an audit ends it, where the subject has one.

    Attributes:
        random: of the workload.
        zones: where the disk is written to.
        attaching: of one gateway after the other.
    """

    def __init__(self, subject, profile, seed, audited=True):
        self.subject = subject
        self.profile = profile
        self.seed = seed
        self.audited = audited and subject.audits
        self.random = Random(f"{seed} workload")
        self.clock = VirtualTime()
        self.store = SimulatedStore(self.clock, Random(f"{seed} store"))
        self.store.sacred = subject.sacred
        self.size, zones = self.random.choice(
            [layout for layout in profile.layouts if layout[0] <= subject.largest]
        )
        self.first_size = self.size
        self.prefix = PREFIX
        self.clones = []
        self.zones = Zones(zones)
        self.snapshots = Snapshots()
        self.counts = {"attached": 0, "killed": 0, "takeovers": 0, "closed": 0, "refused": 0}
        self.ended_early = False
        self._moment = 0
        self._number = 0
        self._processes = []  # the dead as well: see `MortalTime`
        self._waiting = {}
        self._keys = 0
        self._failure = None
        self.attaching = Attaching(self)
        self._inspection = Inspection(self)

    # What others use.

    def moment(self):
        """A count of events."""
        self._moment += 1
        return self._moment

    def next_number(self):
        """For a change."""
        self._number += 1
        return self._number

    def note(self, *what):
        """Add to the trace."""
        self.store.note(*what)

    def sleep(self, seconds):
        """Fires after that much virtual time."""
        slept = Deferred()
        self.clock.callLater(seconds, slept.callback, None)
        return slept

    def begins(self, process, text):
        """Something is to be answered by a process; for `ends`."""
        self._keys += 1
        self._waiting[self._keys] = (process, text, self.clock.seconds())
        return self._keys

    def ends(self, key):
        """It was."""
        del self._waiting[key]

    def failed(self, failure, text=""):
        """The run is over: something is wrong."""
        if self._failure is None:
            if failure.check(Wrong):
                self._failure = str(failure.value)
            else:
                self._failure = f"{text}\n{failure.getTraceback(elideFrameworkCode=True)}"

    @property
    def is_over(self):
        """Something was wrong."""
        return self._failure is not None

    def end_early(self):
        """There is nothing more to be seen."""
        self.ended_early = True

    def count(self, what):
        """For the summary of many runs."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def run_beside(self, coroutine):
        """A `Deferred` of its end; failures end the run."""
        return Deferred.fromCoroutine(coroutine).addErrback(self.failed, "beside")

    def process(self, name, host=None):
        """A new one."""
        name = f"{name}{len(self._processes) + 1}"
        self._processes.append(Process(self.store, name, self.seed, host))
        if host is not None:
            host.processes.append(self._processes[-1])
        return self._processes[-1]

    async def answer(self, process, deferred, text):
        """
        Wait; the Deferred may be waited for several times.

        Returns:
            What it fires with, or `DEAD` if the process dies first.
        """
        key = self.begins(process, text)
        first = Deferred()

        def ends(result):
            self._waiting.pop(key, None)
            if not first.called:
                first.callback([result])
            return None if isinstance(result, Failure) else result

        def dies():
            if not first.called:
                self._waiting.pop(key, None)
                first.callback([DEAD])

        process.when_killed(dies)
        maybeDeferred(lambda: deferred).addBoth(ends)
        return (await first)[0]

    async def read_all(self, process, export):
        """
        Every zone of an export.

        Returns:
            Model bytes, and the ranges of them that could not be read; or `DEAD`.
        """
        found = bytearray(self.zones.size)
        unknown = []
        places = [
            place
            for offset, length in self.zones.zones
            for start in range(offset, offset + length, 64 * KIB)
            for place in self.zones.pieces(start, min(64 * KIB, offset + length - start))
        ]
        if self.profile.large and self.random.random() < 0.5:
            self.random.shuffle(places)  # what is met first of an object need not be its start
        for at, size, start in places:
            reading = maybeDeferred(export.read, start, size)
            data = await self.answer(process, reading, f"read all, {start}+{size}")
            if data is DEAD:
                return DEAD
            if isinstance(data, Failure):
                data.trap(StorageError)
                unknown.append((at, at + size, data.value))
            else:
                if len(data) != size:
                    raise Wrong(f"read of {size} bytes at {start}: got {len(data)}")
                found[at : at + size] = data
        return found, unknown

    # The run.

    def run(self):
        """
        Returns:
            A `Report`; whatever goes wrong is in there.
        """
        logged = []

        def observe(event):
            if "log_failure" in event:
                logged.append(event["log_failure"])

        globalLogPublisher.addObserver(observe)
        try:
            self._pump(Deferred.fromCoroutine(self._live()))
            for failure in logged:
                self.failed(failure, "logged")
        except Wrong as wrong:
            self._failure = str(wrong)
        except Exception:
            self._failure = traceback.format_exc()
        finally:
            globalLogPublisher.removeObserver(observe)
            for host in self.attaching.hosts:
                host.remove()
        if self._failure is None and self.store.violations:
            self._failure = "\n".join(self.store.violations)
        for _, *what in self.store.trace:
            if what[0] == "effect" and what[-1] == "done":
                kind, key = what[-3:-1]
                if kind in ("put", "delete"):
                    self.count(f"{kind} {key.split('/')[1]}")
        return Report(
            self.seed,
            self.profile.name,
            self._failure,
            self.store.trace,
            self.store.fingerprint(),
            self.counts,
        )

    def _pump(self, done):
        done.addErrback(self.failed, "in the course of things")
        for step in range(MOST_STEPS):
            if self._failure is not None or done.called:
                return
            if not self.clock.step():
                raise Wrong(f"nothing is going to happen any more;{self._unanswered()}")
            if not step % 16:
                self._check_patience()
        raise Wrong(f"{MOST_STEPS} events and no end;{self._unanswered()}")

    def _check_patience(self):
        waiting = self._waiting
        while waiting:
            key, (process, _, since) = next(iter(waiting.items()))
            if process.alive:
                if since + PATIENCE < self.clock.seconds():
                    raise Wrong(f"no answer within {PATIENCE} s;{self._unanswered()}")
                return
            del waiting[key]

    def _unanswered(self):
        lines = [
            f"  {process.name}, since {since:.3f}: {text}"
            for process, text, since in self._waiting.values()
            if process.alive
        ]
        return f" at {self.clock.seconds():.3f} s unanswered:\n" + "\n".join(lines)

    async def _live(self):
        """Create, then attach again and again, each time after another kind of end."""
        random, profile = self.random, self.profile
        if random.random() < 0.5:
            self.store.faults = profile.faults
        await self._create()
        self.store.faults = profile.faults
        session = None
        lives = random.randint(*profile.lives)
        for life in range(lives):
            session = await self.attaching.attach(session)
            if session is None:
                return
            operations = random.randint(*profile.operations)
            if profile.habits.fills and life == 0:
                filling = self.run_beside(session.fill())
                await self.answer(session.process, filling, "filling the disk")
            working = self.run_beside(session.work(operations))
            if profile.operator:
                operating = self.run_beside(Operator(self, session).work())
            else:
                operating = succeed(None)
            honest = not profile.rot and not profile.faults.wrong
            if self.subject.audits and honest and self.seed % 5 == 2:
                self.run_beside(self._inspection.keep_checking(session))
            if life < lives - 1:
                await self._end(session, working)
            else:
                await self.answer(session.process, working, "clients")
            if self.ended_early:
                return
            if profile.copies and not session.process.alive:
                self._copy(session)
        self.store.calm_down()
        self.note("calm")
        session.ending = True
        await self.answer(session.process, operating, "the operator")
        await self._settle(session)

    def _copy(self, session):
        """What a dead writer has left, elsewhere, may have a life of its own."""
        if self.random.random() < self.profile.copies:
            copy = Copy(self, session.branch, f"copy{self.next_number()}")
            copy.make()
            self.clones.append(copy)
            self.run_beside(copy.use())
            self.count("copied")

    async def _create(self):
        while True:
            process = self.process("creator")
            made = self.subject.create(process, PREFIX, self.size)
            result = await self.answer(process, made, "create")
            if not isinstance(result, Failure):
                process.kill()
                return
            result.trap(*REFUSALS)
            process.kill()
            # What it left may stand in the way; an operator would take another name.
            for key in [key for key in self.store.objects if key.startswith(PREFIX)]:
                del self.store.objects[key]

    def count_kill(self):
        """A process died as it was meant to."""
        self.counts["killed"] += 1

    async def _end(self, session, working):
        """A crash at some step, a take-over with the old one going on, or a clean close."""
        random, profile = self.random, self.profile
        how = random.choices(
            ("crash", "takeover", "close"), (profile.crash, profile.takeover, profile.close)
        )[0]
        self.note("end", session.process.name, how)
        process = session.process
        if how == "close":
            if random.random() < 0.5:
                await self.answer(process, working, "clients")
            await self.close(session)
        elif how == "takeover":
            await self.sleep(random.expovariate(1 / 2))
            if process.alive and random.random() < 0.6:
                process.client.cut_off(random.expovariate(1 / 20))
        else:
            if random.random() < 0.7:
                died = Deferred()
                process.when_killed(lambda: died.called or died.callback(None))
                process.kill_after(random.randint(1, 150), self.count_kill)
                await first_of(working, died)
                if process.alive and random.random() < 0.7:
                    await first_of(died, self.sleep(random.expovariate(1 / 5)))
            else:
                await self.sleep(random.expovariate(1 / 2))
            if process.alive:
                process.kill()
                self.count_kill()
        if profile.rot and random.random() < profile.rot:
            self.subject.rot(self.store, random, PREFIX)

    async def close(self, session):
        """A clean end of a session."""
        asked = self.moment()
        session.closing = True
        closed = maybeDeferred(session.volume.close)
        result = await self.answer(session.process, closed, "close")
        if isinstance(result, Failure):
            result.trap(StorageError)
            session.permit("close", result.value)
        elif result is not DEAD:
            session.branch.flush_done(asked)
            self.counts["closed"] += 1
            await self.answer(session.process, session.process.store.close(), "close the store")
            if calls := session.process.clock.getDelayedCalls():
                raise Wrong(f"closed, and yet something is to happen: {calls[0]}")
        session.process.kill()

    async def _settle(self, session):
        """The store works again: everything is answered, and all that was promised is there."""
        process = session.process
        await self.answer(process, self.run_beside(session.rest()), "all requests")
        if self.random.random() < 0.5:
            await self.close(session)
        session.process.kill()
        last = await self.attaching.attach(session)
        if last is None:
            return
        await Operator(self, last).check_everything()
        if self.audited and not self.store.rotten:
            await self._inspection.audit(last)
        else:
            await self.close(last)
        for end in self.attaching.retired:
            end()


async def first_of(*deferreds):
    """Until one of them fires; they are left as they are."""
    first = Deferred()

    def fired(result):
        if not first.called:
            first.callback(None)
        return result

    for deferred in deferreds:
        deferred.addBoth(fired)
    await first
