"""The contract of `IExport`, kept by a disk that another server has."""

from __future__ import annotations

import itertools

import pytest
from zope.interface import implementer

from backends.memory import MemoryExport
from gateway.errors import UnknownExport
from gateway.interfaces import IExportSource, IOffer
from tests.contracts.export_contract import SIZE, ExportContract, Lab
from tests.doubles.remote import Wire


@implementer(IOffer)
class Disk:
    """An export that outlives those who use it."""

    description = ""
    tls_only = False

    def __init__(self, name):
        self.name = name
        self._export = MemoryExport(SIZE)

    def admits(self, names):
        return True

    def open(self):
        return self._export

    def release(self):
        pass


@implementer(IExportSource)
class Disks:
    """Those that were asked for once."""

    def __init__(self):
        self._disks = {}

    def offers(self):
        return [*self._disks.values()]

    def offer(self, name):
        if not name:
            raise UnknownExport(name)
        return self._disks.setdefault(name, Disk(name))


class TestRemote(ExportContract):
    @pytest.fixture
    def lab(self):
        source = Disks()
        wires = []
        numbers = itertools.count()
        last = ""

        def connect(name):
            wires.append(Wire(source, name))
            return lab.settle(wires[-1].client.connected_to)

        def make():
            nonlocal last
            last = f"disk{next(numbers)}"
            return connect(last)

        def go_on():
            for wire in wires:
                wire.turn()

        lab = Lab(make, go_on, lambda: connect(last))
        return lab


class TestRemoteInSmallPieces(TestRemote):
    """However the network cuts what is said."""

    @pytest.fixture
    def lab(self, monkeypatch):
        source = Disks()
        wires = []
        numbers = itertools.count()

        def make():
            wires.append(Wire(source, f"disk{next(numbers)}", segment=997))
            return lab.settle(wires[-1].client.connected_to)

        def go_on():
            for wire in wires:
                wire.turn()

        lab = Lab(make, go_on)
        return lab
