"""
A client of botocore whose gets and puts are not each built from nothing.

What botocore makes of a call, its endpoint, addressing and headers, is the same
for every key but for a few headers. So the first call of a kind goes all the
way, and what has become of it just before signing is the model of those that
follow. They too are signed and sent by botocore, through the same hooks and
connections, and it reads what the store has to say when it refuses. Left out is
what it does by S3's description, call for call: that takes longer than the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias
from uuid import uuid4
from xml.etree import ElementTree

import attrs
from botocore import parsers
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.utils import percent_encode

from backends.objects.s3_ids import note_ids

#: The arguments that differ from call to call, by operation, and the headers that they become.
_CHANGING: Mapping[str, Mapping[str, str]] = {
    "GetObject": {"Range": "Range"},
    "PutObject": {
        "ChecksumCRC32C": "x-amz-checksum-crc32c",
        "ChecksumCRC32": "x-amz-checksum-crc32",
        "ContentMD5": "Content-MD5",
    },
}

#: Has all arguments of a call in it, the body too.
_LEFT_OUT = "s3_redirect"

#: The store wants the request to go, or to be signed for, elsewhere: botocore finds out where.
_ELSEWHERE = (301, 302, 307)
_FOR_ELSEWHERE = (
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
)

#: Arguments that are neither headers nor the same each time.
_OWN = ("Key", "Body")

_Arguments: TypeAlias = "dict[str, Any]"


class _Request(AWSRequest):  # type: ignore[misc]
    """It would be prepared for the signature alone: bytes and files are sent as they are."""

    @property
    def body(self) -> Any:
        return self.data


@attrs.frozen
class _Seen:
    """A request of botocore, with what it had before others added to it."""

    request: Any
    headers: dict[str, Any]
    context: dict[str, Any]


@attrs.frozen
class _Model:
    """
    A request just before it was signed, without what differs from one to the next.

    Attributes:
        base: of the URL; the key follows.
        auth_path: of what older signatures cover, likewise; None if there is none.
    """

    method: str
    base: str
    auth_path: str | None
    headers: Mapping[str, Any]
    context: Mapping[str, Any]
    stream_output: bool


class Shortcuts:
    """
    What it has no short way for is the client's own.

    Threads may share it, as they may a client.

    Args:
        client: a ``botocore.client.S3`` that makes one attempt each. Its hooks
            before ``request-created`` see only some of the gets and puts.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._events = client.meta.events
        # of botocore's inner workings the only one; a test says whether it is still there
        endpoint = getattr(client, "_endpoint", None)
        self._session: Any = getattr(endpoint, "http_session", None)
        self._parser = parsers.create_parser("rest-xml")
        self._models: dict[Hashable, _Model] = {}
        self._seen = threading.local()
        for operation in _CHANGING:
            # first: nothing has been added to it yet
            self._events.register_first(f"request-created.s3.{operation}", self._see)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **arguments: Any) -> _Arguments:
        """
        As the client does it, but for the answer: length, range and body are all that is in it.

        Raises:
            Exception: of botocore, the same as the client.
        """
        return self._call("GetObject", self._client.get_object, arguments, self._got)

    def put_object(self, **arguments: Any) -> _Arguments:
        """As the client does it, and nothing but its ids are in the answer; see `get_object`."""
        return self._call("PutObject", self._client.put_object, arguments, self._put)

    def _call(
        self,
        operation: str,
        long_way: Callable[..., _Arguments],
        arguments: _Arguments,
        understood: Callable[[Any], _Arguments],
    ) -> _Arguments:
        body: Any = arguments.get("Body")
        is_file = hasattr(body, "read")
        changing = _CHANGING[operation]
        headers = {changing[name]: arguments[name] for name in arguments if name in changing}
        # what is read from a file goes out differently: the store says first whether it wants it
        kind = (
            operation,
            is_file,
            tuple(headers),
            *((name, arguments[name]) for name in arguments if name not in (*changing, *_OWN)),
        )
        model = self._models.get(kind)
        if model is not None:
            start = body.tell() if is_file else 0
            response = self._send(operation, model, arguments["Key"], headers, body)
            refusal = self._refusal(operation, response)
            if refusal is None:
                note_ids({"ResponseMetadata": {"HTTPHeaders": response.headers}})
                return understood(response)
            if not _is_elsewhere(refusal):
                note_ids(refusal.response)
                raise refusal
            self._models.pop(kind, None)
            if is_file:
                body.seek(start)  # some of it may have been sent
        self._seen.request = None
        self._seen.looking = True
        try:
            answer = long_way(**arguments)
            model = _model_of(self._seen.request, arguments["Key"], headers)
        finally:
            self._seen.__dict__.clear()
        if model is not None and self._session is not None:
            self._models[kind] = model
        return answer

    def _see(self, request: Any, **_: Any) -> None:
        """Of several, as after a redirection, the last counts."""
        if getattr(self._seen, "looking", False):
            self._seen.request = _Seen(request, dict(request.headers), dict(request.context))

    def _send(
        self, operation: str, model: _Model, key: str, headers: Mapping[str, str], body: Any
    ) -> Any:
        """Sign and send; as ``botocore.endpoint.Endpoint`` does it."""
        path = _quoted(key)
        request = _Request(
            method=model.method,
            url=model.base + path,
            headers={**model.headers, **headers},
            data=b"" if body is None else body,
            auth_path=None if model.auth_path is None else model.auth_path + path,
            stream_output=model.stream_output,
        )
        request.context = {
            **model.context,
            "retries": {**model.context["retries"], "invocation-id": str(uuid4())},
        }
        event = f"s3.{operation}"
        self._events.emit(f"request-created.{event}", request=request, operation_name=operation)
        for name, value in request.headers.items():
            if isinstance(value, str):
                request.headers[name] = value.encode()
        prepared = request.prepare()
        _, response = self._events.emit_until_response(f"before-send.{event}", request=prepared)
        return self._session.send(prepared) if response is None else response

    def _refusal(self, operation: str, response: Any) -> Any:
        """The failure that the answer is, a ``ClientError``; None if it is none."""
        status = response.status_code
        if status < 300 and (operation == "GetObject" or _is_granted(response.content)):
            return None
        said = {
            # S3 may find out after it has answered 200 that it cannot
            "status_code": status if status >= 300 else 500,
            "headers": response.headers,
            "body": response.content,
        }
        return ClientError(self._parser.parse(said, None), operation)

    @staticmethod
    def _got(response: Any) -> _Arguments:
        headers = response.headers
        length = headers.get("Content-Length")
        answer: _Arguments = {"Body": StreamingBody(response.raw, length)}
        if length is not None:
            answer["ContentLength"] = int(length)
        if "Content-Range" in headers:
            answer["ContentRange"] = headers["Content-Range"]
        return answer

    @staticmethod
    def _put(response: Any) -> _Arguments:
        return {"ResponseMetadata": {"HTTPHeaders": response.headers}}


