"""The operations over HTTP: one resource for all paths, and the site that bounds requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from gateway.admin.operations import ExportStatus, NotAVolume, Operations, Refused
from gateway.admin.wire import (
    BODY_LIMIT,
    JSON,
    PROBLEM,
    VERSION,
    Cause,
    Malformed,
    Problem,
    encoded,
    members,
    path,
)
from gateway.errors import (
    Corrupt,
    ExportBusy,
    ExportUnavailable,
    Fenced,
    NoSpace,
    StorageError,
    UnknownExport,
)

#: Bytes of a body that is too long that are read, so that its sender hears of it.
_PATIENCE = 16 * BODY_LIMIT

#: Causes by the kind of error; the first that fits.
_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (Malformed, Cause.BAD_REQUEST),
    (UnknownExport, Cause.NOT_FOUND),
    (NotAVolume, Cause.NOT_A_VOLUME),
    (Refused, Cause.REFUSED),
    (ExportBusy, Cause.BUSY),
    (ExportUnavailable, Cause.UNAVAILABLE),
    (Fenced, Cause.FENCED),
    (Corrupt, Cause.CORRUPT),
    (NoSpace, Cause.NO_SPACE),
    (StorageError, Cause.UNAVAILABLE),
)


@attrs.frozen
class Answer:
    """
    What a request came to.

    Attributes:
        value: for JSON; None for no body.
        location: the path of what was made.
    """

    status: int
    value: Any = None
    location: str | None = None


#: Gets the operations, the body, and the names in the path.
_Do = Callable[..., Awaitable[Answer]]


async def _exports(operations: Operations, body: bytes) -> Answer:
    return Answer(200, {"exports": [_export_json(one) for one in operations.exports()]})


async def _export(operations: Operations, body: bytes, name: str) -> Answer:
    return Answer(200, _export_json(await operations.export(name)))


async def _snapshots(operations: Operations, body: bytes, name: str) -> Answer:
    return Answer(200, {"snapshots": [asdict(one) for one in await operations.snapshots(name)]})


async def _take(operations: Operations, body: bytes, name: str) -> Answer:
    snapshot = members(body, name=str)["name"]
    taken = await operations.take_snapshot(name, snapshot)
    return Answer(201, asdict(taken), path("exports", name, "snapshots", taken.name))


async def _delete(operations: Operations, body: bytes, name: str, snapshot: str) -> Answer:
    await operations.delete_snapshot(name, snapshot)
    return Answer(204)


async def _roll_back(operations: Operations, body: bytes, name: str) -> Answer:
    snapshot = members(body, snapshot=str)["snapshot"]
    await operations.roll_back(name, snapshot)
    return Answer(200, {"export": name, "snapshot": snapshot})


async def _clone(operations: Operations, body: bytes, name: str) -> Answer:
    wanted = members(body, snapshot=str, name=str)
    await operations.clone(name, wanted["snapshot"], wanted["name"])
    return Answer(201, {"export": name, **wanted})


async def _grow(operations: Operations, body: bytes, name: str) -> Answer:
    size = members(body, size=int)["size"]
    await operations.grow(name, size)
    return Answer(200, {"export": name, "size": size})


async def _collect(operations: Operations, body: bytes, name: str) -> Answer:
    members(body)
    return Answer(200, {"export": name, **asdict(await operations.collect(name))})


async def _reopen(operations: Operations, body: bytes, name: str) -> Answer:
    members(body)
    return Answer(200, _export_json(await operations.reopen(name)))


#: Segments of a path behind the version, None for any name, and what each method does there.
_ROUTES: tuple[tuple[tuple[str | None, ...], dict[str, _Do]], ...] = (
    (("exports",), {"GET": _exports}),
    (("exports", None), {"GET": _export}),
    (("exports", None, "snapshots"), {"GET": _snapshots, "POST": _take}),
    (("exports", None, "snapshots", None), {"DELETE": _delete}),
    (("exports", None, "rollback"), {"POST": _roll_back}),
    (("exports", None, "clones"), {"POST": _clone}),
    (("exports", None, "resize"), {"POST": _grow}),
    (("exports", None, "collect"), {"POST": _collect}),
    (("exports", None, "reopen"), {"POST": _reopen}),
)


class AdminResource(Resource):
    """
    Every path there is.

    What is asked for is done to its end, also when the client does not wait for it.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, operations: Operations) -> None:
        Resource.__init__(self)
        self._operations = operations

    def render(self, request: Any) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(self._failed)
        answering.addCallback(partial(self._send, request, gone))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> Answer | Problem:
        method, segments = request.method.decode("latin-1"), request.postpath
        try:
            names, methods = _found([segment.decode() for segment in segments])
        except (UnicodeDecodeError, LookupError):
            return Problem(Cause.NOT_FOUND, "there is nothing at this path")
        do = methods.get("GET" if method == "HEAD" else method)
        if do is None:
            request.setHeader(b"allow", ", ".join(methods).encode())
            return Problem(
                Cause.METHOD_NOT_ALLOWED, f"got {method[:20]}, expected {', '.join(methods)}"
            )
        if request.received > BODY_LIMIT:
            return Problem(Cause.TOO_LARGE, f"body: expected at most {BODY_LIMIT} bytes")
        # Browsers cannot be made to send this across origins without asking.
        kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if request.received and kind != JSON:
            return Problem(Cause.UNSUPPORTED_MEDIA_TYPE, f"content-type: expected {JSON}")
        answer = await do(self._operations, request.content.read(), *names)
        if method not in ("GET", "HEAD"):
            self._log.info("operator: {method} {path} is done", method=method, path=_shown(request))
        return answer

    def _failed(self, failure: Failure) -> Problem:
        error = failure.value
        for kind, cause in _CAUSES:
            if isinstance(error, kind):
                return Problem(cause, str(error))
        self._log.failure("an operator's request failed", failure=failure)
        return Problem(Cause.FAILED, "the gateway failed, see its log")

    def _send(self, request: Any, gone: list[object], answer: Answer | Problem) -> None:
        if gone:
            if isinstance(answer, Problem):
                self._log.warn(
                    "operator: {method} {path} failed, and nobody waits for it: {why}",
                    method=request.method.decode("latin-1"),
                    path=_shown(request),
                    why=answer.detail,
                )
            return
        request.setHeader(b"server", b"nbdgateway")
        request.setHeader(b"cache-control", b"no-store")
        if isinstance(answer, Problem):
            answer = Answer(answer.cause.status, answer.json())
            request.setHeader(b"content-type", PROBLEM.encode())
        elif answer.value is not None:
            request.setHeader(b"content-type", JSON.encode())
        if answer.location is not None:
            request.setHeader(b"location", answer.location.encode())
        request.setResponseCode(answer.status)
        if answer.value is not None:
            body = encoded(answer.value)
            request.setHeader(b"content-length", b"%d" % len(body))
            request.write(body)
        request.finish()


