"""An export that fails when told."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway.interfaces import IExport
from tests.doubles.forwarded import ForwardedExport


@implementer(IExport)
class FaultyExport(ForwardedExport):
    """
    Passes calls on; fails those that `fail` announced.

    Args:
        export: does the work.
    """

    def __init__(self, export):
        self.info = export.info
        self._export = export
        self._faults = {}

    def fail(self, method, error, when="before", times=1):
        """
        Let the next calls of a method fail.

        Args:
            method: its name.
            error: what they raise.
            when: ``before`` the work is done, or ``after`` it.
            times: how many calls.
        """
        self._faults.setdefault(method, []).extend([(error, when)] * times)

    def read_into(self, offset, buffer):
        if self._faults.get("read"):
            return False
        return self._export.read_into(offset, buffer)

    def read(self, offset, length):
        return self._call("read", offset, length)

    def write(self, offset, data, fua):
        return self._call("write", offset, data, fua)

    def _call(self, method, *args):
        faults = self._faults.get(method)
        if not faults:
            return getattr(self._export, method)(*args)
        error, when = faults.pop(0)
        if when == "before":
            raise error
        result = getattr(self._export, method)(*args)
        if isinstance(result, Deferred):
            return result.addCallback(self._raise, error)
        raise error

    @staticmethod
    def _raise(_, error):
        raise error
