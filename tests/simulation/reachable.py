"""
Which objects a volume needs: from its superblock over roots, tables and maps.

Counted once more, from the page that tells the format, as nobody may delete what is reachable,
and nothing else may stay when a sweep is over.
"""

from __future__ import annotations

import struct

import attrs

from tests.simulation.format import CHANGES, FENCE, FILLED, IMAGE, LEAF, ROOT, TABLE, read_slice

_ROOT = struct.Struct("<HHIQQQQIIIII")


@attrs.frozen
class Entry:
    """One object of a table."""

    key: str
    kind: int
    carries: int
    volume: int
    sectors: int
    live: int
    stored: int
    birth: int
    held_by: int


@attrs.define
class Reached:
    """
    What a root leads to.

    Attributes:
        tables: of objects, `Entry` by index.
        containers: of checkpoint objects, `Entry` by index.
        live: sectors that the map refers to, by index of the object.
        used: bytes of slices that are referred to, by index of the container.
    """

    tables: dict
    containers: dict
    live: dict
    used: dict


def objects_of(place):
    """
    Every key that the volume needs.

    Returns:
        A set of keys: the superblock, all fences, what roots lead to, what the log has behind
        the checkpoint; and the `Reached` of the checkpoint, or None.
    """
    superblock = place.superblock
    needed = {max(place.names("sb"))}
    root = superblock["checkpoint"]
    reached = None if root is None else reach(place, root)
    roots = [one["root"] for one in superblock["snapshots"] if one["root"] is not None]
    for one in [reach(place, root) for root in roots] + ([reached] if reached else []):
        for index, sectors in one.live.items():
            entry = one.tables[index]
            assert sectors <= entry.live or one is not reached
            needed.add(entry.key)
        needed |= {one.containers[index].key for index in one.used}
    for key in place.names("log"):
        slot = int(key.rsplit("/", 1)[1], 16)
        if slot < superblock["first_slot"]:
            continue  # of a volume that was deleted here
        if root is None or slot > root["version"] or place.read(key).kind == FENCE:
            needed.add(key)
    return needed, reached


def reach(place, root):
    """All that a root leads to, each slice read and checked."""
    key = f"{place.prefix}/ck/{root['epoch']:08x}-{root['n']:08x}"
    plain = _slice(place, key, root["offset"], root["stored_length"], ROOT)
    (
        layout, _ancestors, _, version, _sectors, _next, _next_n, _next_c, leaves, pages,
        embedded, forgotten,
    ) = _ROOT.unpack_from(plain)  # fmt: skip
    assert (layout, version) == (1, root["version"])
    at = _ROOT.size
    placed = [struct.unpack_from("<QIII", plain, at + 20 * i) for i in range(leaves + pages)]
    at += 20 * (leaves + pages)
    containers = {}
    for _ in range(embedded):
        number, length = struct.unpack_from("<II", plain, at)
        containers.update(_table(place, number, plain[at + 8 : at + 8 + length]))
        at += 8 + length
    used = {}
    for _ in range(forgotten):
        slices = plain[at + 9]
        for ref in struct.iter_unpack("<III", plain[at + 10 : at + 10 + 12 * slices]):
            used[ref[0]] = used.get(ref[0], 0) + ref[2]
        at += 10 + 12 * slices
    assert at == len(plain)

    def load(ref, kind):
        index, offset, length = ref
        used[index] = used.get(index, 0) + length
        return _slice(place, containers[index].key, offset, length, kind)

    tables = {}
    for number, *ref in placed[leaves:]:
        tables.update(_table(place, number, load(ref, TABLE)))
    live = {}
    for _number, *ref in placed[:leaves]:
        for chain in _chains(load(ref, LEAF)):
            for start, end, value in _page(
                [load(one, IMAGE if not i else CHANGES) for i, one in enumerate(chain)]
            ):
                if value >> 62 == FILLED:
                    index = value >> 24 & (1 << 38) - 1
                    live[index] = live.get(index, 0) + end - start
                    assert (value & 0xFFFFFF) + end - start <= tables[index].sectors
    for index, entry in containers.items():
        if entry.key == key:
            used[index] = used.get(index, 0) + root["stored_length"]
    return Reached(tables, containers, live, used)


def _slice(place, key, offset, length, kind):
    return read_slice(place.objects[key], offset, length, kind, place.keys)


def _table(place, page, plain):
    """Entries by index."""
    (n,) = struct.unpack_from("<H", plain)
    at = 2
    columns = []
    for form in "HBBHIIIIQQq":
        columns.append(struct.unpack_from(f"<{n}{form}", plain, at))
        at += n * struct.calcsize(f"<{form}")
    assert at == len(plain)
    found = {}
    for slot, kind, carries, volume, epoch, sectors, live, stored, number, birth, held in zip(
        *columns, strict=True
    ):
        prefix = place.ancestor(volume).prefix if volume else place.prefix
        name = f"{number:016x}" if kind == 1 else f"{epoch:08x}-{number:08x}"
        key = f"{prefix}/{('log', 'gc', 'ck')[kind - 1]}/{name}"
        found[1024 * page + slot] = Entry(
            key, kind, carries, volume, sectors, live, stored, birth, held
        )
    return found


def _chains(plain):
    """References to slices, chain by chain."""
    runs, count = struct.unpack_from("<HH", plain)
    at = 4 + 10 * runs + 2 * count
    lengths = plain[at : at + count]
    at += count
    for length in lengths:
        yield list(struct.iter_unpack("<III", plain[at : at + 12 * length]))
        at += 12 * length
    assert at == len(plain)


def _page(slices):
    """Runs of a page: first sector, sector behind the last, value of the first."""
    image, *changes = slices
    n = len(image) // 10
    firsts = struct.unpack_from(f"<{n}H", image)
    values = struct.unpack_from(f"<{n}Q", image, 2 * n)
    runs = list(zip(firsts, [*firsts[1:], 32768], values, strict=True))
    for plain in changes:
        n = len(plain) // 12
        starts = struct.unpack_from(f"<{n}H", plain)
        ends = struct.unpack_from(f"<{n}H", plain, 2 * n)
        for start, end, value in zip(
            starts, ends, struct.unpack_from(f"<{n}Q", plain, 4 * n), strict=True
        ):
            runs = sorted([*_cut(runs, start, end), (start, end, value)])
    return runs


def _cut(runs, start, end):
    """What of the runs lies outside a range."""
    for first, last, value in runs:
        if first < start:
            yield first, min(last, start), value
        if last > end:
            begin = max(first, end)
            moved = begin - first if value >> 62 == FILLED else 0
            yield begin, last, value + moved
