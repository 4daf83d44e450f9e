"""
A deliberately simple volume, and ways to break it: proof that the simulation finds bugs.

It keeps the whole disk in memory. Each flush puts what changed as one object under the next
slot of a log; whoever attaches stops the writer before it with a fence in its next slot. Every
few slots the whole disk goes into one object, and log objects, never fences, are deleted.
"""

from __future__ import annotations

import pickle

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from backends.objects.contract import Exists, NotFound, StoreError
from gateway.errors import Closed, Fenced
from gateway.info import ExportInfo, Extent
from gateway.interfaces import IExport

SECTOR = 512
FENCE = ()

#: What can be switched on, and what it breaks.
BUGS = {
    "early_answer": "a flush is answered before the store has answered",
    "fua_is_nothing": "a durable write is answered like any other",
    "lost_trim": "trims are not in the log",
    "ignored_conflict": "a slot that another writer has counts as stored",
    "deleted_fences": "fences are deleted with the log objects around them",
    "unordered_parts": "what a flush stores is applied newest first when it is read back",
    "skipped_gap": "reading back goes on behind a missing slot",
    "torn_sector": "a write inside a sector is stored as the whole sector of some time ago",
    "forgotten_waiter": "a flush that meets another flush is never answered",
    "wrong_zero": "extents call the last written sector zero",
    "kept_buffer": "the caller's buffer is used after the answer",
    "slow_edge": "a write inside a sector lands a moment later, on top of newer ones",
}


class ToySubject:
    """
    How the simulation makes and opens such volumes.

    Args:
        bugs: names from `BUGS`.
    """

    audits = False
    features = frozenset()
    largest = 1 << 20

    def __init__(self, *bugs):
        self.bugs = frozenset(bugs)
        assert self.bugs <= set(BUGS)

    def create(self, process, prefix, size):
        return _Patient(process).put(f"{prefix}/ck/{0:08}", pickle.dumps((1, bytes(size))), True)

    def sacred(self, key, data):
        """Nothing is known of its objects."""
        return False

    def rot(self, store, random, prefix):
        """Nothing is damaged: there are no checksums."""

    def attach(self, process, prefix, journal=False, accept_loss=False):
        return Deferred.fromCoroutine(_attach(_Patient(process), prefix, self.bugs))


class _Patient:
    """A store that is asked again until it answers."""

    def __init__(self, process):
        self.clock = process.clock
        self.name = process.name
        self._client = process.client

    def put(self, key, data, if_absent):
        return Deferred.fromCoroutine(self._put(key, data, if_absent))

    async def _put(self, key, data, if_absent):
        try:
            await self._again("put", key, [data], if_absent)
        except Exists as taken:
            try:
                if await self.get(key) == data:
                    return
            except NotFound:
                pass
            raise taken

    async def get(self, key):
        return await self._again("get", key, 0, 1 << 30)

    async def keys(self, prefix):
        return [listed.key for listed in await self._again("list", prefix, "")]

    async def delete(self, keys):
        await self._again("delete", keys)

    async def _again(self, call, *args):
        while True:
            try:
                return await getattr(self._client, call)(*args)
            except (NotFound, Exists):
                raise
            except StoreError:
                pause = Deferred()
                self.clock.callLater(1.0, pause.callback, None)
                await pause


async def _attach(store, prefix, bugs):
    while True:
        newest = max(await store.keys(f"{prefix}/ck/"))
        slot, image = pickle.loads(await store.get(newest))
        disk = bytearray(image)
        stored = {}
        for key in await store.keys(f"{prefix}/log/"):
            try:
                stored[int(key[-8:])] = pickle.loads(await store.get(key))
            except NotFound:
                pass  # deleted just now: below the checkpoint
        last = max([slot - 1, *stored])
        while slot in stored or ("skipped_gap" in bugs and slot <= last):
            parts = stored.get(slot, ())
            for offset, data in reversed(parts) if "unordered_parts" in bugs else parts:
                disk[offset : offset + len(data)] = data
            slot += 1
        try:
            await store.put(f"{prefix}/log/{slot:08}", pickle.dumps(FENCE), True)
        except Exists:
            continue  # the other writer was faster; or another fence
        if max(await store.keys(f"{prefix}/ck/")) > f"{prefix}/ck/{slot:08}~":
            continue  # the fence stands where objects have been deleted meanwhile
        checkpoint = pickle.dumps((slot + 1, bytes(disk)))
        await store.put(f"{prefix}/ck/{slot + 1:08}-{store.name}", checkpoint, False)
        return ToyVolume(store, prefix, disk, slot + 1, bugs)


