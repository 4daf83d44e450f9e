"""Listening sockets that the process was started with, as systemd and libnbd hand them over."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import MutableMapping, Set

import attrs

from gateway.addresses import Address, is_loopback

#: The first descriptor handed over, by definition of the protocol.
FIRST = 3

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_FAMILIES = {
    "UNIX": socket.AF_UNIX,
    "INET": socket.AF_INET,
    "INET6": socket.AF_INET6,
}


class ActivationError(Exception):
    """What was handed over is not what it should be; the text says why."""


@attrs.frozen
class Inherited:
    """
    A listening stream socket that was handed over.

    Attributes:
        family: ``UNIX``, ``INET`` or ``INET6``.
        name: its ``FileDescriptorName``; empty if there is none.
        is_local: only this machine can connect.
    """

    descriptor: int
    family: str
    name: str
    is_local: bool


def take(
    environment: MutableMapping[str, str], pid: int, first: int = FIRST
) -> tuple[Inherited, ...]:
    """
    The sockets handed over to this process, if any, made ready for use.

    Takes the variables out of ``environment``, so that no child believes the
    sockets were meant for it.

    Raises:
        ActivationError: a descriptor is missing or is not a listening socket.
    """
    values = {name: environment.pop(name, "") for name in _VARIABLES}
    count = values["LISTEN_FDS"]
    if values["LISTEN_PID"] != str(pid) or not count.isdecimal() or int(count) < 1:
        return ()
    names = values["LISTEN_FDNAMES"].split(":") if values["LISTEN_FDNAMES"] else []
    names += [""] * (int(count) - len(names))
    return tuple(_inspect(first + index, names[index]) for index in range(int(count)))


def started_with() -> MutableMapping[str, str]:
    """
    The environment to `take` from.

    It is the real one unless Twisted has been there before: importing
    ``twisted.internet.endpoints`` takes the variables, and forgets sockets
    without names, which are all that libnbd sends. Then it is what the kernel
    still knows of how this process was started.
    """
    if "LISTEN_PID" in os.environ:
        return os.environ
    os.environ.pop("LISTEN_FDNAMES", None)
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return os.environ
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def choose(address: Address, inherited: tuple[Inherited, ...], taken: Set[int]) -> list[Inherited]:
    """
    The sockets that a ``systemd`` endpoint means.

    Args:
        taken: descriptors that have a listener already, or had one.

    Raises:
        ActivationError: there is none.
    """
    if not inherited:
        raise ActivationError(
            f"{address.text}: no sockets were handed over to this process (LISTEN_FDS)"
        )
    if address.index is not None:
        chosen = list(inherited[address.index : address.index + 1])
    elif address.name:
        chosen = [found for found in inherited if found.name == address.name]
    else:
        chosen = list(inherited)
    if address.family:
        chosen = [found for found in chosen if found.family == address.family]
    if not chosen:
        have = ", ".join(f"{found.family}:name={found.name}" for found in inherited)
        raise ActivationError(f"{address.text}: no such socket was handed over, got {have}")
    chosen = [found for found in chosen if found.descriptor not in taken]
    if not chosen:
        raise ActivationError(
            f"{address.text}: a listener has that socket, or had it; a restart makes it free"
        )
    return chosen


def _inspect(descriptor: int, name: str) -> Inherited:
    try:
        # Of a duplicate: closing this object closes nothing that is needed.
        with socket.socket(fileno=os.dup(descriptor)) as found:
            family = next(
                (name for name, number in _FAMILIES.items() if number == found.family), ""
            )
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if found.type != socket.SOCK_STREAM or not family or not listens:
                raise ActivationError(
                    f"LISTEN_FDS: descriptor {descriptor} is not a listening stream socket "
                    "for UNIX, INET or INET6"
                )
            is_local = family == "UNIX" or is_loopback(found.getsockname()[0])
    except OSError as error:
        raise ActivationError(
            f"LISTEN_FDS: descriptor {descriptor} is not a socket: {error.strerror}"
        ) from error
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFD)
    fcntl.fcntl(descriptor, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
    os.set_blocking(descriptor, False)
    return Inherited(descriptor, family, name, is_local)
