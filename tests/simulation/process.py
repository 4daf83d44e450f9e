"""A process that can be killed between any two steps."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from backends.volume import processes
from backends.volume.environment import Environment
from tests.simulation.host import Died
from tests.simulation.virtual_time import MortalTime

#: Seconds since 1970 when a simulation starts.
_BEGINNING = 1_700_000_000.0


class Process:
    """
    What one process has of the world: its clock, its randomness, its way to the store.

    Args:
        store: the `SimulatedStore`.
        name: in the trace.
        seed: any text; the same text gives the same randomness.
        host: the `Host` that it runs on; None if it needs no disk.

    Attributes:
        journals: `Journal` objects that it opened.
        client: its `Client` of the store, without retries.
        store: what it uses: the client with retries, if the subject wants them.
        environment: for a volume.
        alive: until `kill`.
        in_thread: what is called now was called by `call_in_thread`.
        kernel: randomness of its system calls.
    """

    def __init__(self, store, name, seed, host=None):
        self.name = name
        self.alive = True
        self.in_thread = False
        self.host = host
        self.journals = []
        self.clock = MortalTime(store.clock)
        self.client = self.store = store.client(name)
        self.random = Random(f"{seed} process {name}")
        self.kernel = Random(f"{seed} kernel {name}")
        self._watchers = []
        self._kept = []  # see `MortalTime`
        self._threads = Random(f"{seed} threads {name}")
        self._store = store
        self.environment = Environment(
            clock=self.clock,
            random=self.random,
            secret_bytes=Random(f"{seed} secrets {name}").randbytes,
            wall=lambda: _BEGINNING + store.clock.seconds(),
            call_in_thread=self.call_in_thread,
            process=processes.Process(name if host is None else host.name),
        )

    def call_in_thread(self, function, *args, **kw):
        """Runs it a moment later, and answers another moment later."""
        answer = Deferred()

        def run():
            self.in_thread = True
            try:
                result = function(*args, **kw)
            except Died:
                return
            except Exception:
                result = Failure()
            finally:
                self.in_thread = False
            later(answer.callback, result)

        def later(call, *args):
            self._store.clock.callLater(self._threads.uniform(0, 0.002), guarded, call, args)

        def guarded(call, args):
            if self.alive:
                call(*args)
            else:
                self._kept.append((call, args))

        later(run)
        return answer

    def kill(self):
        """As by a power cut."""
        if self.alive:
            self.alive = False
            self._store.note("killed", self.name)
            self.clock.kill()
            self.client.kill()
            for watcher in self._watchers:
                watcher()

    def when_killed(self, watcher):
        """Call it when that happens."""
        self._watchers.append(watcher)

    def kill_after(self, steps, then):
        """
        Kill it ahead of the given number of effects and answers from now on, and tell.
        """
        left = [steps]

        def before_step():
            left[0] -= 1
            if left[0] <= 0:
                self.client.before_step = lambda: None
                self.kill()
                then()

        self.client.before_step = before_step
