"""Which ranges of the disk, and of its snapshots, lie in objects that are damaged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from backends.objects.contract import IObjectStore
from backends.volume.inspection.findings import Span
from backends.volume.inspection.view import View
from backends.volume.inspection.walking import RootWalk, source_of
from backends.volume.lineage import Source
from backends.volume.superblock import Root
from backends.volume.values import DATA
from backends.volume.values import index as index_of
from backends.volume.values import sector as sector_of

#: Sectors of an object's plain data, as first and end; None for all of it.
Places = Sequence[Span] | None


async def locate(
    store: IObjectStore, view: View, bad: Mapping[Source, Places]
) -> AsyncIterator[tuple[Source, list[Span], str | None]]:
    """
    Walk every map once more.

    Args:
        bad: the damaged objects, and where they are damaged.

    Yields:
        An object, sectors of the disk that lie there, and in which snapshot; None for the disk
        as it is now.

    Raises:
        StoreError: the store did not answer.
    """
    if not bad:
        return
    superblock = view.superblock
    versions: list[tuple[str | None, Root | None, int]] = [
        (None, superblock.checkpoint, superblock.size)
    ]
    versions += [(one.name, one.root, one.size) for one in view.snapshots()]
    for name, root, size in versions:
        walk = RootWalk(store, view.lineage, root, size)
        if not await walk.open():
            continue
        found: dict[Source, list[Span]] = {}
        async for part in walk.parts():
            for start, end, value in part.runs or ():
                if value < DATA:
                    continue
                entry = walk.entry(index_of(value))
                source = None if entry is None else source_of(entry)
                if source is not None and source in bad:
                    spans = cut(start, end, sector_of(value), bad[source])
                    found.setdefault(source, []).extend(spans)
        for source, spans in found.items():
            if spans:
                yield source, spans, name


def cut(start: int, end: int, sector: int, places: Places) -> list[Span]:
    """What of a run that begins at a sector of the object lies in the places."""
    if places is None:
        return [(start, end)]
    cut = []
    for first, last in places:
        low, high = max(first, sector), min(last, sector + end - start)
        if low < high:
            cut.append((start + low - sector, start + high - sector))
    return cut
