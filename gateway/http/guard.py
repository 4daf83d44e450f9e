"""
Who may ask for what: hosts and origins, tokens, and the headers that bind browsers.

A page of a foreign site must learn nothing from a gateway on the visitor's
loopback interface. Such a page can send requests but for DNS rebinding reads
no answers, as there is no CORS here; after rebinding its own name stands in
``Host``, and that is refused. Where a token is asked for, such a page has
none, and the gateway may be called by any name.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.address import UNIXAddress

from gateway.http.answers import Refusal

#: Methods that change nothing.
SAFE = ("GET", "HEAD")

#: What needs no token: monitors ask, and nothing is in it.
OPEN_PATHS = (b"/healthz", b"/readyz")

_HEADERS = {
    b"server": b"nbdgateway",
    b"content-security-policy": b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    b"form-action 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


@attrs.frozen
class Guard:
    """
    Lets requests in or not.

    Attributes:
        token: what ``Authorization: Bearer`` has to say; None if there is none.
            Clients on a Unix socket need none: the socket's mode has let them in.
        hosts: names by which this listener may be called without a token, beside addresses.
        open_paths: paths that need no token.
    """

    token: bytes | None = attrs.field(default=None, repr=False)
    hosts: frozenset[str] = frozenset({"localhost"})
    open_paths: frozenset[bytes] = frozenset(OPEN_PATHS)

    def admit(self, request: Any) -> None:
        """
        Set the headers that every answer has.

        Raises:
            Refusal: the request goes no further.
        """
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        local = isinstance(request.getHost(), UNIXAddress)
        if not local:
            self._check_names(request)
        if self.token is not None and not local and request.path not in self.open_paths:
            self._check_token(request, self.token)
        if request.method.decode("latin-1") in SAFE:
            return
        if self.token is None and not local:
            raise Refusal(
                403, "forbidden", "changes need a listener with token_file, or on a Unix socket"
            )

    def _check_token(self, request: Any, token: bytes) -> None:
        scheme, _, given = (request.getHeader(b"authorization") or b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), token)
        if not (right and scheme.lower() == b"bearer"):
            raise Refusal(
                401,
                "unauthorized",
                "expected the token of token_file: Authorization: Bearer TOKEN",
                {b"www-authenticate": b'Bearer realm="nbdgateway"'},
            )

    def _check_names(self, request: Any) -> None:
        host = request.getHeader(b"host") or b""
        name = _name(f"//{host.decode('latin-1')}")
        if self.token is None and not self._is_ours(name):
            raise Refusal(
                421,
                "misdirected",
                f"host: got {(name or '')[:100]!r}, expected an address or "
                f"{', '.join(sorted(self.hosts))}",
            )
        origin = request.getHeader(b"origin")
        if origin is not None and not self._is_same(origin.decode("latin-1"), request):
            raise Refusal(403, "forbidden", "origin: expected this site's own")
        if request.getHeader(b"sec-fetch-site") == b"cross-site":
            raise Refusal(403, "forbidden", "sec-fetch-site: expected this site's own")

    def _is_ours(self, name: str | None) -> bool:
        if name is None:
            return False
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return name in self.hosts
        return True  # nobody's DNS makes an address

    def _is_same(self, origin: str, request: Any) -> bool:
        host: str = (request.getHeader(b"host") or b"").decode("latin-1")
        scheme = "https" if request.isSecure() else "http"
        return origin.lower() == f"{scheme}://{host}".lower()


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
