"""An export that remembers what it was asked."""

from __future__ import annotations

from zope.interface import implementer

from gateway.interfaces import IExport
from tests.doubles.forwarded import ForwardedExport


@implementer(IExport)
class RecordingExport(ForwardedExport):
    """
    Passes calls on and keeps them.

    Args:
        export: does the work.

    Attributes:
        calls: tuples of a method's name and its arguments, payloads as bytes,
            in the order they came; `read_into` with the buffer's length.
    """

    def __init__(self, export):
        self.info = export.info
        self.calls = []
        self._export = export

    def read_into(self, offset, buffer):
        self.calls.append(("read_into", offset, len(buffer)))
        return self._export.read_into(offset, buffer)

    def read(self, offset, length):
        return self._call("read", offset, length)

    def write(self, offset, data, fua):
        self.calls.append(("write", offset, bytes(data), fua))
        return self._export.write(offset, data, fua)

    def _call(self, method, *args):
        self.calls.append((method, *args))
        return getattr(self._export, method)(*args)
