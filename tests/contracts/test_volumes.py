"""The contracts of exports with snapshots, run by every volume and every double of one."""

from __future__ import annotations

import pytest

from tests.contracts.export_contract import SIZE, ExportContract, Lab
from tests.contracts.volume_contract import VolumeContract, VolumeLab
from tests.doubles.volume import Volume


class TestDouble(VolumeContract):
    @pytest.fixture
    def lab(self):
        return VolumeLab(lambda: Volume(SIZE), Volume.take_snapshot, Volume.delete_snapshot)


class TestDoubleAsAnExport(ExportContract):
    @pytest.fixture
    def lab(self):
        return Lab(lambda: Volume(SIZE))
