"""A body that is made while it is sent, no faster than the client takes it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.http.answers import is_gone

#: Seconds in which a client has to take something of an answer.
STALLED = 300.0


@implementer(IPushProducer)
class Body:
    """
    Where to write a long body.

    Args:
        request: whose headers are set; it is ended by `finish` or `abort`.
        reactor: as Twisted's. A client that takes nothing for `STALLED` is cut off.
    """

    def __init__(self, request: Any, reactor: Any) -> None:
        self._request = request
        self._reactor = reactor
        self._paused = False
        self._gone = is_gone(request)
        self._waiting: Deferred[None] | None = None
        if self._gone:
            return
        request.notifyFinish().addBoth(self._finished)
        request.registerProducer(self, True)

    async def write(self, data: bytes) -> None:
        """
        Send some of it, when the client takes it.

        Raises:
            ConnectionLost: it is gone.
        """
        await self.room()
        self._request.write(data)

    async def room(self) -> None:
        """
        Wait until the client takes more.

        Raises:
            ConnectionLost: it is gone.
        """
        if self._gone:
            raise ConnectionLost
        if self._paused:
            self._waiting = Deferred()
            stalled = self._reactor.callLater(STALLED, self._cut_off)
            try:
                await self._waiting
            finally:
                if stalled.active():
                    stalled.cancel()

    def finish(self) -> None:
        """All of it was written."""
        if not self._gone:
            self._request.unregisterProducer()
            self._request.finish()

    def abort(self) -> None:
        """The rest cannot be had: cut the connection, so that nobody takes a part for the whole."""
        if not self._gone:
            self._request.unregisterProducer()
            self._request.channel.forceAbortClient()

    def _cut_off(self) -> None:
        self._request.channel.forceAbortClient()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._wake(None)

    def stopProducing(self) -> None:
        self._gone = True
        self._wake(Failure(ConnectionLost()))

    def _finished(self, _: object) -> None:
        self.stopProducing()

    def _wake(self, result: Any) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(result)
