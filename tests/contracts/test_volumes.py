"""The contracts of exports with snapshots, run by every volume and every double of one."""

from __future__ import annotations

import pytest

from tests.contracts.export_contract import SIZE, ExportContract, Lab
from tests.contracts.volume_contract import VolumeContract, VolumeLab
from tests.doubles.volume import Volume
from tests.doubles.volumes import VolumeHost


class TestDouble(VolumeContract):
    @pytest.fixture
    def lab(self):
        return VolumeLab(lambda: Volume(SIZE), Volume.take_snapshot, Volume.delete_snapshot)


class TestDoubleAsAnExport(ExportContract):
    @pytest.fixture
    def lab(self):
        return Lab(lambda: Volume(SIZE))


class TestVolume(VolumeContract):
    @pytest.fixture
    def lab(self):
        host = VolumeHost()
        return VolumeLab(
            lambda: host.new(SIZE),
            lambda volume, name: host.settle(volume.snapshots.take(name)),
            lambda volume, name: host.settle(volume.snapshots.delete(name)),
            host.go_on,
        )


class TestVolumeAsAnExport(ExportContract):
    @pytest.fixture
    def lab(self):
        host = VolumeHost()
        return Lab(lambda: host.new(SIZE), host.go_on, host.again)


class TestCompressedAndEncryptedVolume(ExportContract):
    @pytest.fixture
    def lab(self):
        host = VolumeHost(codec="zstd", key=bytes(range(32)))
        return Lab(lambda: host.new(SIZE), host.go_on, host.again)
