"""NBD URIs, as clients take them (rows U1 to U3 of the NBD URI specification)."""

from __future__ import annotations

from urllib.parse import quote

DEFAULT_PORT = 10809


def tcp_uri(name: str, host: str, port: int, *, tls: bool = False) -> str:
    """
    A URI such as ``nbd://127.0.0.1/disk``.

    Args:
        name: the export; empty for the default one.
        host: a host name or address; IPv6 without brackets.
        port: left out of the URI if it is 10809.
        tls: never in clear text.
    """
    authority = f"[{quote(host, safe=':')}]" if ":" in host else quote(host)
    if port != DEFAULT_PORT:
        authority += f":{port}"
    return f"nbd{'s' if tls else ''}://{authority}/{quote(name, safe='')}"


def unix_uri(name: str, path: str, *, tls: bool = False) -> str:
    """
    A URI such as ``nbd+unix:///disk?socket=/run/nbd.sock``.

    Args:
        name: the export; empty for the default one.
        path: of the socket; absolute.
        tls: never in clear text.
    """
    return f"nbd{'s' if tls else ''}+unix:///{quote(name, safe='')}?socket={quote(path)}"
