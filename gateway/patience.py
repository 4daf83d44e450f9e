"""Waiting that has an end: after some time, or when somebody has had enough."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure


class Patience:
    """Waits for one result after the other, until it is told to give up on all."""

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: Deferred[bool] | None = None
        self._is_over = False

    def wait(self, result: Deferred[Any], seconds: float) -> Deferred[bool]:
        """
        Answers whether ``result`` came within ``seconds``. A failure counts
        as one, and is logged; ``result`` is not canceled.
        """
        waiting: Deferred[bool] = Deferred()
        call = self._reactor.callLater(seconds, _answer, waiting, False)

        def answered(value: bool) -> bool:
            if call.active():
                call.cancel()
            return value

        waiting.addCallback(answered)
        result.addErrback(self._failed).addCallback(lambda _: _answer(waiting, True))
        self._waiting = waiting
        if self._is_over:
            _answer(waiting, False)
        return waiting

    def end(self) -> None:
        """From now on only what is there at once is there in time."""
        self._is_over = True
        if self._waiting is not None:
            _answer(self._waiting, False)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("stopping was not clean", failure=failure)


def _answer(waiting: Deferred[bool], value: bool) -> None:
    if not waiting.called:
        waiting.callback(value)
