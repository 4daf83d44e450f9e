"""One run: a volume's whole life under virtual time, decided by a seed."""

from __future__ import annotations

import traceback
from random import Random

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from backends.objects.contract import StoreError
from gateway.errors import ExportUnavailable, StorageError
from gateway.info import KIB
from tests.simulation import audit
from tests.simulation.host import Host
from tests.simulation.model import Branch, Wrong, Zones, is_zero
from tests.simulation.offspring import Copy
from tests.simulation.operator import Operator
from tests.simulation.process import Process
from tests.simulation.session import Session
from tests.simulation.snapshots import Snapshots
from tests.simulation.store import SimulatedStore
from tests.simulation.virtual_time import VirtualTime

#: Virtual seconds after which what is unanswered counts as never answered.
PATIENCE = 7200.0

#: Virtual seconds after which what was still on its way has come.
CALM_DOWN = 1000.0

#: Events after which a run counts as one that goes round in circles.
MOST_STEPS = 2_000_000

#: The volume's place in the store.
PREFIX = "disk"

#: What stands for the answer of a process that died.
DEAD = object()

#: How an attachment may be refused.
REFUSALS = (StorageError, StoreError, ExportUnavailable)


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
        self._at_rest = False
        self._hosts = [
            Host(f"host{number + 1}", Random(f"{seed} host {number}"))
            for number in range(max(1, profile.hosts))
        ]
        self._left = None  # with a journal: where the newest session was, (host, generation)
        self._tried = set()  # where attaching was tried since; None for without a journal
        self._old = []

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
            for host in self._hosts:
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
            session = await self._attach(session)
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
                self.run_beside(self._keep_checking(session))
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

    async def _attach(self, previous):
        """
        Attach, and compare with what the writer before left.

        Returns:
            A `Session`; None if the store is so rotten that this ends the run.
        """
        random = self.random
        owes = False
        for attempt in range(60):
            host, journal, accept_loss = self._choose_host(previous, owes, attempt)
            process = self.process("gateway", host)
            if not self._at_rest and random.random() < self.profile.attach_crash:
                process.kill_after(random.randint(1, 40), self._count_kill)
            if previous is not None:
                previous.superseded = True
                previous.loss = previous.loss or (accept_loss and self._elsewhere)
            if attempt > 40:
                self.store.calm_down()
            attached = self.subject.attach(process, PREFIX, journal, accept_loss)
            volume = await self.answer(process, attached, "attach")
            if volume is DEAD:
                continue
            if isinstance(volume, Failure):
                self.counts["refused"] += 1
                volume.trap(*REFUSALS)
                self.note("refused", process.name, type(volume.value).__name__)
                process.kill()
                if self.profile.rot and self.store.rotten:
                    return self._end_early()
                if owed := "accept_loss" in str(volume.value):
                    self.count("refused without its journal")
                    owes = True
                owed = owed and self._elsewhere and not accept_loss
                owed = owed or bool(self.profile.faults.wrong)  # whoever asks again gets in
                if not self.profile.errors and not self.profile.rot and not owed:
                    raise Wrong(f"attach: {type(volume.value).__name__}: {volume.value}")
                await self.sleep(random.expovariate(1 / 30))
                continue
            found = await self._find(process, volume, previous)
            if found is None and self.ended_early:
                return None
            if found is None:
                process.kill()
                continue
            process.client.before_step = lambda: None
            self.counts["attached"] += 1
            branch = Branch(self.zones, found, self.moment)
            branch.journaled = journal
            if journal and previous is not None and not previous.loss:
                branch.before = previous.branch
            session = Session(self, process, volume, branch)
            self._left = (host, host.generation) if journal else None
            self._tried = {self._left}
            if previous is not None:
                previous.left_size = volume.info.size
            if previous is not None and previous.process.alive:
                self.counts["takeovers"] += 1
                self._retire(previous, found)
            return session
        raise Wrong("attaching fails again and again")

    @property
    def _elsewhere(self):
        """Whether some journal may have what another attachment does without."""
        return len(self._tried) > 1

    def _choose_host(self, previous, owes, attempt):
        """
        Where the next gateway starts; there may be a crash there before.

        Returns:
            Host, whether it has a journal, and whether it goes on without what another has.
        """
        random, hosts = self.random, self._hosts
        if not self.profile.hosts:
            return hosts[0], False, False
        host, journal = random.choice(hosts), random.random() < 0.85
        if self._left is not None and (attempt > 10 or random.random() < 0.6):
            host, journal = self._left[0], True
        if previous is not None and previous.process.alive:
            # Where it runs, its journal is locked; elsewhere nobody knows.
            host = next(one for one in hosts if one is not previous.process.host)
        for process in host.processes:
            process.kill()
        if previous is not None and not self._at_rest:
            crash = random.random()
            if crash < 0.3:
                self.note("power", host.name)
                host.lose_power()
                self.count("power lost")
            elif crash < 0.36 and not owes:
                self.note("disk", host.name)
                host.lose_disk()
                self.count("disk lost")
        self._tried.add((host, host.generation) if journal else None)
        accept_loss = random.random() < (0.5 if owes else 0.1)
        if accept_loss and self._elsewhere:
            self.count("loss accepted")
        return host, journal, accept_loss

    async def _find(self, process, volume, previous):
        """What a new writer sees; None if it does not live to see all of it."""
        sizes = {self.size} if previous is None else previous.sizes
        if volume.info.size not in sizes:
            raise Wrong(f"the disk has {volume.info.size} bytes, expected {sorted(sizes)}")
        read = await self.read_all(process, volume)
        if read is DEAD:
            return None
        observed, unknown = read
        if unknown and not self.profile.rot and not self.profile.errors:
            raise Wrong(f"after attaching: {unknown[0][2]}")
        if unknown and not self.profile.rot:
            return None
        if "snapshot" in self.subject.features:
            self.snapshots.found(self.subject.snapshot_names(volume))
        if previous is not None:
            ranges = [(start, end) for start, end, _ in unknown]
            self._compare(previous, observed, ranges)
        elif not is_zero(observed):
            raise Wrong("a fresh disk is not zero")
        if unknown:
            return self._end_early()
        return bytes(observed)

    def _compare(self, session, observed, unknown=()):
        """What is there now is a prefix of what was done there."""
        if session.loss:
            session.branch.check_loss(observed, unknown)
            return
        kept = session.branch.journaled and session.outages == session.process.host.outages
        session.branch.check_crash(observed, unknown, kept=kept)
        if kept:
            self.count("kept by a journal")

    def _end_early(self):
        self.ended_early = True

    def _retire(self, session, observed):
        """One that was taken over goes on for a while; whatever it promises must be true."""

        def end():
            if self._failure is not None:
                return
            try:
                session.process.kill()
                self._compare(session, observed)
            except Wrong:
                self.failed(Failure())

        self._old.append(end)
        self.clock.callLater(self.random.expovariate(1 / 60), end)

    def _count_kill(self):
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
            await self._close(session)
        elif how == "takeover":
            await self.sleep(random.expovariate(1 / 2))
            if process.alive and random.random() < 0.6:
                process.client.cut_off(random.expovariate(1 / 20))
        else:
            if random.random() < 0.7:
                died = Deferred()
                process.when_killed(lambda: died.called or died.callback(None))
                process.kill_after(random.randint(1, 150), self._count_kill)
                await first_of(working, died)
                if process.alive and random.random() < 0.7:
                    await first_of(died, self.sleep(random.expovariate(1 / 5)))
            else:
                await self.sleep(random.expovariate(1 / 2))
            if process.alive:
                process.kill()
                self._count_kill()
        if profile.rot and random.random() < profile.rot:
            self.subject.rot(self.store, random, PREFIX)

    async def _close(self, session):
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
            await self._close(session)
        session.process.kill()
        last = await self._attach(session)
        if last is None:
            return
        await Operator(self, last).check_everything()
        if self.audited and not self.store.rotten:
            await self._audit(last)
        else:
            await self._close(last)
        for end in self._old:
            end()

    async def _audit(self, session):
        """Nothing is under way any more: is everything in its place, and nothing else?"""
        await self._close(session)
        self._at_rest = True
        await self.sleep(CALM_DOWN)
        free = set()
        for _ in range(2):
            session = await self._attach(session)
            subject, volume = self.subject, session.volume
            session.write(self.zones.zones[0][0], 512, True)  # or a checkpoint has nothing to do
            await session.rest()
            await self._demand(session, "checkpoint", subject.checkpoint(volume))
            for _ in range(100):
                collected = await self._demand(session, "collect", subject.collect(volume))
                await self.sleep(60)  # for the collector's own rounds
                if not collected:
                    break
            else:
                raise Wrong("collecting does not end")
            await self._demand(session, "sweep", subject.sweep(volume))
            observed, _ = await self.read_all(session.process, volume)
            await self._close(session)
            objects = {key: stored.data for key, stored in self.store.objects.items()}
            if free & set(objects):
                raise Wrong(f"not deleted, and it was free: {sorted(free & set(objects))}")
            free = audit.check_objects(objects, PREFIX, subject.secret)
        share = audit.live_share(objects, PREFIX, subject.secret)
        if share < subject.live_share:
            raise Wrong(f"collecting has ended, and {share:.3f} of the objects' sectors are live")
        audit.check_rebuilt(objects, PREFIX, subject.secret, self.zones, observed)
        await self._check(False)
        if self.seed % 3 == 0:
            await self._rebuild(session, observed)
        self.count("audited")

    async def _rebuild(self, session, observed):
        """Lose every checkpoint; the disk and its snapshots are as they were."""
        for key in [key for key in self.store.objects if key.startswith(f"{PREFIX}/ck/")]:
            del self.store.objects[key]
        process = self.process("rebuilder")
        verdict = await self.answer(process, self.subject.rebuild(process, PREFIX), "rebuild")
        if isinstance(verdict, Failure):
            verdict.raiseException()
        if wrong := [one for one in verdict.findings if one.severity.value not in ("note", "leak")]:
            raise Wrong(f"after a rebuild, the check says: {wrong}")
        last = await self._attach(session)
        again, unknown = await self.read_all(last.process, last.volume)
        if again != observed or unknown:
            raise Wrong(f"after a rebuild the disk is another; {unknown}")
        self.clones.clear()  # their maps were in those checkpoints
        await Operator(self, last).check_everything()
        await self._demand(last, "sweep", self.subject.sweep(last.volume))
        await self._close(last)
        await self._check(False)
        self.count("rebuilt")

    async def _keep_checking(self, session):
        """The check, now and then, beside one that writes."""
        random = Random(f"{self.seed} checks")
        while True:
            await self.sleep(random.expovariate(1 / 5))
            if not session.alive or session.ending:
                return
            await self._check(True)

    async def _check(self, is_moving):
        """
        The volume's own check has nothing to complain of.

        Args:
            is_moving: somebody writes meanwhile; then what crashes left may be there.
        """
        process = self.process("checker")
        verdict = await self.answer(process, self.subject.check(process, PREFIX), "check")
        if isinstance(verdict, Failure):
            verdict.trap(*REFUSALS)
            if not is_moving:
                verdict.raiseException()
            return
        allowed = {"note", "leak"} if is_moving else {"note"}
        if wrong := [one for one in verdict.findings if one.severity.value not in allowed]:
            raise Wrong("the check says: " + "; ".join(f"{one.severity}: {one}" for one in wrong))
        self.count("checked beside a writer" if is_moving else "checked")

    async def _demand(self, session, text, coming):
        """The answer; any failure ends the run."""
        if not isinstance(coming, Deferred):
            coming = Deferred.fromCoroutine(coming)
        answer = await self.answer(session.process, coming, text)
        if isinstance(answer, Failure):
            answer.raiseException()
        return answer


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
