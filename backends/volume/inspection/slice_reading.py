"""Slices of checkpoints, each with what is wrong with it rather than a failure of all."""

from __future__ import annotations

from collections.abc import Sequence

from backends.objects.contract import Garbled, IObjectStore, NotFound
from backends.volume.directory import Need, SliceRef
from backends.volume.lineage import Lineage
from backends.volume.names import Kind
from backends.volume.object_table import ObjectTable
from backends.volume.slices import SliceKind, open_slice
from backends.volume.stored_map import merged
from backends.volume.superblock import Root
from backends.volume.turns import each
from gateway.errors import Corrupt

#: Gets under way at once.
GETS = 16


class Broken(Corrupt):
    """
    A slice cannot be read.

    Attributes:
        key: of the object that it is in.
    """

    def __init__(self, key: str, what: object) -> None:
        super().__init__(str(what))
        self.key = key


class SliceReader:
    """
    Reads slices and counts them.

    Args:
        store, lineage: where they are.

    Attributes:
        containers: names of the objects they are in, by number.
        used: bytes of slices that were asked for, by number of their container.
        bytes: got.
    """

    def __init__(self, store: IObjectStore, lineage: Lineage) -> None:
        self._store = store
        self._lineage = lineage
        self.containers = ObjectTable()
        self.used: dict[int, int] = {}
        self.bytes = 0

    async def root(self, root: Root) -> bytes | Broken:
        """The plain data of a root of the volume's own."""
        key = self._lineage.own.names.ck(root.epoch, root.n)
        ref = SliceRef(0, root.offset, root.stored_length)
        found = await self._get(key, 0, root.epoch, root.n, [ref], {ref: SliceKind.ROOT})
        return found[ref]

    async def fetch(self, needs: Sequence[Need]) -> list[list[bytes] | Broken]:
        """
        The plain data of each need's slices, or what is wrong with the first that is damaged.

        Raises:
            StoreError: the store did not answer.
        """
        kinds: dict[SliceRef, SliceKind] = {}
        for need in needs:
            kinds.update(zip(need.slices, need.kinds, strict=True))
            for ref in need.slices:
                self.used[ref.container] = self.used.get(ref.container, 0) + ref.length
        found: dict[SliceRef, bytes | Broken] = {}

        async def get(run: list[SliceRef]) -> None:
            number = run[0].container
            if number not in self.containers:
                broken = Broken(
                    self._lineage.own.names.ck_prefix,
                    f"the map names checkpoint object {number}, which is in no table",
                )
                found.update(dict.fromkeys(run, broken))
                return
            entry = self.containers[number]
            key = self._lineage[entry.volume].names.ck(entry.epoch, entry.number)
            found.update(await self._get(key, entry.volume, entry.epoch, entry.number, run, kinds))

        await each(merged(kinds), get, GETS)
        return [_all([found[ref] for ref in need.slices]) for need in needs]

    async def _get(
        self,
        key: str,
        volume: int,
        epoch: int,
        n: int,
        run: Sequence[SliceRef],
        kinds: dict[SliceRef, SliceKind],
    ) -> dict[SliceRef, bytes | Broken]:
        member = self._lineage[volume]
        crypt = None
        if member.crypt is not None:
            crypt = member.crypt.object(Kind.CHECKPOINT, epoch, 0, n)
        start = run[0].offset
        try:
            data = await self._store.get(key, start, run[-1].offset + run[-1].length - start)
        except NotFound:
            broken = Broken(key, f"{key} is missing from the store, and the map is in it")
            return dict.fromkeys(run, broken)
        except Garbled as failure:
            return dict.fromkeys(run, Broken(key, f"{key}: {failure}"))
        self.bytes += len(data)
        view = memoryview(data)
        found: dict[SliceRef, bytes | Broken] = {}
        for ref in run:
            stored = view[ref.offset - start :][: ref.length]
            try:
                found[ref] = open_slice(kinds[ref], stored, crypt, ref.offset, key)
            except Corrupt as wrong:
                found[ref] = Broken(key, wrong)
        return found


def _all(plains: Sequence[bytes | Broken]) -> list[bytes] | Broken:
    good: list[bytes] = []
    for plain in plains:
        if isinstance(plain, Broken):
            return plain
        good.append(plain)
    return good
