"""Stores that fail when told; otherwise they do what another store does."""

from __future__ import annotations

import threading

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from backends.objects.contract import IBlockingStore, IObjectStore
from tests.doubles.forwarded import ForwardedStore


class _Script(ForwardedStore):
    """What is to happen to the next requests of each kind, in turn."""

    def __init__(self, store):
        self.calls = []
        self._store = store
        self._steps = {}

    def fail(self, verb, error, when="before", times=1):
        """
        Let the next requests fail.

        Args:
            verb: ``put``, ``get``, ``head``, ``list`` or ``delete``.
            error: what they raise: `Transient`, `Garbled`, `Refused`, anything.
            when: ``before`` the work is done, or ``after`` it took effect.
            times: how many requests.
        """
        assert when in ("before", "after")
        self._add(verb, *[(when, error)] * times)

    def let_pass(self, verb, times=1):
        """Let the next requests alone, for faults that come later."""
        self._add(verb, *[("never", None)] * times)

    def _add(self, verb, *steps):
        self._steps.setdefault(verb, []).extend(steps)

    def _next(self, verb, *args):
        self.calls.append((verb, *args))
        steps = self._steps.get(verb)
        return steps.pop(0) if steps else ("never", None)

    def describe(self):
        return self._store.describe()


@implementer(IObjectStore)
class FaultyStore(_Script):
    """
    Args:
        store: an `IObjectStore`.

    Attributes:
        calls: tuples of verb and arguments, in the order they came.
    """

    def hold(self, verb, when="before"):
        """
        Let the next request wait, ``before`` or ``after`` the work is done.

        Returns:
            A Deferred: fire it to let the request go on, fail it to fail the request.
        """
        told = Deferred()
        self._add(verb, (f"hold {when}", told))
        return told

    def close(self):
        return self._call("close")

    def _call(self, verb, *args):
        def work(_=None):
            return getattr(self._store, verb)(*args)

        when, what = self._next(verb, *args)
        if when == "before":
            return fail(what)
        if when == "after":
            return work().addCallback(lambda _: fail(what))
        if when == "hold before":
            return what.addCallback(work)
        if when == "hold after":
            return work().addCallback(lambda result: what.addCallback(lambda _: result))
        return work()


@implementer(IBlockingStore)
class FaultyBlockingStore(_Script):
    """
    The same for a thread.

    Args:
        store: an `IBlockingStore`.
    """

    def hold(self, verb, when="before"):
        """
        Let the thread of the next request be stuck, ``before`` or ``after`` the work is done.

        Returns:
            A tuple of `threading.Event`: the first is set when the thread has
            come there; set the second to let it go on.
        """
        come, told = threading.Event(), threading.Event()
        self._add(verb, (f"hold {when}", (come, told)))
        return come, told

    def close(self):
        return self._call("close")

    def _call(self, verb, *args):
        when, what = self._next(verb, *args)
        if when == "before":
            raise what
        if when == "hold before":
            _be_stuck(*what)
        result = getattr(self._store, verb)(*args)
        if when == "after":
            raise what
        if when == "hold after":
            _be_stuck(*what)
        return result


def _be_stuck(come, told):
    come.set()
    assert told.wait(60), "nobody let the request go on"
