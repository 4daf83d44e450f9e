"""A host for volumes without a reactor: a store in memory, virtual time, calls for threads."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from backends.objects.memory import MemoryStore
from backends.volume.attaching import Caches, attach
from backends.volume.creating import create
from backends.volume.environment import Environment, Options
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.keys import KeySource
from backends.volume.processes import Process
from gateway.info import MIB


class VolumeHost:
    """
    Makes volumes and lets time pass for them.

    Args:
        store: where objects go; a new one in memory if None.
        options: for attaching.
        codec: of new volumes.
        key: 32 bytes that open new volumes; None for no encryption.
        seed: of everything random.
    """

    def __init__(self, store=None, options=None, codec="none", key=None, seed=0, cache=8 * MIB):
        self.clock = Clock()
        self.store = MemoryStore() if store is None else store
        self.options = options or Options()
        self.cache = cache
        self._codec = codec
        self._source = None if key is None else KeySource.from_key_file(key)
        self._random = random.Random(seed)
        self._made = 0
        self.environment = self.named("host-1")

    def named(self, host):
        """The environment of one machine."""
        return Environment(
            clock=self.clock,
            random=self._random,
            secret_bytes=self._random.randbytes,
            wall=lambda: 1_700_000_000 + self.clock.seconds(),
            call_in_thread=maybeDeferred,
            process=Process(host),
        )

    def new(self, size):
        """A fresh volume, attached."""
        self._made += 1
        self.settle(
            create(
                self.store,
                f"volume-{self._made}",
                size,
                self.environment,
                codec=self._codec,
                source=self._source,
            )
        )
        return self.again()

    def again(self, **changes):
        """Attach the newest volume once more; a writer that has it is taken over."""
        return self.settle(self.attaching(**changes))

    def attaching(self, prefix=None, **changes):
        """The coroutine of `again`."""
        return attach(
            self.store,
            prefix or f"volume-{self._made}",
            self.environment,
            self.options,
            Caches(memory=FrameCache(FrameMemory(self.cache))),
            source=self._source,
            **changes,
        )

    def go_on(self):
        """Let a little time pass."""
        self.clock.advance(0.01)

    def settle(self, result, patience=100_000):
        """The answer, also if it comes later; failures are raised."""
        if hasattr(result, "send"):
            result = Deferred.fromCoroutine(result)
        if not isinstance(result, Deferred):
            return result
        answers = []
        result.addBoth(answers.append)
        for _ in range(patience):
            if answers:
                break
            self.go_on()
        assert answers, "no answer"
        (answer,) = answers
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer
