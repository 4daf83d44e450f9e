"""An export that lets go of what lies under it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer
from zope.interface.verify import verifyObject

from backends.memory import MemoryExport
from backends.volume.releasing import releasing
from gateway.errors import Unavailable
from gateway.info import ExportInfo
from gateway.interfaces import IChangedBlocks, IExport


@implementer(IChangedBlocks)
class WithSnapshots:
    """Something with more than the law of exports asks for."""

    info = ExportInfo(512)
    closing = None

    def references(self):
        return ["monday"]

    def changed(self, reference, offset, length, first_only):
        return []

    def close(self):
        return self.closing


class Under:
    """Counts how often it was let go of."""

    def __init__(self):
        self.released = 0

    async def release(self):
        self.released += 1


def test_it_provides_what_the_export_provides():
    """Protocols ask for interfaces, not for classes."""
    export = releasing(MemoryExport(4096), Under().release)
    assert verifyObject(IExport, export)
    assert not IChangedBlocks.providedBy(export)
    export.write(0, b"a" * 512, False)
    assert bytes(export.read(0, 512)) == b"a" * 512
    assert export.info.size == 4096
    snapshots = releasing(WithSnapshots(), Under().release)
    assert IChangedBlocks.providedBy(snapshots)
    assert not IExport.providedBy(snapshots)
    assert snapshots.references() == ["monday"]


def test_it_provides_what_others_do_for_it():
    """What is for operators need not be a part of the disk."""
    export = releasing(MemoryExport(4096), Under().release, WithSnapshots())
    assert verifyObject(IExport, export)
    assert IChangedBlocks.providedBy(export)
    assert export.references() == ["monday"]


def test_what_is_under_it_goes_after_it():
    """Not before the export has flushed."""
    under, inner = Under(), WithSnapshots()
    inner.closing = Deferred()
    export = releasing(inner, under.release)
    closing = [export.close(), export.close()]
    assert under.released == 0
    inner.closing.callback(None)
    assert under.released == 1
    assert [one.called for one in closing] == [True, True]
    assert export.close().called
    assert under.released == 1


def test_what_is_under_it_goes_also_when_closing_fails():
    """Threads and locks do not stay behind; the first caller hears why."""
    under, inner = Under(), WithSnapshots()
    inner.closing = fail(Unavailable("no store"))
    export = releasing(inner, under.release)
    heard = []
    export.close().addErrback(heard.append)
    assert under.released == 1
    assert heard[0].check(Unavailable)
    assert export.close().called


@pytest.mark.parametrize("size", [512, 1024])
def test_its_size_is_what_the_export_says_now(size):
    """A volume may grow."""
    inner = WithSnapshots()
    export = releasing(inner, Under().release)
    inner.info = ExportInfo(size)
    assert export.info.size == size
