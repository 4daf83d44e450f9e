"""One disk on a Unix socket of its own, for as long as one command runs."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway import unix_sockets
from gateway.errors import UnknownExport
from gateway.interfaces import IExport, IExportSource, IOffer
from gateway.nbd.limits import Limits
from gateway.nbd.server import NBDFactory
from gateway.nbd.uri import unix_uri

#: What shells say of a program that is not there.
NOT_FOUND = 127

#: Seconds for what the command's clients left unfinished.
_GRACE = 30.0


@implementer(IOffer, IExportSource)
class OneExport:
    """
    The only export, whatever name it is asked for by, as it is the only one there can be.

    Args:
        export: open; whoever made it closes it.
    """

    description = ""
    tls_only = False

    def __init__(self, name: str, export: IExport) -> None:
        self.name = name
        self._export = export

    def offers(self) -> list[Any]:
        """As `IExportSource.offers`."""
        return [self]

    def offer(self, name: str) -> Any:
        """As `IExportSource.offer`."""
        if name not in ("", self.name):
            raise UnknownExport(name)
        return self

    def admits(self, names: frozenset[str]) -> bool:
        """Whoever reaches the socket."""
        return True

    def open(self) -> IExport:
        """As `IOffer.open`."""
        return self._export

    def release(self) -> None:
        """As `IOffer.release`."""


class PrivateSocket:
    """
    Listens in a directory that only we can enter.

    Args:
        reactor: as Twisted's.
        export: open.

    Attributes:
        path: of the socket.
        uri: of the export there.
    """

    def __init__(self, reactor: Any, name: str, export: IExport) -> None:
        self._directory = tempfile.mkdtemp(prefix="nbdgateway-")  # mode 0700
        self.path = os.path.join(self._directory, "nbd.sock")
        self.uri = unix_uri(name, self.path)
        limits = Limits(shutdown_timeout=_GRACE)
        self._factory = NBDFactory(OneExport(name, export), reactor=reactor, limits=limits)
        try:
            self._port = unix_sockets.listen(reactor, self.path, 0o600, self._factory)
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    async def close(self) -> None:
        """Let everyone finish, and leave nothing behind."""
        try:
            await self._port.stopListening()
            await self._factory.shut_down()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)


async def run(
    reactor: Any, command: Sequence[str], socket: PrivateSocket, environment: Mapping[str, str]
) -> int:
    """
    Run a command with our standard input and output.

    Args:
        command: a program and its arguments, in which ``{uri}`` and ``{socket}`` stand for the
            export; or one line for the shell, for which they are ``$uri`` and ``$socket``.
        environment: that it gets, with ``uri`` and ``socket`` besides.

    Returns:
        Its exit status as a shell would tell it.
    """
    words = {"uri": socket.uri, "socket": socket.path}
    if len(command) == 1:
        arguments = ["/bin/sh", "-c", command[0]]
    else:
        arguments = [_filled_in(word, words) for word in command]
    program = shutil.which(arguments[0], path=environment.get("PATH"))
    if program is None:
        return NOT_FOUND
    child = _Child()
    reactor.spawnProcess(
        child,
        program,
        [os.fsencode(word) for word in arguments],
        env={**environment, **words},
        childFDs={0: 0, 1: 1, 2: 2},
    )
    return await child.ended


def _filled_in(word: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(f"{{{name}}}", value)
    return word


class _Child(ProcessProtocol):
    """The command while it runs."""

    transport: IProcessTransport

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred(self._stop)

    def processEnded(self, reason: Failure) -> None:
        if self.ended.called:
            return
        ending: Any = reason.value
        if isinstance(ending, ProcessDone):
            self.ended.callback(0)
        else:
            status = ending.exitCode if ending.signal is None else 128 + ending.signal
            self.ended.callback(status)

    def _stop(self, _: object) -> None:
        self.transport.signalProcess(signal.SIGTERM.name.removeprefix("SIG"))
