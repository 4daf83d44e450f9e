"""Deleting volumes: for good, whenever it is interrupted, and whoever comes late."""

from __future__ import annotations

import pytest

from backends.objects.contract import Transient
from backends.objects.memory import MemoryStore
from backends.volume.cloning import clone
from backends.volume.creating import check_empty, create
from backends.volume.describing import admission
from backends.volume.names import Names
from backends.volume.removing import remove
from backends.volume.superblocks import NoVolume, newest
from gateway.errors import ExportBusy, ExportUnavailable, Fenced
from tests.doubles.volumes import VolumeHost

SIZE = 64 << 20
NAMES = Names("volume-1")
KEY = bytes(range(32))


class Dying:
    """A store that answers so many requests and then none."""

    def __init__(self, store, requests):
        self.store = store
        self.left = requests

    def __getattr__(self, name):
        call = getattr(self.store, name)

        def limited(*args):
            self.left -= 1
            if self.left < 0:
                raise Transient("the process is gone")
            return call(*args)

        return limited


def nothing(last):
    """Admits every volume."""


def silent(done, total, unit):
    """A `Progress` for nobody."""


def removed(host, store=None, prefix="volume-1", progress=silent):
    work = remove(
        host.store if store is None else store,
        Names(prefix),
        host.environment,
        host._source,
        nothing,
        progress,
    )
    return host.settle(work)


def filled(**keys):
    """A host whose volume has objects of every type, and is closed."""
    host = VolumeHost(**keys)
    volume = host.new(SIZE)
    host.settle(volume.write(0, b"a" * (1 << 20), True))
    host.settle(volume.snapshots.take("monday"))
    host.settle(volume.write(0, b"b" * 4096, True))
    host.settle(volume.close())
    return host


def keys_of(host, prefix="volume-1"):
    return [one.key for one in host.settle(host.store.list(f"{prefix}/", ""))]


def is_rested(host):
    """Nothing is left of it but the two objects of decision 15."""
    keys = keys_of(host)
    found = host.settle(newest(host.store, NAMES)).superblock
    assert keys == [NAMES.log(found.first_slot - 8), NAMES.sb(found.generation)]
    assert (found.state, found.wraps, found.snapshots) == ("deleted", (), ())
    return True


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_a_volume_is_deleted_but_for_two_objects(key):
    """Which say that it is gone, and hold no key."""
    host = filled(key=key)
    before, told = len(keys_of(host)), []
    count = removed(host, progress=lambda *what: told.append(what))
    assert is_rested(host)
    assert count >= before
    assert told[-1][0] == told[-1][1] and told[-1][2] == "objects"
    for call in (removed, VolumeHost.again):
        with pytest.raises(NoVolume):
            call(host)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_it_can_be_interrupted_anywhere(key):
    """Then nobody opens or clones what is left, and doing it again ends it."""
    requests = 0
    while True:
        host = filled(key=key)
        store = Dying(host.store, requests)
        try:
            removed(host, store)
            break
        except Transient:
            requests += 1
        state = host.settle(newest(host.store, NAMES)).superblock.state
        if state == "deleting":
            with pytest.raises(ExportUnavailable, match="being deleted"):
                host.again()
            with pytest.raises(ExportUnavailable, match="half of one"):
                host.settle(create(host.store, "volume-1", SIZE, host.environment))
        if state != "deleted":
            removed(host)
        else:
            with pytest.raises(NoVolume):
                host.again()
    assert requests > 10, "it was interrupted at none of its requests"
    assert is_rested(host)


def test_a_writer_that_does_not_know_answers_no_flush():
    """It runs into the fence, and finds that the volume is not its any more."""
    host = VolumeHost()
    writer = host.new(SIZE)
    host.settle(writer.write(0, b"a" * 4096, True))
    removed(host)
    with pytest.raises(Fenced):
        host.settle(writer.write(0, b"b" * 4096, True))
    found = host.settle(newest(host.store, NAMES)).superblock
    assert found.state == "deleted"


def test_a_new_volume_is_safe_from_the_old_ones_writer():
    """However late that comes: it uses none of the old one's names."""
    host = VolumeHost()
    writer = host.new(SIZE)
    host.settle(writer.write(0, b"a" * 4096, True))
    removed(host)
    before = host.settle(newest(host.store, NAMES)).superblock
    host.settle(check_empty(host.store, "volume-1"))
    made = host.settle(create(host.store, "volume-1", SIZE, host.environment))
    assert made.generation == before.generation + 1
    assert made.epoch > before.epoch
    assert made.volume != before.volume
    # Whatever the old writer may still put: eight slots from the one in which it was stopped.
    for slot in range(made.first_slot):
        if slot and NAMES.log(slot) not in keys_of(host):
            host.settle(host.store.put(NAMES.log(slot), [b"late"], True))
    volume = host.again()
    assert bytes(host.settle(volume.read(0, 4096))) == bytes(4096)
    host.settle(volume.write(0, b"c" * 4096, True))
    host.settle(volume.snapshots.take("monday"))
    host.settle(volume.write(0, b"d" * 4096, True))
    host.settle(volume.close())
    with pytest.raises(Fenced):
        host.settle(writer.write(0, b"b" * 4096, True))
    volume = host.again()
    assert bytes(host.settle(volume.read(0, 4096))) == b"d" * 4096
    host.settle(volume.snapshots.roll_back("monday"))
    assert bytes(host.settle(volume.read(0, 4096))) == b"c" * 4096
    host.settle(volume.close())


