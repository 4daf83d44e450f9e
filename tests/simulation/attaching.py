"""How one gateway after the other gets at the volume of a run, and what it finds there."""

from __future__ import annotations

from random import Random

from twisted.python.failure import Failure

from backends.objects.contract import StoreError
from gateway.errors import ExportUnavailable, StorageError
from tests.simulation.host import Host
from tests.simulation.model import Branch, Wrong, is_zero
from tests.simulation.session import Session

#: The volume's place in the store.
PREFIX = "disk"

#: What stands for the answer of a process that died.
DEAD = object()

#: How an attachment may be refused.
REFUSALS = (StorageError, StoreError, ExportUnavailable)


class Attaching:
    """
    Args:
        run: a `Simulation`.

    Attributes:
        hosts: where gateways start.
        at_rest: whether nothing goes wrong on hosts any more.
        retired: ends, to be called, of gateways that were taken over and went on.
    """

    def __init__(self, run):
        self._run = run
        self.hosts = [
            Host(f"host{number + 1}", Random(f"{run.seed} host {number}"))
            for number in range(max(1, run.profile.hosts))
        ]
        self.at_rest = False
        self.retired = []
        self._left = None  # with a journal: where the newest session was, (host, generation)
        self._tried = set()  # where attaching was tried since; None for without a journal

    async def attach(self, previous):
        """
        Attach, and compare with what the writer before left.

        Returns:
            A `Session`; None if the store is so rotten that this ends the run.
        """
        random, profile = self._run.random, self._run.profile
        owes = False
        for attempt in range(60):
            host, journal, accept_loss = self._choose_host(previous, owes, attempt)
            process = self._run.process("gateway", host)
            if not self.at_rest and random.random() < profile.attach_crash:
                process.kill_after(random.randint(1, 40), self._run.count_kill)
            if previous is not None:
                previous.superseded = True
                previous.loss = previous.loss or (accept_loss and self._elsewhere)
            if attempt > 40:
                self._run.store.calm_down()
            attached = self._run.subject.attach(process, PREFIX, journal, accept_loss)
            volume = await self._run.answer(process, attached, "attach")
            if volume is DEAD:
                continue
            if isinstance(volume, Failure):
                self._run.counts["refused"] += 1
                volume.trap(*REFUSALS)
                self._run.note("refused", process.name, type(volume.value).__name__)
                process.kill()
                if profile.rot and self._run.store.rotten:
                    return self._run.end_early()
                if owed := "accept_loss" in str(volume.value):
                    self._run.count("refused without its journal")
                    owes = True
                owed = owed and self._elsewhere and not accept_loss
                owed = owed or bool(profile.faults.wrong)  # whoever asks again gets in
                if not profile.errors and not profile.rot and not owed:
                    raise Wrong(f"attach: {type(volume.value).__name__}: {volume.value}")
                await self._run.sleep(random.expovariate(1 / 30))
                continue
            found = await self._find(process, volume, previous)
            if found is None and self._run.ended_early:
                return None
            if found is None:
                process.kill()
                continue
            process.client.before_step = lambda: None
            self._run.counts["attached"] += 1
            branch = Branch(self._run.zones, found, self._run.moment)
            branch.journaled = journal
            if journal and previous is not None and not previous.loss:
                branch.before = previous.branch
            session = Session(self._run, process, volume, branch)
            self._left = (host, host.generation) if journal else None
            self._tried = {self._left}
            if previous is not None:
                previous.left_size = volume.info.size
            if previous is not None and previous.process.alive:
                self._run.counts["takeovers"] += 1
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
        random, hosts = self._run.random, self.hosts
        if not self._run.profile.hosts:
            return hosts[0], False, False
        host, journal = random.choice(hosts), random.random() < 0.85
        if self._left is not None and (attempt > 10 or random.random() < 0.6):
            host, journal = self._left[0], True
        if previous is not None and previous.process.alive:
            # Where it runs, its journal is locked; elsewhere nobody knows.
            host = next(one for one in hosts if one is not previous.process.host)
        for process in host.processes:
            process.kill()
        if previous is not None and not self.at_rest:
            crash = random.random()
            if crash < 0.3:
                self._run.note("power", host.name)
                host.lose_power()
                self._run.count("power lost")
            elif crash < 0.36 and not owes:
                self._run.note("disk", host.name)
                host.lose_disk()
                self._run.count("disk lost")
        self._tried.add((host, host.generation) if journal else None)
        accept_loss = random.random() < (0.5 if owes else 0.1)
        if accept_loss and self._elsewhere:
            self._run.count("loss accepted")
        return host, journal, accept_loss

    async def _find(self, process, volume, previous):
        """What a new writer sees; None if it does not live to see all of it."""
        sizes = {self._run.size} if previous is None else previous.sizes
        if volume.info.size not in sizes:
            raise Wrong(f"the disk has {volume.info.size} bytes, expected {sorted(sizes)}")
        profile = self._run.profile
        read = await self._run.read_all(process, volume)
        if read is DEAD:
            return None
        observed, unknown = read
        if unknown and not profile.rot and not profile.errors:
            raise Wrong(f"after attaching: {unknown[0][2]}")
        if unknown and not profile.rot:
            return None
        if "snapshot" in self._run.subject.features:
            self._run.snapshots.found(self._run.subject.snapshot_names(volume))
        if previous is not None:
            ranges = [(start, end) for start, end, _ in unknown]
            self.compare(previous, observed, ranges)
        elif not is_zero(observed):
            raise Wrong("a fresh disk is not zero")
        if unknown:
            return self._run.end_early()
        return bytes(observed)

    def compare(self, session, observed, unknown=()):
        """What is there now is a prefix of what was done there."""
        if session.loss:
            session.branch.check_loss(observed, unknown)
            return
        kept = session.branch.journaled and session.outages == session.process.host.outages
        session.branch.check_crash(observed, unknown, kept=kept)
        if kept:
            self._run.count("kept by a journal")

    def _retire(self, session, observed):
        """One that was taken over goes on for a while; whatever it promises must be true."""

        def end():
            if self._run.is_over:
                return
            try:
                session.process.kill()
                self.compare(session, observed)
            except Wrong:
                self._run.failed(Failure())

        self.retired.append(end)
        self._run.clock.callLater(self._run.random.expovariate(1 / 60), end)
