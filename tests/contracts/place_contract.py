"""What every `IVolumePlace` promises, whatever store the volume lies in."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from zope.interface.verify import verifyObject

from backends.volume.shared_caches import MEMORY
from gateway.errors import ExportBusy, ExportUnavailable, UnknownExport
from gateway.interfaces import IChangedBlocks, IExport, IVolume
from gateway.maintenance import IVolumeStorage, Severity

SIZE = 64 << 20


@attrs.frozen
class PlaceLab:
    """
    What the contract needs.

    Attributes:
        provider: an `IVolumeStorage`.
        place: makes the place of a volume of that name, with further keys of settings; an
            empty name is the store itself.
        settings: the same for the settings.
        settle: the result of a ``Deferred``.
    """

    provider: Any
    place: Callable[..., Any]
    settings: Callable[..., Any]
    settle: Callable[[Any], Any]


class PlaceContract:
    """Subclasses have a fixture ``lab``, a `PlaceLab` with an empty store."""

    def test_the_provider_keeps_the_law(self, lab):
        """Also that of IVolumeProvider."""
        assert verifyObject(IVolumeStorage, lab.provider)

    def test_an_empty_place_has_no_volume(self, lab):
        """And nothing is made by asking."""
        place = lab.place("vm1")
        for ask in (
            place.describe,
            lambda: place.attach(False),
            lambda: place.read(None),
            lambda: place.read("monday"),
            lambda: place.delete(lambda *what: None),
        ):
            with pytest.raises(UnknownExport):
                lab.settle(ask())
        assert [one.name for one in lab.settle(lab.place("").volumes())] == []

    def test_what_is_made_is_described_and_listed(self, lab):
        """By name, below the place that is asked."""
        made = lab.settle(lab.place("a/vm1").create(SIZE, "a disk"))
        assert (made.size, made.description, made.name) == (SIZE, "a disk", "a/vm1")
        assert (made.in_use, made.owner, made.snapshots) == (False, None, ())
        assert lab.settle(lab.place("a/vm1").describe()) == made
        lab.settle(lab.place("b").create(SIZE, ""))
        assert [one.name for one in lab.settle(lab.place("").volumes())] == ["a/vm1", "b"]
        assert lab.settle(lab.place("a").volumes()) == [made]
        with pytest.raises(ExportUnavailable, match="already"):
            lab.settle(lab.place("b").create(SIZE, ""))

    def test_who_holds_it_is_known_and_in_the_way(self, lab):
        """Until it is closed; unless it is taken over."""
        place = lab.place("vm1")
        lab.settle(place.create(SIZE, ""))
        first = lab.settle(place.attach(False))
        assert IExport.providedBy(first) and IVolume.providedBy(first)
        known = lab.settle(place.describe())
        assert known.in_use and known.owner.alive and known.owner.epoch == known.epoch
        who = f"process {known.owner.process} on {known.owner.host}"
        for ask in (
            lambda: place.attach(False),
            lambda: place.delete(lambda *what: None),
        ):
            with pytest.raises(ExportBusy, match=who):
                lab.settle(ask())
        second = lab.settle(place.attach(True))
        lab.settle(second.close())
        known = lab.settle(place.describe())
        assert (known.in_use, known.closed) == (False, True)
        lab.settle(lab.settle(place.attach(False)).close())

    def test_disk_and_snapshots_are_read_beside_whoever_holds_it(self, lab):
        """As they are in the store."""
        place = lab.place("vm1")
        lab.settle(place.create(SIZE, ""))
        volume = lab.settle(place.attach(False))
        lab.settle(volume.write(0, b"a" * 4096, True))
        lab.settle(volume.take_snapshot("monday"))
        lab.settle(volume.write(4096, b"b" * 4096, True))
        lab.settle(volume.take_snapshot("tuesday"))
        lab.settle(volume.write(8192, b"c" * 4096, True))
        for snapshot, expected in (
            (None, b"abc"),
            ("monday", b"a\0\0"),
            ("tuesday", b"ab\0"),
        ):
            export = lab.settle(place.read(snapshot))
            assert export.info.read_only
            got = bytes(lab.settle(export.read(0, 3 * 4096)))
            assert got[::4096] == expected
            if snapshot == "tuesday":
                assert IChangedBlocks.providedBy(export)
                assert export.references() == ["monday"]
                changes = lab.settle(export.changed("monday", 0, 16384, False))
                assert [one.dirty for one in changes][:2] == [False, True]
            lab.settle(export.close())
        with pytest.raises(UnknownExport, match="friday"):
            lab.settle(place.read("friday"))
        assert [one.name for one in lab.settle(place.describe()).snapshots] == ["monday", "tuesday"]
        lab.settle(volume.close())

    def test_what_is_deleted_is_gone_and_can_be_made_again(self, lab):
        """Empty."""
        place = lab.place("vm1")
        lab.settle(place.create(SIZE, ""))
        volume = lab.settle(place.attach(False))
        lab.settle(volume.write(0, b"a" * 4096, True))
        lab.settle(volume.close())
        assert lab.settle(place.delete(lambda *what: None)) > 0
        with pytest.raises(UnknownExport):
            lab.settle(place.describe())
        assert lab.settle(lab.place("").volumes()) == []
        lab.settle(place.create(SIZE, ""))
        volume = lab.settle(place.attach(False))
        assert bytes(lab.settle(volume.read(0, 4096))) == bytes(4096)
        lab.settle(volume.close())

    def test_another_key_opens_it_from_then_on(self, lab, tmp_path):
        """And the old one does not; bytes stay. A passphrase may take the place of a key."""
        for name in ("old", "new"):
            (tmp_path / name).write_text(secrets.token_hex(32))
            (tmp_path / name).chmod(0o600)
        others = dict(MEMORY._limits)
        old = lab.place("vm1", key_file=str(tmp_path / "old"))
        new = lab.place("vm1", passphrase_file=str(tmp_path / "new"))
        assert lab.settle(old.create(SIZE, "")).encrypted
        volume = lab.settle(old.attach(False))
        lab.settle(volume.write(0, b"a" * 4096, True))
        lab.settle(volume.close())
        with pytest.raises(ExportUnavailable):
            lab.settle(new.attach(False))
        changed = lab.settings("vm1", passphrase_file=str(tmp_path / "new"))
        lab.settle(old.change_keys(changed))
        with pytest.raises(ExportUnavailable):
            lab.settle(old.attach(False))
        volume = lab.settle(new.attach(False))
        assert bytes(lab.settle(volume.read(0, 4096))) == b"a" * 4096
        lab.settle(volume.close())
        assert MEMORY._limits == others, "each opening gave its memory back"

    def test_the_store_is_tried(self, lab):
        """It keeps its promises; nothing of the trial stays."""
        traits = lab.settle(lab.place("vm1").probe())
        assert [one.name for one in traits if one.needed and not one.works] == []
        assert "conditional-put" in [one.name for one in traits]
        lab.settle(lab.place("vm1").create(SIZE, ""))

    def test_it_is_proven_measured_mended_and_rebuilt(self, lab):
        """As `backends.volume.inspection` is tested in depth; here, that each tool is at hand."""
        place = lab.place("vm1")

        def told(*what):
            assert what[2] in ("bytes", "objects")

        for ask in (place.check, place.repair, place.rebuild, place.usage, place.garbage):
            with pytest.raises(UnknownExport):
                lab.settle(ask(told))
        lab.settle(place.create(SIZE, ""))
        volume = lab.settle(place.attach(False))
        lab.settle(volume.write(0, b"a" * 65536, True))
        for change in (place.repair, place.rebuild):
            with pytest.raises(ExportBusy, match="holds it open"):
                lab.settle(change(told))
        assert not lab.settle(place.check(told)).damaged
        lab.settle(volume.close())
        for ask in (place.check, place.repair, lambda tell: place.scrub(tell, 0.0)):
            assert lab.settle(ask(told)).findings == ()
        # The checkpoints that were not believed are left over.
        rebuilt = lab.settle(place.rebuild(told)).findings
        assert {one.severity for one in rebuilt} <= {Severity.LEAK}
        assert lab.settle(place.repair(told)).findings == ()
        used = lab.settle(place.usage(told))
        assert (used.size, used.data, used.live) == (SIZE, 65536, 65536)
        assert lab.settle(place.garbage(told))[0] == 0
        volume = lab.settle(place.attach(False))
        assert bytes(lab.settle(volume.read(0, 65536))) == b"a" * 65536
        lab.settle(volume.close())
