"""Endpoint strings as values: where a listener listens, and who can reach it there."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Hashable
from typing import Any

import attrs

from gateway.settings import BadValue, did_you_mean, octal_mode

#: Bytes. ``sun_path`` is 108 long and ends with a NUL.
MAX_SOCKET_PATH = 107


@attrs.frozen
class Address:
    """
    Where a listener listens.

    Attributes:
        text: the Twisted endpoint string.
        kind: its first word: ``tcp``, ``tcp6``, ``unix``, ``systemd``, ...
        host: of tcp and tcp6: the interface; empty for all of them.
        port: of tcp and tcp6.
        path: of unix: the socket.
        mode: of unix: permissions, if the string has them.
        backlog: of tcp and tcp6: how many wait to be accepted; empty by default.
        family: of systemd: ``UNIX``, ``INET``, ``INET6``, or empty for any.
        name: of systemd: a ``FileDescriptorName``, or empty.
        index: of systemd: a position among the sockets, or None.
    """

    text: str
    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int | None = None
    backlog: str = ""
    family: str = ""
    name: str = ""
    index: int | None = None

    @property
    def is_local(self) -> bool:
        """
        Only this machine can connect. Of a socket that systemd made this is
        not known before it is at hand; the listener looks then.
        """
        if self.kind in ("tcp", "tcp6"):
            return is_loopback(self.host)
        return self.kind in ("unix", "systemd")

    @property
    def place(self) -> Hashable:
        """What is the same for two addresses that one socket can serve."""
        if self.kind in ("tcp", "tcp6"):
            return ("tcp", self.port, _bound(self.host))
        if self.kind == "unix":
            return ("unix", self.path)
        if self.kind == "systemd":
            return ("systemd", self.family, self.name, self.index)
        return self.text

    @property
    def is_any_port(self) -> bool:
        """Each socket gets another port."""
        return self.kind in ("tcp", "tcp6") and self.port == 0

    def overlaps(self, other: Address) -> bool:
        """Whether the kernel refuses to open one of them beside the other."""
        kinds = ("tcp", "tcp6")
        if self.kind not in kinds or other.kind not in kinds or self.is_any_port:
            return False
        mine, others = _bound(self.host), _bound(other.host)
        # An IPv6 socket for all interfaces may take IPv4 as well.
        return self.port == other.port and bool({mine, others} & {"0.0.0.0", "::"})

    def under(self, base: str) -> Address:
        """The same with a relative socket path made absolute."""
        if self.kind != "unix":
            return self
        return attrs.evolve(self, path=os.path.join(base, os.path.expanduser(self.path)))


def _bound(host: str) -> str:
    """The interface as the kernel sees it."""
    host = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def is_loopback(host: str) -> bool:
    """Whether ``host``, as an interface to bind, is only reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def path_problem(path: str) -> str | None:
    """What is wrong with ``path`` as the address of a socket, if anything."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH:
        return (
            f'got a socket path of {length} bytes "{path}", '
            f"expected at most {MAX_SOCKET_PATH}: the kernel takes no longer one"
        )
    return None


def endpoint(text: str) -> Address:
    """A Twisted endpoint string, such as tcp:10809:interface=127.0.0.1."""
    positional, named = _split(text)
    kind = positional.pop(0) if positional else ""
    if kind == "systemd":
        return _systemd(text, positional, named)
    if kind == "unix":
        return _unix(text, positional, named)
    if kind in ("tcp", "tcp6"):
        return _tcp(text, kind, positional, named)
    _check_by_twisted(text)
    return Address(text, kind)


def _tcp(text: str, kind: str, positional: list[str], named: dict[str, str]) -> Address:
    example = f"{kind}:PORT or {kind}:PORT:interface=ADDRESS"
    port = named.get("port", positional[0] if positional else "")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadValue(f"{example}, with a port below 65536")
    _only(named, {"port", "interface", "backlog"}, example)
    if len(positional) != 1 or not named.keys() <= {"interface"}:
        # Of what is more than a port and an interface, Twisted knows.
        _check_by_twisted(text)
    host = named.get("interface", "::" if kind == "tcp6" else "")
    try:
        if host not in ("", "localhost"):
            ipaddress.ip_address(host)
    except ValueError:
        raise BadValue(f"{example}, where colons of the address are written \\:") from None
    return Address(text, kind, host=host, port=int(port), backlog=named.get("backlog", ""))


def _unix(text: str, positional: list[str], named: dict[str, str]) -> Address:
    example = "unix:PATH or unix:PATH:mode=660"
    path = named.get("address", positional[0] if positional else "")
    if not path or len(positional) > 1:
        raise BadValue(example)
    # lockfile is taken and not used: a socket is ours when nothing answers on it.
    _only(named, {"address", "mode", "backlog", "lockfile"}, example)
    mode = octal_mode(named["mode"]) if "mode" in named else None
    return Address(text, "unix", path=path, mode=mode)


def _systemd(text: str, positional: list[str], named: dict[str, str]) -> Address:
    example = "systemd, systemd:UNIX:name=NAME, systemd:INET:index=0"
    _only(named, {"name", "index", "domain"}, example)
    family = named.get("domain", positional[0] if positional else "")
    index = named.get("index", positional[1] if len(positional) > 1 else None)
    if (
        family not in ("", "UNIX", "INET", "INET6")
        or (index is not None and not index.isdecimal())
        or (index is not None and "name" in named)
    ):
        raise BadValue(example)
    return Address(
        text,
        "systemd",
        family=family,
        name=named.get("name", ""),
        index=None if index is None else int(index),
    )


def _only(named: dict[str, str], known: set[str], example: str) -> None:
    for key in named:
        if key not in known:
            raise BadValue(f"{example}; {key}= is unknown{did_you_mean(key, sorted(known))}")


def _check_by_twisted(text: str) -> None:
    # With this TLS comes as well, more than all the rest that checks a configuration; few
    # addresses need it.
    from twisted.internet.endpoints import serverFromString

    unused: Any = None
    try:
        serverFromString(unused, text)
    except Exception as error:  # plugins raise what they like
        raise BadValue(f"a Twisted server endpoint such as tcp:10809 ({error})") from error


def _split(text: str) -> tuple[list[str], dict[str, str]]:
    r"""Positional and named parts; ``:`` and ``=`` lose their meaning behind ``\``."""
    positional: list[str] = []
    named: dict[str, str] = {}
    key: str | None = None
    current = ""
    characters = iter(text + ":")
    for character in characters:
        if character == "\\":
            current += next(characters)
        elif character == "=" and key is None:
            key, current = current, ""
        elif character == ":":
            if key is None:
                positional.append(current)
            else:
                named[key] = current
            key, current = None, ""
        else:
            current += character
    return positional, named
