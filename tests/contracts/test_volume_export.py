"""The export contract, run by volumes over a store in memory."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.contracts.export_contract import SIZE, ExportContract, Lab
from tests.doubles.volumes import VolumeHost


class TestVolume(ExportContract):
    @pytest.fixture
    def lab(self):
        host = VolumeHost()

        def make():
            return host.new(SIZE)

        return Lab(make, host.go_on, lambda: host.again())


class TestCompressedAndEncrypted(ExportContract):
    @pytest.fixture
    def lab(self):
        host = VolumeHost(codec="zstd", key=bytes(range(32)))
        return Lab(lambda: host.new(SIZE), host.go_on, lambda: host.again())
