"""Making a volume out of a snapshot of another: it shares what was written until then."""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs

from backends.objects.contract import Exists, IObjectStore
from backends.volume.checkpoint import at_once, write
from backends.volume.checkpointing import CheckpointObjects, load
from backends.volume.environment import Environment
from backends.volume.keys import KEY, Crypt, KeySource, unwrap_any, wrap, wrap_with_volume_key
from backends.volume.lineage import Lineage, Member
from backends.volume.names import Names
from backends.volume.superblock import Ancestor, Parent, Snapshot, Superblock
from backends.volume.superblock_json import encode
from backends.volume.superblocks import Found, current, unlock, vacancy
from gateway.errors import ExportUnavailable, UnknownExport


async def clone(
    store: IObjectStore,
    parent_prefix: str,
    snapshot_name: str,
    prefix: str,
    environment: Environment,
    source: KeySource | None = None,
    description: str = "",
) -> Superblock:
    """
    Make a volume that starts as a snapshot of another one in the same store.

    The parent may be in use meanwhile, by any gateway.

    Args:
        parent_prefix, snapshot_name: what is cloned.
        prefix: where the clone's own objects will lie.
        source: what opens the parent, if it is encrypted, and will open the clone.

    Raises:
        UnknownExport: there is no such snapshot.
        ExportUnavailable: there is no such volume, or there is one at ``prefix``.
        StoreError: the store did not answer.
    """
    parent_names, names = Names(parent_prefix), Names(prefix)
    await vacancy(store, names)
    found, snapshot = await _look_up(store, parent_names, snapshot_name)
    uuid = environment.secret_bytes(16)
    note = {"child": uuid.hex(), "prefix": prefix, "snapshot": snapshot.id}
    ref = parent_names.ref(uuid)
    await store.put(ref, [json.dumps(note, sort_keys=True).encode() + b"\n"], True)
    try:
        # Whoever deletes the snapshot marks it and then looks for notes:
        # either we see the mark, or our note is seen.
        found, again = await _look_up(store, parent_names, snapshot_name)
        if again.id != snapshot.id:
            raise UnknownExport(f"snapshot {snapshot_name!r} was replaced meanwhile")
        return await _make(
            store, found, snapshot, parent_names, names, uuid, environment, source, description
        )
    except BaseException:
        await store.delete([ref])
        raise


async def _look_up(store: IObjectStore, names: Names, name: str) -> tuple[Found, Snapshot]:
    found = await current(store, names)
    for snapshot in found.superblock.snapshots:
        if snapshot.name == name and not snapshot.deleting:
            return found, snapshot
    raise UnknownExport(f"{names.sb_prefix}: there is no snapshot {name[:100]!r}")


async def _make(
    store: IObjectStore,
    found: Found,
    snapshot: Snapshot,
    parent_names: Names,
    names: Names,
    uuid: bytes,
    environment: Environment,
    source: KeySource | None,
    description: str,
) -> Superblock:
    parent = found.superblock
    lineage = await environment.call_in_thread(unlock, found, parent_names, source)
    now = int(environment.wall() * 1000)
    begin = await vacancy(store, names)
    child = Superblock(
        volume=uuid,
        generation=begin.generation,
        epoch=begin.epoch,
        first_slot=begin.first_slot,
        writer=environment.secret_bytes(16),
        size=snapshot.size,
        created_ms=now,
        written_ms=now,
        state="closed",
        fenced=True,  # there is nobody before the first epoch
        codec=parent.codec,
        parent=Parent(parent.volume, parent_names.prefix, snapshot.id),
        description=description,
    )
    crypt = None
    rewrap: Callable[[int], dict[str, object]] | None = None
    if source is not None:
        key = environment.secret_bytes(KEY)
        crypt = Crypt(key, uuid)
        wraps = (await environment.call_in_thread(wrap, key, source, environment.secret_bytes),)
        child = attrs.evolve(child, wraps=wraps)
        ancestor_keys = await environment.call_in_thread(_keys, parent, source)
        rewrap = lambda n: wrap_with_volume_key(  # noqa: E731
            ancestor_keys[n], key, environment.secret_bytes
        )
    ancestors = [(parent.volume, parent_names.prefix)]
    ancestors += [(one.uuid, one.prefix) for one in parent.ancestors]
    child = attrs.evolve(
        child,
        ancestors=tuple(
            Ancestor(its, where, None if rewrap is None else rewrap(n))
            for n, (its, where) in enumerate(ancestors)
        ),
    )
    members = [Member(uuid, names, crypt), *(lineage[n] for n in range(len(lineage)))]
    child = await _checkpoint(store, Lineage(members), child, snapshot)
    try:
        await store.put(names.sb(begin.generation), [encode(child, crypt)], True)
    except Exists:
        raise ExportUnavailable(f"{names.sb_prefix}: there is a volume already") from None
    return child


def _keys(parent: Superblock, source: KeySource) -> list[bytes]:
    """The volume keys of the parent and of its ancestors."""
    key = unwrap_any(parent.wraps, source)
    own = KeySource.from_volume_key(key)
    return [
        key,
        *(unwrap_any([one.wrap], own) for one in parent.ancestors if one.wrap is not None),
    ]


async def _checkpoint(
    store: IObjectStore, lineage: Lineage, child: Superblock, snapshot: Snapshot
) -> Superblock:
    """Write tables that name the parent's objects as an ancestor's; pages stay where they are."""
    if snapshot.root is None:
        return child
    of_parent = Lineage([lineage[n] for n in range(1, len(lineage))])
    stored = await load(store, of_parent, snapshot.size, snapshot.root, 0)
    stored.objects.inherit()
    stored.containers.inherit()
    stored.state.version = child.first_slot - 1
    stored.state.ancestors = len(lineage) - 1
    objects = CheckpointObjects(lineage, child, child.written_ms, stored.containers, stored.state)
    steps = write(stored.map, stored.objects, stored.containers, stored.state, None, objects.emit)
    written = at_once(steps)
    assert written.root is not None, "it has been emitted"
    for key, sealed in objects.sealed():
        await store.put(key, sealed.parts, True)
    return attrs.evolve(child, checkpoint=objects.root(written.root))
