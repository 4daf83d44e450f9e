"""The dashboard's files, as they are: they hold no numbers, so whoever asks gets them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import attrs
from twisted.web.http import CACHED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gateway.http.answers import Refusal, finish, refuse
from gateway.http.guard import SAFE

#: Where the files are, both in the package and on the wire.
_DIRECTORY = "dashboard"

#: The file that is at ``/``.
_INDEX = "index.html"

_KINDS = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


@attrs.frozen
class _File:
    kind: bytes
    tag: bytes
    content: bytes


class Pages(Resource):
    """
    The dashboard at ``/``, and what it is made of at ``/dashboard/NAME``.

    Attributes:
        paths: all there are.
    """

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self._files = dict(_found())
        self.paths = frozenset(self._files)

    def render(self, request: Any) -> Any:
        try:
            self._send(request)
        except Refusal as refusal:
            refuse(request, refusal)
        return NOT_DONE_YET

    def _send(self, request: Any) -> None:
        file = self._files.get(request.path)
        if file is None:
            raise Refusal(404, "not-found", "there is nothing at this path")
        method = request.method.decode("latin-1")
        if method not in SAFE:
            allow = {b"allow": ", ".join(SAFE).encode()}
            raise Refusal(
                405, "method-not-allowed", f"got {method[:20]}, expected GET or HEAD", allow
            )
        # Asked for anew each time, so that page and gateway are of one version.
        request.setHeader(b"cache-control", b"no-cache")
        if request.setETag(file.tag) is not CACHED:
            request.setHeader(b"content-type", file.kind)
            request.setHeader(b"content-length", b"%d" % len(file.content))
            if method == "GET":
                request.write(file.content)
        finish(request)


def _found() -> Any:
    for path in files("gateway.http").joinpath(_DIRECTORY).iterdir():
        kind = _KINDS.get(path.name[path.name.rfind(".") :])
        if kind is None:
            continue
        content = path.read_bytes()
        tag = b'"%s"' % hashlib.sha256(content).hexdigest()[:32].encode()
        name = "" if path.name == _INDEX else f"{_DIRECTORY}/{path.name}"
        yield f"/{name}".encode(), _File(kind, tag, content)
