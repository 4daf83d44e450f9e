"""One disk on a Unix socket of its own, for as long as one command runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from gateway import unix_sockets
from gateway.errors import UnknownExport
from gateway.interfaces import IExport, IExportSource, IOffer
from gateway.nbd.limits import Limits
from gateway.nbd.server import NBDFactory
from gateway.nbd.uri import unix_uri

#: Runs a blocking function elsewhere.
InThread = Callable[..., Deferred[Any]]

#: What shells say of a program that is not there, or that cannot be run.
NOT_FOUND, NOT_RUN = 127, 126

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
    in_thread: InThread,
    command: Sequence[str],
    socket: PrivateSocket,
    environment: Mapping[str, str],
) -> int:
    """
    Run a command with our standard input and output, and wait for its end.

    Args:
        in_thread: where somebody waits: a reactor need not hear of children.
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
    status: int = await in_thread(_status, arguments, {**environment, **words})
    return status


def _status(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Blocks until the command has ended."""
    try:
        status = subprocess.call(arguments, env=environment)
    except FileNotFoundError:
        return NOT_FOUND
    except OSError:
        return NOT_RUN
    return status if status >= 0 else 128 - status


def _filled_in(word: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(f"{{{name}}}", value)
    return word
