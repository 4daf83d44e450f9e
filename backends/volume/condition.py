"""Whether a volume is well: the one place that remembers why it is not."""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import StorageError


class Condition:
    """
    Well until `fail`; from then on every change of the volume fails alike.

    Attributes:
        failure: what ended the volume's life as a writer; None while it is well.
    """

    def __init__(self) -> None:
        self.failure: StorageError | None = None
        self._watchers: list[Callable[[StorageError], None]] = []

    def check(self) -> None:
        """
        Raises:
            StorageError: a new one of the kind that `fail` was given.
        """
        if self.failure is not None:
            raise self.error()

    def error(self) -> StorageError:
        """A copy of the failure, so that no two requests share a traceback."""
        assert self.failure is not None
        return type(self.failure)(*self.failure.args)

    def fail(self, failure: StorageError) -> None:
        """The first failure counts; whoever watches hears of it once."""
        if self.failure is not None:
            return
        self.failure = failure
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher(failure)

    def watch(self, watcher: Callable[[StorageError], None]) -> None:
        """Call ``watcher`` when the volume fails."""
        self._watchers.append(watcher)
