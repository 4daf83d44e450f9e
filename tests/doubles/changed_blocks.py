"""An export that knows which of its sectors were changed since points in time."""

from __future__ import annotations

from zope.interface import implementer

from gateway.errors import Unavailable
from gateway.info import Change
from gateway.interfaces import IChangedBlocks, IExport

SECTOR = 512


@implementer(IExport, IChangedBlocks)
class ChangedBlocks:
    """
    Passes calls on and notes what they change.

    Args:
        export: does the work.
        references: the points in time known from the start.

    Attributes:
        asked: the arguments of every call of `changed`.
    """

    def __init__(self, export, references=()):
        self.info = export.info
        self.asked = []
        self._export = export
        #: Of each reference the first sectors and ends of what was changed, in order.
        self._dirty = {reference: [] for reference in references}

    def __getattr__(self, name):
        if name.startswith("__"):  # what it provides is not what that one provides
            raise AttributeError(name)
        return getattr(self._export, name)

    def remember(self, reference):
        """From now on changes since this moment are known under that name."""
        self._dirty[reference] = []

    def forget(self, reference):
        """A snapshot is deleted."""
        del self._dirty[reference]

    def references(self):
        return list(self._dirty)

    def changed(self, reference, offset, length, first_only):
        self.asked.append((reference, offset, length, first_only))
        if reference not in self._dirty:
            raise Unavailable(f'"{reference}" is no longer a snapshot of this volume')
        changes = []
        end = min(offset + length, self.info.size)
        position = offset
        for start, stop in [*self._dirty[reference], (end, end)]:
            start, stop = min(start, end), min(stop, end)
            if start > position:
                changes.append(Change(start - position, False))
                position = start
            if stop > position:
                changes.append(Change(stop - position, True))
                position = stop
        return changes[:1] if first_only else changes

    def write(self, offset, data, fua):
        self._note(offset, len(data))
        return self._export.write(offset, data, fua)

    def write_zeroes(self, offset, length, may_trim, fua, fast):
        self._note(offset, length)
        return self._export.write_zeroes(offset, length, may_trim, fua, fast)

    def trim(self, offset, length, fua):
        self._note(offset, length)
        return self._export.trim(offset, length, fua)

    def _note(self, offset, length):
        """Whole sectors, merged with what they touch."""
        start, stop = offset // SECTOR * SECTOR, -(-(offset + length) // SECTOR) * SECTOR
        for reference, runs in self._dirty.items():
            apart = [run for run in runs if run[1] < start or run[0] > stop]
            touched = [run for run in runs if not (run[1] < start or run[0] > stop)]
            merged = (
                min([start, *(run[0] for run in touched)]),
                max([stop, *(run[1] for run in touched)]),
            )
            self._dirty[reference] = sorted([*apart, merged])
