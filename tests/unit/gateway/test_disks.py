"""Disks are told from others of the same name."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred

from gateway import disks
from gateway.info import MIB
from gateway.interfaces import Resources
from tests.doubles.disks import loop_device


def opened(opening: Any) -> dict[str, Any]:
    """What tells a disk from others; it is closed again."""
    found: list[Any] = []
    Deferred.fromCoroutine(opening).addBoth(found.append)
    (disk,) = found
    assert isinstance(disk, disks.Disk), disk
    Deferred.fromCoroutine(disk.close())
    return disk.identity


@pytest.fixture
def resources(tmp_path: Any) -> Resources:
    """Without threads."""
    return Resources(reactor, maybeDeferred, str(tmp_path / "state"))


def test_a_device_is_told_by_its_number_and_size(tmp_path: Any, resources: Resources) -> None:
    """As a source and as a target: names of devices are given anew at every boot."""
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 4 * MIB)
    with loop_device(str(image)) as device:
        number = subprocess.run(
            ["lsblk", "-no", "MAJ:MIN", device], capture_output=True, text=True, check=True
        ).stdout.strip()
        told = {"number": number, "size": 4 * MIB}
        target = opened(disks.target(device, 4 * MIB, resources))
        assert target == {"device": device, **told}
        source = opened(disks.source(device, None, resources))
        assert told.items() <= source.items()