def _model_of(seen: _Seen | None, key: str, headers: Mapping[str, str]) -> _Model | None:
    """What others can be made after; None if it holds what is not understood here."""
    if seen is None:
        return None
    request, path = seen.request, _quoted(key)
    url, auth_path = request.url, request.auth_path
    left = {name: value for name, value in seen.headers.items() if name != "Content-Length"}
    for name, value in headers.items():
        if left.pop(name, None) != value:
            return None
    is_odd = (
        request.params
        or "?" in url
        or not url.endswith("/" + path)
        or (auth_path is not None and not auth_path.endswith("/" + path))
        or "Transfer-Encoding" in left
        or seen.context.get("checksum")
        or "retries" not in seen.context
    )
    if is_odd:
        return None
    return _Model(
        request.method,
        url[: -len(path)],
        None if auth_path is None else auth_path[: -len(path)],
        left,
        {name: value for name, value in seen.context.items() if name != _LEFT_OUT},
        request.stream_output,
    )


def _quoted(key: str) -> str:
    """As botocore writes a key into a path."""
    quoted: str = percent_encode(key, safe="/~")
    return quoted


def _is_granted(body: bytes) -> bool:
    """Whether a put with status 200 has been done: its body is empty, or at least no error."""
    if not body:
        return True
    try:
        return ElementTree.fromstring(body).tag != "Error"
    except ElementTree.ParseError:
        return False


def _is_elsewhere(refusal: Any) -> bool:
    answer = refusal.response
    status = answer["ResponseMetadata"].get("HTTPStatusCode")
    return status in _ELSEWHERE or answer.get("Error", {}).get("Code") in _FOR_ELSEWHERE
