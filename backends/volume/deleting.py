"""Deleting what a checkpoint has made superfluous, behind the backs of those who wait for it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from backends.objects.contract import PAGE, IObjectStore, StoreError
from backends.volume.authority import Authority
from backends.volume.checkpoint import Deletable
from backends.volume.condition import Condition
from backends.volume.fetching import Fetcher
from backends.volume.lineage import Lineage
from backends.volume.stored_map import StoredMap
from backends.volume.turns import Turn
from gateway.errors import StorageError, Unavailable


class Deleter:
    """
    Deletes objects that the newest checkpoint does without.

    Nothing waits for it: what cannot be deleted now stays in the tables as
    free, and is tried again after the next checkpoint.

    Args:
        store, lineage, stored, authority, condition: of the volume.
        fetcher: knows what is being read, and must not be deleted now.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        stored: StoredMap,
        authority: Authority,
        condition: Condition,
        fetcher: Fetcher,
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._stored = stored
        self._authority = authority
        self._condition = condition
        self._fetcher = fetcher
        self._turn = Turn()
        self._is_busy = False

    def begin(self, deletable: Deletable) -> None:
        """Delete, unless the last deletion is not over yet."""
        if not self._is_busy:
            self._is_busy = True
            Deferred.fromCoroutine(self._delete(deletable)).addErrback(self._failed)

    async def over(self) -> None:
        """Wait for what has begun."""
        async with self._turn:
            pass

    async def _delete(self, deletable: Deletable) -> None:
        async with self._turn:
            try:
                await self._delete_now(deletable)
            finally:
                self._is_busy = False

    async def _delete_now(self, deletable: Deletable) -> None:
        stored = self._stored
        names = self._lineage.own.names
        objects = [
            number
            for number in deletable.objects
            if number in stored.objects and stored.source(number) not in self._fetcher.busy
        ]
        containers = [number for number in deletable.containers if number in stored.containers]
        keys = self._authority.outdated()
        keys += [self._lineage.key(stored.source(number)) for number in objects]
        for number in containers:
            entry = stored.containers[number]
            keys.append(names.ck(entry.epoch, entry.number))
        try:
            await self._authority.confirm()
            for start in range(0, len(keys), PAGE):
                await self._store.delete(keys[start : start + PAGE])
        except StoreError as failure:
            raise Unavailable(str(failure)) from None
        # A checkpoint that is being encoded must not see its tables change.
        async with stored.turn:
            for number in objects:
                stored.objects.drop(number)
            for number in containers:
                stored.containers.drop(number)

    def _failed(self, failure: Failure) -> None:
        if failure.check(StorageError):
            self._log.warn("objects are left for later: {why}", why=failure.getErrorMessage())
        else:
            self._log.failure("deleting failed", failure)