def test_a_clone_may_lie_where_a_volume_was_deleted():
    """It reads what the snapshot has, also after it was opened again."""
    host = filled()
    host.new(SIZE)  # volume-2
    removed(host, prefix="volume-2")
    host.settle(clone(host.store, "volume-1", "monday", "volume-2", host.environment))
    for _ in range(2):
        volume = host.again(prefix="volume-2")
        assert bytes(host.settle(volume.read(0, 4096))) == b"a" * 4096
        host.settle(volume.write(1 << 21, b"e" * 4096, True))
        host.settle(volume.close())


def test_clones_keep_their_parent_and_let_it_go():
    """They are named; when the last is deleted, so can snapshot and parent be."""
    host = filled()
    host.settle(clone(host.store, "volume-1", "monday", "copies/one", host.environment))
    with pytest.raises(ExportBusy, match="'copies/one'"):
        removed(host)
    volume = host.again()  # as if nothing had been asked
    with pytest.raises(ExportBusy):
        host.settle(volume.snapshots.delete("monday"))
    removed(host, prefix="copies/one")
    host.settle(volume.snapshots.delete("monday"))
    host.settle(volume.close())
    removed(host)
    assert is_rested(host)


class Meanwhile:
    """A store in which something happens just before its first put."""

    def __init__(self, store, what):
        self._store = store
        self._what = what

    def put(self, *args):
        what, self._what = self._what, lambda: None
        what()
        return self._store.put(*args)

    def __getattr__(self, name):
        return getattr(self._store, name)


def test_a_clone_that_is_made_meanwhile_stops_it():
    """Its note is seen after the mark; the volume is as if nothing had been asked."""
    host = filled()

    def made():
        host.settle(clone(host.store, "volume-1", "monday", "copies/one", host.environment))

    with pytest.raises(ExportBusy, match="'copies/one'"):
        removed(host, Meanwhile(host.store, made))
    assert host.settle(newest(host.store, NAMES)).superblock.state == "closed"
    volume = host.again()
    assert bytes(host.settle(volume.read(0, 4096))) == b"b" * 4096
    host.settle(volume.close())


def test_a_damaged_log_is_no_reason_to_keep_it():
    """There is no fence then, and a new volume begins far behind."""
    store = MemoryStore()
    host = VolumeHost(store=store)
    volume = host.new(SIZE)
    host.settle(volume.write(0, b"a" * 4096, True))
    slot = max(key for key in keys_of(host) if "/log/" in key)
    host.settle(store.delete([slot]))
    host.settle(store.put(slot, [b"x" * 300], True))
    removed(host)
    found = host.settle(newest(host.store, NAMES)).superblock
    assert keys_of(host) == [NAMES.sb(found.generation)]
    assert found.first_slot > 1 << 20


def test_who_may_hold_it_is_named():
    """By machine, process and epoch; to take it over is another matter."""
    host = VolumeHost()
    host.new(SIZE)
    last = host.settle(newest(host.store, NAMES)).superblock
    here = host.environment.process
    with pytest.raises(ExportBusy, match=r"there: process 0 on host-1 .* 22:13:20.*\(epoch 2\)"):
        admission("there", here, False)(last)
    admission("there", here, True)(last)


def test_a_clone_that_came_between_is_seen_by_whoever_goes_on():
    """Deleting was cut short before it had looked once more."""
    host = filled()

    class Dying:
        """Gone once the volume is marked; just before, somebody makes a clone."""

        is_dead = False

        def __getattr__(self, name):
            def call(*arguments):
                if self.is_dead:
                    raise Transient("gone")
                if name == "put" and "/sb/" in arguments[0]:
                    host.settle(
                        clone(host.store, "volume-1", "monday", "copy", host.environment, None)
                    )
                    self.is_dead = True
                return getattr(host.store, name)(*arguments)

            return call

    with pytest.raises(Transient):
        removed(host, Dying())
    assert host.settle(newest(host.store, NAMES)).superblock.state == "deleting"
    with pytest.raises(ExportBusy, match="copy"):
        removed(host)
    copy = host.again(prefix="copy")
    assert host.settle(copy.read(0, 4)) is not None
    host.settle(copy.close())
