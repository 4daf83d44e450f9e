"""
Whether a gateway greets, for a container's HEALTHCHECK: ``healthcheck.py gw.ini``.

Tries the first listener that this machine can reach; the exit status is 0 if
an NBD server answers there.
"""

from __future__ import annotations

import socket
import sys

from gateway import validation
from gateway.addresses import Address
from gateway.errors import ConfigurationError

#: Seconds.
_PATIENCE = 4.0

#: What an NBD server says first.
_GREETING = b"NBDMAGICIHAVEOPT"


def main(arguments: list[str]) -> int:
    """Say on standard error what is wrong, if anything is."""
    if len(arguments) != 1:
        sys.stderr.write("usage: healthcheck.py CONFIGURATION\n")
        return 2
    try:
        configuration = validation.load(arguments[0])
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    for listener in configuration.listeners:
        if listener.protocol == "nbd" and listener.address.kind in ("unix", "tcp"):
            try:
                with _connected(listener.address) as client:
                    said = client.recv(len(_GREETING), socket.MSG_WAITALL)
            except OSError as error:
                sys.stderr.write(f"{listener.address.text}: {error}\n")
                return 1
            if said != _GREETING:
                sys.stderr.write(f"{listener.address.text}: got {said!r}, expected an NBD server\n")
                return 1
            return 0
    sys.stderr.write("there is no listener that could be tried\n")
    return 1


def _connected(address: Address) -> socket.socket:
    if address.kind == "tcp":
        host = address.host if address.host not in ("", "0.0.0.0", "::") else "localhost"
        return socket.create_connection((host, address.port), _PATIENCE)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(_PATIENCE)
    client.connect(address.path)
    return client


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
