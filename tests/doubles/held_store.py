"""A store that does its work when the test says, in any order."""

from __future__ import annotations

from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from backends.objects.contract import IObjectStore
from tests.doubles.forwarded import ForwardedStore


@implementer(IObjectStore)
class HeldStore(ForwardedStore):
    """
    Args:
        store: an `IObjectStore` that answers at once.

    Attributes:
        held: requests that were not answered yet, as verb, key or keys, and a Deferred.
        calls: verb and first argument of every request so far.
        holds: verbs that wait; the others are done at once.
    """

    def __init__(self, store, holds=("put",)):
        self._store = store
        self.holds = set(holds)
        self.held = []
        self.calls = []
        self.bodies = []

    def _call(self, verb, *args):
        self.calls.append((verb, args[0] if args else None))
        if verb == "put":
            self.bodies.append((args[0], b"".join(args[1])))

        def work(_=None):
            return getattr(self._store, verb)(*args)

        if verb not in self.holds:
            return work()
        told = Deferred()
        self.held.append((verb, args[0], told))
        return told.addCallback(work)

    def answer(self, number=0, error=None):
        """Do a request that is held, or let it fail without having done it."""
        _, _, told = self.held.pop(number)
        if error is None:
            told.callback(None)
        else:
            told.errback(error)

    def answer_all(self):
        """Until nothing is held any more."""
        while self.held:
            self.answer()

    def keys(self):
        """Of requests that are held."""
        return [key for _, key, _ in self.held]

    def describe(self):
        return "held"

    def close(self):
        return execute(lambda: None)
