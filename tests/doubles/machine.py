"""A machine that opens exports with real threads and files, and turns when the test says so."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from gateway.interfaces import Resources
from gateway.settings import read
from gateway.threads import StorageThreads
from tests.doubles.pump import Pump


class Machine:
    """
    Lends providers what the gateway would.

    Args:
        directory: of its files, and where relative paths start.
    """

    def __init__(self, directory):
        self.directory = directory
        self.pump = Pump()
        self._pool = StorageThreads(0, 4, "machine")
        self._pool.start()
        self.resources = Resources(
            self.pump, self._call_in_thread, str(directory / "nbdgateway-state")
        )

    def settings(self, provider, name="vm1", **keys):
        """As if the section ``[export:NAME]`` had these keys; texts."""
        settings, problems = read(provider.settings, keys, str(self.directory), str, name)
        assert problems == []
        return settings

    def open(self, provider, settings, read_only=False, name="vm1"):
        """The export; what stands in the way is raised."""
        assert provider.problems(settings, read_only) == []
        return self.settle(provider.open_export(name, settings, read_only, self.resources))

    def settle(self, result):
        """The answer, also if it comes later; failures are raised."""
        if not isinstance(result, Deferred):
            return result
        answers = []
        result.addBoth(answers.append)
        while not answers:
            self.pump.turn()
        (answer,) = answers
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer

    def stop(self):
        """End its threads."""
        self._pool.stop()

    def _call_in_thread(self, function, *args):
        return deferToThreadPool(self.pump, self._pool, function, *args)
