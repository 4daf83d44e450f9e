"""The second step of taking a volume over: ending the log of everybody before us."""

from __future__ import annotations

import attrs

from backends.objects.contract import Exists, IObjectStore, NotFound
from backends.volume.environment import Environment
from backends.volume.header import Codec, Header, decode
from backends.volume.lineage import Lineage
from backends.volume.listing import everything
from backends.volume.names import Kind
from backends.volume.recovery import Walk, walk
from backends.volume.sealing import seal
from backends.volume.superblock import Superblock
from backends.volume.superblocks import is_highest
from backends.volume.turns import each
from backends.volume.units import HEADER_LIMIT, WINDOW
from gateway.errors import Corrupt, ExportBusy

#: Headers read at once.
_GETS = 32


class Log:
    """
    The log behind the newest checkpoint.

    Args:
        store, lineage: where it lies.
        superblock: ours.
        environment: see there.

    Attributes:
        end: once fenced, the slot at which we go on.
        superblock: once fenced, ours as it is to go on: it tells of fences that may come late.
    """

    def __init__(
        self,
        store: IObjectStore,
        lineage: Lineage,
        superblock: Superblock,
        environment: Environment,
    ) -> None:
        self._store = store
        self._member = lineage.own
        self.superblock = superblock
        self._environment = environment
        self._headers: dict[int, Header | Corrupt] = {}
        root = superblock.checkpoint
        self._start = superblock.first_slot if root is None else root.version + 1
        self.end = 0

    async def fence(self) -> list[Header]:
        """
        Put our fence into the first free slot.

        No writer of an earlier epoch can have that slot any more, so none has
        an unbroken log beyond it, and none answers another flush.

        Returns:
            The data objects in front of it, in order.

        Raises:
            ExportBusy: somebody with a higher epoch was here first.
            Corrupt: the log cannot be followed.
            StoreError: the store did not answer.
        """
        names = self._member.names
        await self._look_around()
        while True:
            found = await self._walk()
            if found.epoch > self.superblock.epoch:
                raise ExportBusy(
                    f"{names.log_prefix}: a gateway with epoch {found.epoch} has taken the"
                    f" volume over, ours is {self.superblock.epoch}"
                )
            try:
                await self._put(found.end)
            except Exists:
                await self._look(found.end)
                continue
            # While nobody came after us, nobody has deleted what lay in that slot.
            if not await is_highest(self._store, names, self.superblock.generation):
                raise ExportBusy(f"{names.sb_prefix}: another gateway is taking the volume over")
            self._note(found.fences)
            return list(found.data)

    def _note(self, met: frozenset[int]) -> None:
        """
        Remember which epochs never had a fence that counted.

        One may still come, late, into the slot of an object that was deleted.
        Those who attach do not walk there, but those who rebuild the map from
        objects alone do.
        """
        late = [epoch for epoch in self.superblock.pending if epoch not in met]
        self.superblock = attrs.evolve(
            self.superblock,
            fenced=True,
            pending=(),
            unfenced=(*self.superblock.unfenced, *late),
        )

    async def read(self) -> list[Header]:
        """
        The data objects that are there now, in order, for somebody who only reads.

        Raises:
            Corrupt, StoreError: as for `fence`.
        """
        await self._look_around()
        return list((await self._walk()).data)

    async def _walk(self) -> Walk:
        names = self._member.names
        try:
            return walk(self._headers, self._start, names.log_prefix)
        except Corrupt:
            # Somebody who has the volume by now deletes what we would walk over.
            if await is_highest(self._store, names, self.superblock.generation):
                raise
            raise ExportBusy(f"{names.sb_prefix}: another gateway changes the volume") from None

    async def _look_around(self) -> None:
        names = self._member.names
        after = names.log(self._start - 1)
        listed = await everything(self._store, names.log_prefix, after)
        slots = [names.parse_log(one.key) for one in listed]
        await each([slot for slot in slots if slot is not None], self._look, _GETS)

    async def _put(self, slot: int) -> None:
        superblock = self.superblock
        # The old writer has stored slot - 1 at most, so it has tried nothing from here on.
        resume = slot + WINDOW
        sealed = seal(
            Kind.FENCE,
            superblock.volume,
            superblock.writer,
            superblock.epoch,
            slot,
            resume,
            int(self._environment.wall() * 1000),
            (),
            (),
            Codec.NONE,
            self._member.crypt,
        )
        await self._store.put(self._member.names.log(slot), sealed.parts, True)
        self.end = resume

    async def _look(self, slot: int) -> None:
        key = self._member.names.log(slot)
        try:
            data = await self._store.get(key, 0, HEADER_LIMIT)
        except NotFound:
            self._headers.pop(slot, None)
            return
        try:
            self._headers[slot] = decode(
                data,
                self._member.crypt,
                key,
                kind=(Kind.DATA, Kind.FENCE),
                volume=self._member.uuid,
                position=slot,
            )
        except Corrupt as damage:
            self._headers[slot] = damage
