"""An export that never answers now: results come later, in a scrambled order."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from gateway.errors import Closed, NotFast
from gateway.interfaces import IExport


@implementer(IExport)
class AlwaysLater:
    """
    Holds each result of another export back for a random while.

    Args:
        export: what does the work, at once.
        clock: a `task.Clock`; results come as it is advanced.
        seed: of the order.
    """

    #: Seconds within which every result has come.
    LONGEST = 1.0

    def __init__(self, export, clock, seed=0):
        self.info = export.info
        self._export = export
        self._clock = clock
        self._random = random.Random(seed)

    def read_into(self, offset, buffer):
        if not len(buffer):
            return self._export.read_into(offset, buffer)  # raises if the export is closed
        self._export.read_into(offset, buffer[:0])
        return False

    def read(self, offset, length):
        return self._later(self._export.read, offset, length)

    def write(self, offset, data, fua):
        return self._later(self._export.write, offset, data, fua)

    def write_zeroes(self, offset, length, may_trim, fua, fast):
        return self._later(self._export.write_zeroes, offset, length, may_trim, fua, fast)

    def trim(self, offset, length, fua):
        return self._later(self._export.trim, offset, length, fua)

    def flush(self):
        return self._later(self._export.flush)

    def extents(self, offset, length, first_only):
        return self._later(self._export.extents, offset, length, first_only)

    def cache(self, offset, length):
        return self._later(self._export.cache, offset, length)

    def close(self):
        return self._later(self._export.close)

    def _later(self, call, *args):
        done = maybeDeferred(call, *args)
        now = []
        done.addErrback(
            lambda failure: now.append(failure) if self._is_for_now(failure) else failure
        )
        if now:
            now[0].raiseException()
        answer = Deferred()
        delay = self._random.uniform(0, self.LONGEST)
        done.addBoth(lambda result: self._clock.callLater(delay, answer.callback, result))
        return answer

    def _is_for_now(self, failure):
        """A refusal to zero fast may not come later; that the export is closed need not."""
        return failure.check(NotFast, Closed) is not None
