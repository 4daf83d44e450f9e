"""What must be in the store when a volume is at rest: enough, nothing else, and readable alone."""

from __future__ import annotations

from tests.simulation.format import FENCE, Place
from tests.simulation.model import Wrong
from tests.simulation.reachable import objects_of
from tests.simulation.replay import replayed


def check_objects(objects, prefix, secret):
    """
    Compare what the volume needs with what is there; to be called after a sweep.

    Beside what is reachable there may be what the tables still speak of, for a reason: it is
    held by a snapshot, carries holes that hide something older, or was freed by the last
    checkpoint. Superblocks of the last writer are deleted with its checkpoints, and may stay.

    Returns:
        Keys of what may be deleted; none of them is there the next time.

    Raises:
        Wrong: something is missing, or was leaked, or is counted wrongly.
    """
    place = Place(objects, prefix, secret)
    try:
        needed, reached = objects_of(place)
    except KeyError as missing:
        raise Wrong(f"{prefix}: {missing.args[0]} is missing, and it is reachable") from missing
    if missing := needed - set(objects):
        raise Wrong(f"{prefix}: reachable, and missing: {sorted(missing)}")
    known, free = set(), set()
    if reached is not None:
        snapshots = {one["id"] for one in place.superblock["snapshots"]}
        for index, entry in [*reached.tables.items(), *reached.containers.items()]:
            if entry.held_by in snapshots or entry.live or entry.carries:
                known.add(entry.key)
            if entry.held_by == -1 and entry.key in objects:
                free.add(entry.key)
            counted = reached.live.get(index, 0)
            if entry.kind != 3 and counted > entry.live and entry.held_by == 0:
                raise Wrong(f"{entry.key}: {entry.live} sectors are live, found {counted}")
    known |= {
        key for key in place.names("sb") if place.read(key).epoch == place.superblock["epoch"]
    }
    for folder in ("sb", "log", "gc", "ck"):
        for key in place.names(folder):
            if key not in needed and key not in known and key not in free:
                raise Wrong(f"{key} is left over after a sweep")
    return free


def check_rebuilt(objects, prefix, secret, zones, observed):
    """
    Replay the volume without its checkpoints.

    Args:
        observed: model bytes, as the volume showed them.

    Raises:
        Wrong: something else comes out.
    """
    without = {key: data for key, data in objects.items() if "/ck/" not in key}
    place = Place(without, prefix, secret)
    disk = replayed(place, zones)
    if disk != observed:
        at = next(at for at in range(0, len(disk), 512) if disk[at:][:512] != observed[at:][:512])
        raise Wrong(
            f"{prefix}: without checkpoints, sector {zones.sectors[at // 512]} is"
            f" {bytes(disk[at : at + 16]).hex()} instead of {bytes(observed[at : at + 16]).hex()};"
            f" rollbacks {place.superblock['rollbacks']}, objects of"
            f" {[(key, _tell(place.read(key))) for key in _data(place)]}"
        )


def _data(place):
    return [*place.names("log"), *place.names("gc")]


def _tell(found):
    return "fence" if found.kind == FENCE else found.position


def live_share(objects, prefix, secret):
    """
    Live sectors of all that the collector may move, as it counts them; 1 if there is nothing.
    """
    place = Place(objects, prefix, secret)
    _, reached = objects_of(place)
    if reached is None:
        return 1.0
    newest = max((one["version"] for one in place.superblock["snapshots"]), default=-1)
    counted = [
        entry
        for entry in reached.tables.values()
        if not entry.volume and not entry.held_by and entry.birth > newest
    ]
    total = sum(entry.sectors for entry in counted)
    return sum(entry.live for entry in counted) / total if total else 1.0
