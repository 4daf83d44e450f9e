"""The example boots a small Linux from a volume in S3, and then a clone of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.vm.gateway import Gateway
from examples.vm.guest import Guest, Missing
from examples.vm.stores import keys_of
from examples.vm.story import Story
from tests.interop.guests import PATIENCE, guest

__all__ = ["guest"]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]


def test_a_machine_boots_from_s3_and_another_from_its_clone(guest: Guest, directory: Path) -> None:
    """
    mkfs, files, fstrim, a boot from the disk, snapshot, clone, a boot from the clone.

    The same as ``python -m examples.vm --store moto``; each guest checks its files itself.
    """
    said: list[str] = []
    with keys_of("moto", "vm1", directory) as keys:
        Story(directory, Gateway(directory, keys, "512M"), guest, said.append, PATIENCE).run()
    text = "\n".join(said)
    assert "guest: Linux 6" in text
    assert text.count("with / on /dev/vda") == 2
    assert "booted from vm1-clone" in text
    assert "vm1@golden and vm1 are equal" in text
    # 490 MiB of the disk are free, and were told so.
    assert text.count("bytes trimmed") == 3
    console = (directory / "3-clone.log").read_text()
    assert "I/O error" not in console
    assert "Traceback" not in (directory / "gateway.log").read_text()


def test_a_place_that_is_taken_is_left_alone(directory: Path) -> None:
    """Installing would destroy what is there."""
    (directory / "objects" / "vm1").mkdir(parents=True)
    with (
        pytest.raises(Missing, match="vm1 is there already"),
        keys_of("directory", "vm1", directory),
    ):
        pass


def test_a_store_that_means_nothing_is_refused(directory: Path) -> None:
    """With what was expected."""
    with pytest.raises(Missing, match="got nfs, expected"):
        keys_of("nfs", "vm1", directory).__enter__()
