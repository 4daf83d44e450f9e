"""The socket for operators: there while a gateway serves volumes."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from gateway import unix_sockets
from gateway.admin.operations import Operations
from gateway.admin.resource import AdminSite
from gateway.admin.wire import SOCKET


class AdminSocket:
    """
    Listens for operators in ``state_dir``, where only the gateway's own user reaches it.

    Clients go first: without the socket, as another gateway has it or there
    is no place for it, everything is served all the same.

    Args:
        reactor: as Twisted's.
        state_dir: absolute; made if it is missing.
        operations: what they may do.
    """

    _log = Logger()

    def __init__(self, reactor: Any, state_dir: str, operations: Operations) -> None:
        self._reactor = reactor
        self._path = os.path.join(state_dir, SOCKET)
        self._operations = operations
        self._port: unix_sockets.OwnPort | None = None

    def listen(self) -> None:
        """Listen, if that is not so yet; what stands against it is logged."""
        if self._port is not None:
            return
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            self._port = unix_sockets.listen(
                self._reactor, self._path, 0o600, AdminSite(self._operations, self._reactor)
            )
        except (OSError, CannotListenError) as error:
            self._log.error("no socket for operators: {reason}", reason=str(error))
        else:
            self._log.info("operators reach the gateway at {path}", path=self._path)

    def stop(self) -> Deferred[None]:
        """Listen no more; requests under way go on."""
        port, self._port = self._port, None
        return succeed(None) if port is None else port.stopListening()
