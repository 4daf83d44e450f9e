"""What an export with snapshots promises: `IChangedBlocks` and `IDerivedExports` as tests.

An implementation joins by a subclass of `VolumeContract` with a ``lab``
fixture that yields a `VolumeLab`. That it is an export as well is the business
of `tests.contracts.export_contract`.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from gateway.errors import Closed, StorageError, UnknownExport
from gateway.interfaces import IChangedBlocks, IDerivedExports, IExport
from tests.contracts.export_contract import EDGES, SIZE, Lab


class VolumeLab(Lab):
    """
    Makes volumes, and has their snapshots taken and deleted.

    Args:
        make: answers with a fresh volume of `SIZE` bytes that nobody wrote to.
        take: of a volume and a name, takes a snapshot, now or later.
        delete: of a volume and a name, deletes it, now or later.
        go_on: lets time pass or threads work, once.
    """

    def __init__(self, make, take, delete, go_on=lambda: None):
        super().__init__(make, go_on)
        self._take = take
        self._delete = delete

    def take(self, volume, name):
        self.settle(self._take(volume, name))

    def delete(self, volume, name):
        self.settle(self._delete(volume, name))

    def changed(self, volume, reference, offset=0, length=None, first_only=False):
        """The answer to `IChangedBlocks.changed`, checked for the rules that every one keeps."""
        length = SIZE - offset if length is None else length
        changes = self.settle(volume.changed(reference, offset, length, first_only))
        assert changes
        assert not first_only or len(changes) == 1
        assert all(change.length > 0 for change in changes)
        assert all(a.dirty != b.dirty for a, b in zip(changes, changes[1:], strict=False))
        assert sum(change.length for change in changes[:-1]) < length
        assert offset + sum(change.length for change in changes) <= SIZE
        return changes

    def dirty(self, volume, reference):
        """A flag for each byte, from as many questions as it takes."""
        flags = bytearray()
        while len(flags) < SIZE:
            for change in self.changed(volume, reference, len(flags)):
                flags += bytes([change.dirty]) * change.length
        return flags

    def snapshot(self, volume, name):
        return self.settle(volume.derived(name))


class VolumeContract:
    """The tests; see the module."""

    @pytest.fixture
    def volume(self, lab):
        made = lab.settle(lab.make())
        yield made
        lab.settle(made.close())

    # What was changed.

    def test_it_provides_the_interfaces(self, volume):
        """
        Protocols ask what is provided, not what methods there are.
        """
        assert verifyObject(IChangedBlocks, volume)
        assert verifyObject(IDerivedExports, volume)

    def test_references_come_and_go_with_snapshots(self, lab, volume):
        """
        As of the moment of asking; the order of those that stay does not change.
        """
        assert volume.references() == []
        for name in ("b", "a", "c:d"):
            lab.take(volume, name)
        names = volume.references()
        assert sorted(names) == ["a", "b", "c:d"]
        lab.delete(volume, names[1])
        assert volume.references() == [names[0], names[2]]

    @pytest.mark.parametrize("how", ["write", "zero", "trim"])
    def test_what_was_changed_since_is_dirty(self, lab, volume, how):
        """
        Whatever changed it, from its first byte to its last, also before a flush.
        """
        lab.settle(volume.write(0, b"x" * SIZE, False))
        lab.take(volume, "s")
        if how == "write":
            lab.settle(volume.write(65535, b"y" * 5000, False))
        elif how == "zero":
            lab.zero(volume, 65535, 5000)
        else:
            lab.settle(volume.trim(65535, 5000, False))
        # A trim may ignore what it likes, and that was not changed.
        now = lab.read(volume, 0, SIZE)
        flags = lab.dirty(volume, "s")
        assert all(flags[at] for at in range(65535, 70535) if now[at] != ord("x"))

    def test_one_small_change_does_not_make_the_whole_disk_dirty(self, lab, volume):
        """
        Or every incremental backup would be a full one.
        """
        lab.settle(volume.write(0, b"x" * SIZE, False))
        lab.take(volume, "s")
        lab.settle(volume.write(SIZE - 512, b"y" * 512, False))
        flags = lab.dirty(volume, "s")
        assert all(flags[-512:])
        assert not any(flags[: SIZE // 2])

    @pytest.mark.parametrize("offset", [edge for edge in EDGES if edge < SIZE])
    def test_changes_start_anywhere_and_the_first_alone_can_be_had(self, lab, volume, offset):
        """
        As for extents.
        """
        lab.take(volume, "s")
        lab.settle(volume.write(4096, b"y" * 65536, False))
        whole = lab.dirty(volume, "s")
        (first,) = lab.changed(volume, "s", offset, first_only=True)
        assert set(whole[offset : offset + first.length]) == {first.dirty}
        for length in (1, SIZE - offset):
            assert lab.changed(volume, "s", offset, length)[0].dirty == first.dirty

    def test_a_reference_that_is_gone_is_a_failure_of_storage(self, lab, volume):
        """
        Neither clean nor dirty would be true.
        """
        lab.take(volume, "s")
        lab.delete(volume, "s")
        for name in ("s", "never"):
            with pytest.raises(StorageError):
                lab.settle(volume.changed(name, 0, 512, False))

    def test_nothing_that_differs_from_a_snapshot_is_clean(self, lab):
        """
        Random changes between random snapshots: copying what is dirty makes a true copy.
        """
        _compare(lab)

    # Snapshots as exports.

    def test_a_snapshot_is_what_the_volume_was(self, lab, volume):
        """
        Read-only, whatever happens to the volume behind it.
        """
        lab.settle(volume.write(1000, b"before", False))
        lab.take(volume, "s")
        lab.settle(volume.write(1000, b"behind", False))
        snapshot = lab.snapshot(volume, "s")
        assert verifyObject(IExport, snapshot)
        assert snapshot.info.read_only
        assert snapshot.info.size == SIZE
        assert lab.read(snapshot, 1000, 6) == b"before"
        assert lab.read(volume, 1000, 6) == b"behind"
        assert lab.read(snapshot, 2000, 4096) == bytes(4096)
        lab.settle(snapshot.close())

    def test_an_unknown_snapshot_is_an_unknown_export(self, lab, volume):
        """
        Also one that was deleted.
        """
        lab.take(volume, "s")
        lab.delete(volume, "s")
        for name in ("s", "never", "", "s@s"):
            with pytest.raises(UnknownExport):
                lab.snapshot(volume, name)

    def test_a_closed_snapshot_leaves_the_volume_open(self, lab, volume):
        """
        And can be opened again.
        """
        lab.take(volume, "s")
        for _ in range(2):
            snapshot = lab.snapshot(volume, "s")
            lab.settle(snapshot.close())
            with pytest.raises(Closed):
                lab.settle(snapshot.read(0, 512))
            lab.settle(volume.write(0, b"x" * 512, False))


_STEP = st.one_of(
    st.tuples(st.just("take"), st.sampled_from(["a", "b", "c"]), st.none()),
    st.tuples(st.just("write"), st.sampled_from(EDGES[:-1]), st.sampled_from([1, 512, 70000])),
    st.tuples(st.just("zero"), st.sampled_from(EDGES[:-1]), st.sampled_from([1, 4096, 200000])),
    st.tuples(st.just("trim"), st.sampled_from(EDGES[:-1]), st.sampled_from([512, 65536])),
)


def _compare(lab):
    @given(st.lists(_STEP, max_size=20), st.randoms(use_true_random=False))
    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    def run(steps, rng):
        volume = lab.settle(lab.make())
        then = {}
        for what, where, length in steps:
            if what == "take":
                if where in then:
                    lab.delete(volume, where)
                lab.take(volume, where)
                then[where] = bytes(lab.read(volume, 0, SIZE))
                continue
            length = min(length, SIZE - where)
            if what == "write":
                lab.settle(volume.write(where, rng.randbytes(length), False))
            elif what == "zero":
                lab.zero(volume, where, length)
            else:
                lab.settle(volume.trim(where, length, False))
        now = bytes(lab.read(volume, 0, SIZE))
        for name, was in then.items():
            flags = lab.dirty(volume, name)
            differ = int.from_bytes(was, "big") ^ int.from_bytes(now, "big")
            clean = bytes(0 if flag else 255 for flag in flags)
            assert not differ & int.from_bytes(clean, "big"), f"clean since {name}, yet changed"
            snapshot = lab.snapshot(volume, name)
            assert lab.read(snapshot, 0, SIZE) == was
            lab.settle(snapshot.close())
        lab.settle(volume.close())

    run()
