"""
What systemd is told about the process, by the protocol of sd_notify(3).

`NotifySocket` speaks it, `Supervised` decides what to say and when. Without
``NOTIFY_SOCKET`` everything is said to nobody.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

#: Seconds between two looks at what goes on.
_BEAT = 1.0

#: Seconds by which a start or a stop that goes on is put off being given up, with each look.
_MORE_TIME = 30


class Progress(Protocol):
    """What there is to say about a gateway; asked each second."""

    def starting(self) -> str:
        """While exports are opened."""

    def serving(self) -> str:
        """From then on."""

    def stopping(self) -> str:
        """From the moment it was asked to."""


@attrs.frozen
class NotifySocket:
    """
    The way to the service manager.

    Attributes:
        address: of ``NOTIFY_SOCKET``; empty where nobody listens. ``@`` at the
            beginning stands for the abstract namespace.
        watchdog: seconds within which it wants to hear from us; 0 if it does not.
    """

    address: str = ""
    watchdog: float = 0.0

    _log = Logger()

    @classmethod
    def take(cls, environment: MutableMapping[str, str], pid: int) -> NotifySocket:
        """
        From the environment, which no child should take for its own: the variables go.

        Args:
            pid: of this process; a watchdog may be meant for another one.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        for_whom = environment.pop("WATCHDOG_PID", "") or str(pid)
        if address and address[0] not in "/@":
            cls._log.warn(
                "NOTIFY_SOCKET: got {address}, expected a path or a name that begins with @; "
                "nobody is told when the gateway is ready",
                address=address,
            )
            return cls()
        watched = microseconds.isdecimal() and for_whom == str(pid)
        return cls(address, int(microseconds) / 1e6 if address and watched else 0.0)

    def send(self, *assignments: str) -> bool:
        """
        Send ``KEY=VALUE`` lines as one message.

        Returns:
            Whether there is no reason to try again: the other side's queue was not full.
        """
        if not self.address:
            return True
        address = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as out:
            try:
                out.sendto("\n".join(assignments).encode(), address)
            except BlockingIOError:
                return False
            except OSError as error:
                # A service manager that is gone is no reason to end.
                self._log.debug("NOTIFY_SOCKET: {reason}", reason=str(error))
        return True


class Supervised:
    """
    Tells the service manager how the gateway gets on.

    Args:
        reactor: for time; that it turns is what the watchdog is told.
        way: to the service manager.
        progress: what there is to say.
        monotonic: the clock of ``MONOTONIC_USEC``, in nanoseconds.
    """

    def __init__(
        self,
        reactor: Any,
        way: NotifySocket,
        progress: Progress,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._reactor = reactor
        self._way = way
        self._describe = progress.starting
        self._progress = progress
        self._monotonic = monotonic
        self._call: Any = None
        #: What comes with the next message; kept while the other side's queue is full.
        self._due: list[str] = []
        self._said = ""
        self._waits = False
        self._fed = 0.0

    def started(self) -> None:
        """The gateway begins to open its exports: that may take longer than was thought."""
        self._waits = True
        self._fed = self._reactor.seconds()
        self._beat()

    def ready(self) -> None:
        """Exports were tried and listeners are open; also: a reload is over."""
        self._change("READY=1", self._progress.serving, waits=False)

    def reloading(self) -> None:
        """Until `ready`."""
        stamp = f"MONOTONIC_USEC={self._monotonic() // 1000}"
        self._change(f"RELOADING=1\n{stamp}", lambda: "reloading", waits=True)

    def stopping(self) -> None:
        """What was answered is made durable; that may take longer than was thought."""
        self._change("STOPPING=1", self._progress.stopping, waits=True)

    def stopped(self) -> None:
        """Nothing more will be said."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _change(self, assignment: str, describe: Callable[[], str], *, waits: bool) -> None:
        if self._call is None:  # nobody listens, or the end was said
            return
        self._due.append(assignment)
        self._describe = describe
        self._waits = waits
        self._beat()

    def _beat(self) -> None:
        if not self._way.address:
            return
        self.stopped()
        now, half = self._reactor.seconds(), self._way.watchdog / 2
        status = " ".join(self._describe().split())
        message = self._due[:]
        if status != self._said or message:
            message.append(f"STATUS={status}")
        if self._waits:
            message.append(f"EXTEND_TIMEOUT_USEC={_MORE_TIME * 1_000_000}")
        fed = half and now - self._fed >= half - _BEAT / 2
        if fed:
            message.append("WATCHDOG=1")
        if message and self._way.send(*message):
            self._due.clear()
            self._said = status
            if fed:
                self._fed = now
        self._call = self._reactor.callLater(min(_BEAT, half or _BEAT), self._beat)


def way_of_this_process() -> NotifySocket:
    """From the real environment."""
    return NotifySocket.take(os.environ, os.getpid())
