"""
A disk from data and moved objects alone, without any checkpoint.

As docs/reference/volume-format.md says under "From the objects alone"; of the superblock only
what no other object tells is used: rollbacks, snapshots, and what the volume was cloned from.
"""

from __future__ import annotations

from tests.simulation.format import DATA, FENCE, FILLED, SECTOR, Place


def replayed(place, zones, upto=None):
    """
    Args:
        place: a `Place`.
        zones: the `Zones` of the disk that are looked at.
        upto: the version that is wanted, None for the newest.

    Returns:
        Model bytes.
    """
    superblock = place.superblock
    parent = superblock["parent"]
    if parent is None:
        disk = bytearray(zones.size)
    else:
        from_snapshot = Place(place.objects, parent["prefix"], place.secret)
        (snapshot,) = [
            one for one in from_snapshot.superblock["snapshots"] if one["id"] == parent["snapshot"]
        ]
        disk = replayed(from_snapshot, zones, snapshot["version"])
    slots = _log(place)
    moved = {}
    for key in place.names("gc"):
        found = place.read(key)
        moved.setdefault(found.position, []).append(((found.epoch, found.number), found))
    targets = {one["to"] for one in superblock["rollbacks"]}
    states = {0: bytes(disk)} if 0 in targets else {}
    versions = {*slots, *moved, *targets, *(one["version"] for one in superblock["rollbacks"])}
    for version in sorted(versions):
        if upto is not None and version > upto:
            break
        if version in slots:
            _paint(disk, zones, slots[version])
        for _, found in sorted(moved.get(version, []), key=lambda one: one[0]):
            _paint(disk, zones, found)
        if version in targets:
            states[version] = bytes(disk)
        for one in superblock["rollbacks"]:
            if one["version"] == version and (upto is None or version < upto):
                disk[:] = states[one["to"]]
    return disk


def _log(place):
    """The data objects that count, by slot."""
    there = {}
    for key in place.names("log"):
        slot = int(key.rsplit("/", 1)[1], 16)
        if slot < place.superblock["first_slot"]:
            continue  # of a volume that was deleted here
        there[slot] = place.read(key)
        assert there[slot].position == slot
    newest = {found.epoch: slot for slot, found in sorted(there.items()) if found.kind == FENCE}
    void = place.superblock["unfenced"]
    for slot, found in list(there.items()):
        if found.kind == FENCE and (found.epoch in void or newest[found.epoch] != slot):
            del there[slot]
    counted = {}
    slot = place.superblock["first_slot"]
    epoch = 0
    while there and slot <= max(there):
        found = there.get(slot)
        if found is not None and found.kind == FENCE:
            assert found.epoch >= epoch
            epoch = found.epoch
            slot = found.number
            continue
        if found is not None:
            assert found.kind == DATA
            assert found.epoch >= epoch
            epoch = found.epoch
            counted[slot] = found
        slot += 1
    return counted


def _paint(disk, zones, found):
    for sector, kind, sectors, start in found.extents:
        for at, size, offset in zones.pieces(sector * SECTOR, sectors * SECTOR):
            if kind == FILLED:
                begin = start * SECTOR + offset - sector * SECTOR
                disk[at : at + size] = found.plain[begin : begin + size]
            else:
                disk[at : at + size] = bytes(size)