@implementer(IExport)
class ToyVolume:
    """The whole disk in memory, and the list of what is not in the store yet."""

    #: Slots after which the disk is stored whole.
    CHECKPOINT = 4

    def __init__(self, store, prefix, disk, slot, bugs):
        self.info = ExportInfo(size=len(disk))
        self.fenced = False
        self._store = store
        self._prefix = prefix
        self._disk = disk
        self._slot = slot
        self._bugs = bugs
        self._parts = []
        self._waiting = []
        self._storing = False
        self._closed = False
        self._last = 0
        self._since = slot

    def read_into(self, offset, buffer):
        self._check()
        buffer[:] = self._disk[offset : offset + len(buffer)]
        return True

    def read(self, offset, length):
        self._check()
        return bytes(self._disk[offset : offset + length])

    def write(self, offset, data, fua):
        self._check()
        if "slow_edge" in self._bugs and len(data) < SECTOR:
            done = Deferred()
            data = bytes(data)
            self._store.clock.callLater(
                0.01, lambda: maybeDeferred(self._change, offset, data, fua).chainDeferred(done)
            )
            return done
        if "torn_sector" in self._bugs and len(data) < SECTOR:
            start = offset // SECTOR * SECTOR
            self._parts.append((start, bytes(self._disk[start : start + SECTOR])))
            self._disk[offset : offset + len(data)] = data
            return self.flush() if fua else None
        return self._change(offset, data if "kept_buffer" in self._bugs else bytes(data), fua)

    def write_zeroes(self, offset, length, may_trim, fua, fast):
        self._check()
        return self._change(offset, bytes(length), fua)

    def trim(self, offset, length, fua):
        self._check()
        if "lost_trim" in self._bugs:
            self._disk[offset : offset + length] = bytes(length)
            return self.flush() if fua else None
        return self._change(offset, bytes(length), fua)

    def flush(self):
        self._check()
        if not self._parts and not self._storing:
            return None
        if self._storing and "forgotten_waiter" in self._bugs:
            return Deferred()
        answer = Deferred()
        self._waiting.append(answer)
        if not self._storing:
            self._begin()
        if "early_answer" in self._bugs:
            answer.addErrback(lambda failure: None)
            return None
        return answer

    def extents(self, offset, length, first_only):
        self._check()
        end = offset + length
        if "wrong_zero" in self._bugs and offset <= self._last < end:
            return [Extent(length, True, True)]
        zero = not any(self._disk[offset:end])
        return [Extent(length, zero, zero)]

    def cache(self, offset, length):
        self._check()

    def close(self):
        if self._closed:
            return None
        done = maybeDeferred(self.flush)
        self._closed = True
        return done

    def _check(self):
        if self._closed:
            raise Closed("closed")
        if self.fenced:
            raise Fenced("taken over")

    def _change(self, offset, data, fua):
        self._disk[offset : offset + len(data)] = data
        self._parts.append((offset, data))
        self._last = offset
        if not fua or "fua_is_nothing" in self._bugs:
            return None
        return self.flush()

    def _begin(self):
        self._storing = True
        parts, self._parts = self._parts, []
        waiting, self._waiting = self._waiting, []
        storing = Deferred.fromCoroutine(self._put([(at, bytes(data)) for at, data in parts]))
        storing.addCallbacks(self._stored, self._failed, (waiting,), None, (waiting,))

    async def _put(self, parts):
        key = f"{self._prefix}/log/{self._slot:08}"
        try:
            await self._store.put(key, pickle.dumps(parts), True)
        except Exists:
            if "ignored_conflict" not in self._bugs:
                raise Fenced("taken over") from None
        self._slot += 1
        if self._slot - self._since >= self.CHECKPOINT:
            await self._checkpoint()

    async def _checkpoint(self):
        """Only what is stored: the disk also holds what is not."""
        prefix, slot = self._prefix, self._slot
        newest = max(await self._store.keys(f"{prefix}/ck/"))
        at, image = pickle.loads(await self._store.get(newest))
        disk = bytearray(image)
        old = []
        for n in range(at, slot):
            key = f"{prefix}/log/{n:08}"
            try:
                parts = pickle.loads(await self._store.get(key))
            except NotFound:
                raise Fenced("taken over long ago") from None
            if parts != FENCE:
                old.append(key)
            for offset, data in parts:
                disk[offset : offset + len(data)] = data
        if "deleted_fences" in self._bugs:
            old = [
                key for key in await self._store.keys(f"{prefix}/log/") if key[-8:] < f"{slot:08}"
            ]
        checkpoint = pickle.dumps((slot, bytes(disk)))
        await self._store.put(f"{prefix}/ck/{slot:08}-{self._store.name}", checkpoint, False)
        await self._store.delete(old)
        self._since = slot

    def _stored(self, _, waiting):
        self._storing = False
        if self._parts or self._waiting:
            self._begin()
        for answer in waiting:
            answer.callback(None)

    def _failed(self, failure, waiting):
        self._storing = False
        self.fenced = True
        waiting += self._waiting
        self._waiting = []
        for answer in waiting:
            answer.errback(failure)
