"""Unix sockets that appear with their permissions, replace only dead ones, and leave nothing."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, maybeDeferred

from gateway.addresses import path_problem

#: Connections waiting to be accepted, as many as one listener admits. A client
#: that finds no place is turned away at once, where TCP would try again.
_BACKLOG = 1024


def listen(reactor: Any, path: str, mode: int, factory: Any) -> OwnPort:
    """
    Listen on a new Unix socket.

    Args:
        path: absolute. A socket there is replaced if nothing listens on it.
        mode: permissions; nobody can connect before they are set.

    Raises:
        OSError: with the reason.
    """
    problem = path_problem(path)
    if problem is not None:
        raise OSError(problem)
    remove_stale(path)
    port = OwnPort(os.fsencode(path), factory, _BACKLOG, mode, reactor)
    # Binds, sets permissions, then listens, in this order.
    unix.Port.startListening(port)
    port.created()
    return port


def remove_stale(path: str) -> None:
    """
    Remove a socket that a process left behind.

    Raises:
        OSError: something listens on it, or it is not a socket.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A listener whose queue is full answers EAGAIN to this, not a wait.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
    raise OSError(f"{path}: another process listens on it")


class AdoptedPort(unix.Port):
    """
    A listening Unix socket that somebody else made.

    Twisted's own port would give everyone access to the socket when it starts
    and remove it when it stops; both are the maker's to decide.
    """

    @classmethod
    def adopt(cls, reactor: Any, descriptor: int, factory: Any) -> AdoptedPort:
        """Start accepting on ``descriptor``, of which this keeps a duplicate."""
        port = cls(b"", factory, reactor=reactor)
        port._preexistingSocket = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
        # An abstract name to Twisted: one without a file to chmod or unlink.
        port._bindPath = b"\0"
        unix.Port.startListening(port)
        return port

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)


class OwnPort(unix.Port):
    """A listening Unix socket that removes its own file, and no other, when it stops."""

    _made: tuple[int, int] | None = None

    def created(self) -> None:
        """Remember which file it is."""
        found = os.stat(self._bindPath)
        self._made = (found.st_dev, found.st_ino)

    def change_mode(self, mode: int) -> None:
        """
        Set other permissions; connections are not affected.

        Raises:
            OSError: the file is gone, or another one.
        """
        found = os.lstat(self._bindPath)
        if (found.st_dev, found.st_ino) != self._made:
            raise OSError(f"{os.fsdecode(self._bindPath)} is another socket by now")
        os.chmod(self._bindPath, mode)

    def stopListening(self, *reason: Any) -> Deferred[None]:
        # Now rather than when the reactor closes the socket: nobody who looks
        # for it from here on is refused.
        self._remove()
        return maybeDeferred(super().stopListening, *reason)

    def connectionLost(self, reason: Any) -> None:
        self._remove()
        tcp.Port.connectionLost(self, reason)

    def _remove(self) -> None:
        try:
            found = os.lstat(self._bindPath)
            if (found.st_dev, found.st_ino) == self._made:
                os.unlink(self._bindPath)
        except FileNotFoundError:
            pass