class BoundedRequest(Request):
    """
    A request whose body is kept in memory, up to `BODY_LIMIT`.

    Attributes:
        received: bytes of body so far.
    """

    received = 0

    def gotLength(self, length: int | None) -> None:
        Request.gotLength(self, 0)  # in memory, whatever the client announces

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received <= BODY_LIMIT:
            Request.handleContentChunk(self, data)
        elif self.received > _PATIENCE:
            self.channel.forceAbortClient()


def _shown(request: Any) -> str:
    """The path as it stands in the log: quoted, so that nothing in it breaks the line."""
    return repr(request.path.decode("latin-1"))


class AdminSite(Site):
    """What listens for operators; the resource logs what they do."""

    noisy = False

    def __init__(self, operations: Operations, reactor: Any) -> None:
        Site.__init__(
            self,
            AdminResource(operations),
            requestFactory=BoundedRequest,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )

    def log(self, request: Any) -> None:
        """No line for each question."""


def _found(segments: list[str]) -> tuple[list[str], dict[str, _Do]]:
    """
    Returns:
        The names in a path, and what each method does there.

    Raises:
        LookupError: it leads nowhere.
    """
    version, rest = segments[:1], segments[1:]
    for pattern, methods in _ROUTES if version == [VERSION] else ():
        if len(pattern) == len(rest):
            pairs = [*zip(pattern, rest, strict=True)]
            if all(wanted in (None, segment) for wanted, segment in pairs):
                return [segment for wanted, segment in pairs if wanted is None], methods
    raise LookupError(segments)


def _export_json(status: ExportStatus) -> dict[str, Any]:
    value = {
        "name": status.name,
        "description": status.description,
        "provider": status.provider,
        "storage": status.storage,
        "read_only": status.read_only,
        "open": status.is_open,
        "volume": status.is_volume,
        "size": status.size,
        "clients": status.clients,
    }
    if status.facts is not None:
        value["facts"] = status.facts
    if status.traffic is not None:
        value["traffic"] = status.traffic.figures()
    if status.trouble is not None:
        value["trouble"] = status.trouble
    return value
