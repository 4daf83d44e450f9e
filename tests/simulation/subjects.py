"""What the simulation runs: the volume, or a toy that is broken on purpose."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred

from backends.objects.retrying import RetryingStore
from backends.volume import attaching, cloning, creating
from backends.volume.disk_cache import LEAST
from backends.volume.environment import Options
from backends.volume.frame_cache import FrameCache, FrameMemory
from backends.volume.inspection.checking import check
from backends.volume.inspection.rebuilding import rebuild
from backends.volume.inspection.view import Inspected
from backends.volume.journal_opening import with_journal
from backends.volume.keys import KeySource
from backends.volume.names import Names
from backends.volume.shared_caches import SharedMemory
from backends.volume.superblocks import newest
from gateway.info import KIB, MIB
from tests.simulation.format import FENCE
from tests.simulation.host import HostCalls
from tests.simulation.toy import ToySubject

#: Ways to damage an object so that nobody can take it for one that was never there.
_DAMAGE = ("flip", "flip", "truncate")

#: Bytes of memory for frames where objects are large: none, too little for one, for some, for all.
_LIMITS = (0, 300 * KIB, MIB, 4 * MIB, 64 * MIB)


def subject_named(name, seed, large=False):
    """
    Args:
        name: ``volume``, ``toy``, or ``toy:`` and names of bugs.
        large: see `VolumeSubject`.
    """
    kind, _, bugs = name.partition(":")
    if kind == "volume":
        return VolumeSubject(seed, large)
    if kind == "toy":
        return ToySubject(*filter(None, bugs.split(",")))
    raise ValueError(f"got {name!r}, expected volume or toy")


class VolumeSubject:
    """
    How the simulation makes and opens volumes.

    Args:
        seed: draws sizes so small that everything happens often, and a codec.
        large: objects have some dozen frames, and all attachments share memory for them, as
            those of one gateway do; of different size each.
    """

    audits = True
    largest = 1 << 60
    features = frozenset(
        {
            "snapshot", "delete_snapshot", "read_snapshot", "rollback", "changed", "clone",
            "grow", "collect", "sweep", "checkpoint",
        }
    )  # fmt: skip

    def __init__(self, seed, large=False):
        random = Random(f"{seed} options")
        object_bytes = random.choice((512, 2048, 4096) if large else (16, 16, 32, 64)) * KIB
        self._options = Options(
            object_bytes=object_bytes,
            upload_delay=random.choice((0.05, 0.5, 2.0)),
            dirty_limit=object_bytes * random.choice((2, 4, 16)),
            flush_deadline=random.choice((120.0, 300.0)),
            checkpoint_objects=random.randint(2, 8),
            checkpoint_delay=random.choice((0.3, 5.0, 60.0)),
            map_memory=random.choice((1, 4 * KIB, 64 * KIB)),
            collect=random.random() < 0.7,
            live_low=random.choice((0.5, 0.75, 0.9)),
            live_high=0.95,
            sweep_delay=random.choice((0.0, 3.0, 60.0)),
        )
        self._codec = random.choice(("none", "none", "none", "zstd", "lz4"))
        self._cache = random.choice((0, 16 * KIB, 256 * KIB))
        self._shared = SharedMemory() if large else None
        self._limits = Random(f"{seed} limits of memory")
        #: What the key file holds; None without encryption.
        self.secret = random.randbytes(32) if random.random() < 0.25 else None
        self._source = self.secret and KeySource.from_key_file(self.secret)
        self._disk_cache = random.random() < 0.3
        self._journal_bytes = random.choice((80, 96, 128, 512)) * KIB

    def create(self, process, prefix, size):
        return Deferred.fromCoroutine(
            creating.create(
                _persistent(process),
                prefix,
                size,
                process.environment,
                codec=self._codec,
                source=self._source,
            )
        )

    def attach(self, process, prefix, journal=False, accept_loss=False):
        """
        Args:
            journal: ``durability = journal``, on the process's host.
            accept_loss: as in the settings.
        """
        return Deferred.fromCoroutine(self._attach(process, prefix, journal, accept_loss))

    async def _attach(self, process, prefix, journal, accept_loss):
        store = _persistent(process)
        caches = attaching.Caches(memory=self._memory(process))
        if self._disk_cache and process.host is not None:
            disk = await process.call_in_thread(process.host.cache, process, LEAST)
            caches = attaching.Caches(memory=caches.memory, disk=disk)

        async def attach(journal=None):
            if journal is not None:
                process.journals.append(journal)
            return await attaching.attach(
                store,
                prefix,
                process.environment,
                self._options,
                caches,
                source=self._source,
                journal=journal,
                accept_loss=accept_loss,
            )

        if not journal:
            return await attach()
        found = await newest(store, Names(prefix))
        return await with_journal(
            process.host.journals,
            self._journal_bytes,
            found.superblock.volume,
            process.environment,
            attach,
            HostCalls(process.host, process),
        )

    def _memory(self, process):
        if self._shared is None:
            return FrameCache(FrameMemory(self._cache))
        cache = self._shared.borrow(self._limits.choice(_LIMITS))
        process.when_killed(lambda: self._shared.give_back(cache))
        return cache

    def clone(self, process, parent, snapshot, prefix):
        return Deferred.fromCoroutine(
            cloning.clone(
                _persistent(process),
                parent,
                snapshot,
                prefix,
                process.environment,
                source=self._source,
            )
        )

    def check(self, process, prefix):
        """A `gateway.maintenance.Verdict`."""
        inspected = Inspected(_persistent(process), prefix, process.environment, self._source)
        return Deferred.fromCoroutine(check(inspected, lambda *_: None))

    def rebuild(self, process, prefix):
        """The same."""
        inspected = Inspected(_persistent(process), prefix, process.environment, self._source)
        return Deferred.fromCoroutine(rebuild(inspected, lambda _: None, lambda *_: None))

    def snapshot_names(self, volume):
        return [snapshot.name for snapshot in volume.snapshots.all()]

    def snapshot(self, volume, name):
        return Deferred.fromCoroutine(volume.snapshots.take(name))

    def delete_snapshot(self, volume, name):
        return Deferred.fromCoroutine(volume.snapshots.delete(name))

    def open_snapshot(self, volume, name):
        return volume.derived(name)

    def rollback(self, volume, name):
        return Deferred.fromCoroutine(volume.snapshots.roll_back(name))

    def grow(self, volume, size):
        return Deferred.fromCoroutine(volume.grow(size))

    def collect(self, volume):
        return volume.collect()

    def sweep(self, volume):
        return volume.sweep()

    def checkpoint(self, volume):
        return Deferred.fromCoroutine(volume.checkpoint())

    @property
    def live_share(self):
        """Below it, the collector works."""
        return self._options.live_low

    def sacred(self, key, data):
        """Fences stay."""
        return "/log/" in key and data[10:11] == bytes([FENCE])

    def rot(self, store, random, prefix):
        """Damage an object or two."""
        keys = sorted(key for key in store.objects if key.startswith(prefix))
        for _ in range(random.choice((1, 1, 2, 5))):
            key = random.choice(keys)
            how = random.choice(_DAMAGE)
            if "/sb/" not in key and "/log/" not in key and random.random() < 0.3:
                how = "vanish"  # a log that ends early, or an older superblock, is a lawful state
            if key in store.objects:
                store.rot(key, how)


def _persistent(process):
    process.store = RetryingStore(
        process.client,
        process.clock,
        process.random,
        deadline=60.0,
        first_delay=0.05,
        longest_delay=5.0,
    )
    return process.store
