"""
The chain of superblocks: what the volume is, and whether it is still ours.

Whoever puts the next generation is the writer. A writer that finds its next
generation taken has been taken over, whatever it believed.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.task import deferLater
from twisted.logger import Logger

from backends.objects.contract import Exists, IObjectStore, StoreError
from backends.volume.condition import Condition
from backends.volume.environment import Environment
from backends.volume.keys import Crypt
from backends.volume.names import Names
from backends.volume.superblock import Superblock
from backends.volume.superblock_json import encode
from backends.volume.superblocks import is_highest
from backends.volume.turns import Turn
from gateway.errors import Fenced, Unavailable

#: Seconds before a request that the store refused for now is made again.
_AGAIN = 1.0

_TAKEN = "another gateway has taken the volume over"

#: Generations that stay: ours, and one for whoever is reading it right now.
_KEPT = 2


class Authority:
    """
    The newest superblock, as long as it is ours.

    Args:
        store, names, crypt, environment: of the volume.
        superblock: the one that this writer put last.
        condition: told when another writer has taken over.

    Attributes:
        superblock: the newest.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        names: Names,
        crypt: Crypt | None,
        superblock: Superblock,
        condition: Condition,
        environment: Environment,
    ) -> None:
        self._store = store
        self._names = names
        self._crypt = crypt
        self._condition = condition
        self._environment = environment
        self._turn = Turn()
        self.superblock = superblock

    async def advance(self, **changes: Any) -> None:
        """
        Put the next generation: this one with ``changes`` made to its fields.

        Tried until it is stored: whether an attempt took effect is unknown,
        and nothing else may follow before it is known.

        Raises:
            Fenced: another writer has it.
            StorageError: the volume failed meanwhile.
        """
        async with self._turn:
            following = attrs.evolve(
                self.superblock,
                generation=self.superblock.generation + 1,
                written_ms=int(self._environment.wall() * 1000),
                **changes,
            )
            key = self._names.sb(following.generation)
            body = encode(following, self._crypt)
            said = ""
            while True:
                self._condition.check()
                try:
                    await self._store.put(key, [body], True)
                    await self._check_highest(following.generation)
                except Exists:
                    self._condition.fail(Fenced(f"{key} exists: {_TAKEN}"))
                except StoreError as failure:
                    if str(failure) != said:
                        said = str(failure)
                        self._log.error("cannot store {key}, trying on: {why}", key=key, why=said)
                    await deferLater(self._environment.clock, _AGAIN)
                else:
                    self.superblock = following
                    return

    async def confirm(self) -> None:
        """
        Ask the store whether ours is still the highest generation; the question before deleting.

        Raises:
            Fenced: it is not.
            Unavailable: the store did not answer.
        """
        async with self._turn:
            try:
                await self._check_highest(self.superblock.generation)
            except StoreError as failure:
                raise Unavailable(str(failure)) from None

    async def _check_highest(self, generation: int) -> None:
        if not await is_highest(self._store, self._names, generation):
            key = self._names.sb(generation)
            self._condition.fail(Fenced(f"{key} is not the highest: {_TAKEN}"))
        self._condition.check()

    def outdated(self) -> list[str]:
        """The name of the generation that nobody needs any more, since ours is there."""
        generation = self.superblock.generation - _KEPT
        return [self._names.sb(generation)] if generation > 0 else []
