"""
A server in a process of its own, for tests over real sockets.

Serves `tests.protocol.exports` on a Unix socket and on a TCP port, says on
standard output which ones, and stops when standard input ends or on SIGTERM.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import FileLogObserver, formatEvent, globalLogBeginner

from gateway.nbd.limits import Limits
from gateway.nbd.server import NBDFactory
from gateway.nbd.tls import ServerTLS
from tests.protocol.exports import TestSource

reactor: Any = _reactor


class Orders(Protocol):
    """Standard input: its end is the order to stop."""

    def __init__(self, factory: NBDFactory) -> None:
        self._factory = factory

    def connectionLost(self, reason: Any = None) -> None:
        stopped: Deferred[None] = self._factory.shut_down()
        stopped.addBoth(lambda _: reactor.stop() if reactor.running else None)


def main() -> None:
    """
    Serve; the argument is a JSON object.

    ``unix``: a path. ``pki``: a directory of certificates; without it no TLS.
    ``files``: a directory for exports of the kind ``file``.
    ``tls``: off, allow or require. ``limits``: fields of `Limits`.
    """
    settings = json.loads(sys.argv[1])
    log = FileLogObserver(sys.stderr, _failures)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    tls = None
    if "pki" in settings:
        pki = settings["pki"]
        names = ("server-cert.pem", "server-key.pem", "ca-cert.pem", "ca-crl.pem")
        cert, key, ca, crl = (f"{pki}/{name}" for name in names)
        tls = ServerTLS.x509(cert, key, *((ca, crl) if settings.get("ask") else ()))
    factory = NBDFactory(
        TestSource(reactor, settings.get("files")),
        reactor=reactor,
        tls=tls,
        tls_mode=settings.get("tls", "off"),
        limits=Limits(**settings.get("limits", {})),
    )
    reactor.listenUNIX(settings["unix"], factory, backlog=1024)
    port = reactor.listenTCP(0, factory, backlog=1024, interface="127.0.0.1")
    StandardIO(Orders(factory))
    sys.stdout.write(f"{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


def _failures(event: Any) -> str | None:
    """Only failures are written: a test looks at standard error for them."""
    failure = event.get("log_failure")
    if failure is None:
        return None
    return f"{formatEvent(event)}\n{failure.getTraceback()}\n"


if __name__ == "__main__":
    main()
