"""The part of S3 that block devices use: what is asked, and what comes back; no I/O."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import attrs

from benchmarks.s3_emulator.bucket import Bucket, Stored

#: Keys in a page of a listing, and in a request that deletes.
PAGE = 1000
#: Bytes of a key.
_LONGEST_KEY = 1024
#: Bytes; the ETag of a larger object is no MD5, as with multipart uploads: hashing takes time.
_HASHED = 1 << 20

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@attrs.frozen
class Request:
    """
    A request as it came.

    Attributes:
        method: such as ``PUT``.
        bucket, key: from the path; empty where there is none.
        query: parameters; those without a value are empty.
        headers: by lower-case name.
        body: all of it; belongs to the request.
    """

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes | bytearray = attrs.field(repr=False, default=b"")

    @classmethod
    def parse(
        cls, method: str, target: str, headers: dict[str, str], body: bytes | bytearray
    ) -> Request:
        """From a request line's method and target."""
        path, _, query = target.partition("?")
        bucket, _, key = path.lstrip("/").partition("/")
        parameters = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        return cls(method, unquote(bucket), unquote(key), parameters, headers, body)

    @property
    def verb(self) -> str:
        """What is counted: one of `benchmarks.s3_emulator.counters.VERBS`."""
        if self.key:
            return self.method if self.method in ("PUT", "GET", "HEAD", "DELETE") else "OTHER"
        if self.method == "POST" and "delete" in self.query:
            return "DELETES"
        if self.method == "GET" and not _SUBRESOURCES & self.query.keys():
            return "LIST"
        return "OTHER"


#: Of a bucket; whoever asks for one does not want a listing.
_SUBRESOURCES = {"versioning", "location", "object-lock", "acl", "policy", "uploads"}


@attrs.frozen
class Answer:
    """
    What goes back.

    Attributes:
        status: of HTTP.
        headers: beside Content-Length.
        body: of an answer to HEAD, what GET would send.
    """

    status: int
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes | bytearray | memoryview = attrs.field(default=b"", repr=False)


def error(status: int, code: str, message: str, **facts: str) -> Answer:
    """An answer that says what is wrong."""
    more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in facts.items())
    text = f"{_XML}<Error><Code>{code}</Code><Message>{escape(message)}</Message>{more}</Error>"
    return Answer(status, {"Content-Type": "application/xml"}, text.encode())


class S3:
    """
    Buckets in memory.

    Args:
        buckets: names of those that exist at first.
        wall: seconds since 1970.
    """

    def __init__(self, *buckets: str, wall: Callable[[], float] = time.time) -> None:
        self.buckets = {name: Bucket() for name in buckets}
        self._wall = wall
        self._large = 0

    def answer(self, request: Request) -> Answer:
        """Do what is asked; credentials and signatures are not looked at."""
        if request.headers.get("x-amz-copy-source"):
            return _not_implemented("copying objects")
        if "aws-chunked" in request.headers.get("content-encoding", ""):
            return _not_implemented("bodies in signed chunks")
        if not request.bucket:
            return self._service(request)
        bucket = self.buckets.get(request.bucket)
        if bucket is None:
            if request.method == "PUT" and not request.key:
                self.buckets[request.bucket] = Bucket()
                return Answer(200, {"Location": f"/{request.bucket}"})
            return error(404, "NoSuchBucket", "no such bucket", BucketName=request.bucket)
        if not request.key:
            return self._of_bucket(bucket, request)
        if len(request.key.encode()) > _LONGEST_KEY:
            return error(400, "KeyTooLongError", "Your key is too long")
        match request.method:
            case "PUT":
                return self._put(bucket, request)
            case "GET" | "HEAD":
                return _get(bucket, request)
            case "DELETE":
                bucket.delete(request.key)
                return Answer(204)
        return _not_implemented(f"{request.method} of an object")

    def _service(self, request: Request) -> Answer:
        if request.method != "GET":
            return _not_implemented(f"{request.method} of the service")
        names = "".join(f"<Bucket><Name>{escape(name)}</Name></Bucket>" for name in self.buckets)
        return _xml("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")

    def _of_bucket(self, bucket: Bucket, request: Request) -> Answer:
        match request.verb, request.method:
            case "LIST", _:
                return _list(bucket, request)
            case "DELETES", _:
                return _delete_many(bucket, request)
            case _, "HEAD":
                return Answer(200)
            case _, "PUT" if not request.query:
                return Answer(200)
            case _, "DELETE" if not request.query:
                if len(bucket):
                    return error(409, "BucketNotEmpty", "The bucket is not empty")
                del self.buckets[request.bucket]
                return Answer(204)
            case _, "GET" if "versioning" in request.query:
                return _xml("VersioningConfiguration", "")
            case _, "GET" if "location" in request.query:
                return _xml("LocationConstraint", "")
            case _, "GET" if "object-lock" in request.query:
                return error(404, "ObjectLockConfigurationNotFoundError", "there is no object lock")
        return _not_implemented(f"{request.method} of a bucket with {sorted(request.query)}")

    def _put(self, bucket: Bucket, request: Request) -> Answer:
        there = bucket.get(request.key)
        absent, match = request.headers.get("if-none-match"), request.headers.get("if-match")
        if absent not in (None, "*"):
            return _not_implemented("If-None-Match with anything but *")
        if absent and there is not None:
            return error(412, "PreconditionFailed", "there is one", Condition="If-None-Match")
        if match and there is None:
            return error(404, "NoSuchKey", "there is none", Key=request.key)
        if match and there is not None and match not in (there.etag, "*"):
            return error(412, "PreconditionFailed", "it is another one", Condition="If-Match")
        etag = self._etag(request.body)
        metadata = {
            name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")
        }
        bucket.put(request.key, Stored(request.body, self._wall(), etag, metadata))
        return Answer(200, {"ETag": etag})

    def _etag(self, data: bytes | bytearray) -> str:
        if len(data) <= _HASHED:
            return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        self._large += 1
        return f'"{self._large:032x}-1"'


def _get(bucket: Bucket, request: Request) -> Answer:
    stored = bucket.get(request.key)
    if stored is None:
        return error(404, "NoSuchKey", "The specified key does not exist.", Key=request.key)
    headers = {
        "ETag": stored.etag,
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        **stored.metadata,
    }
    if request.headers.get("if-none-match") == stored.etag:
        return Answer(304, headers)
    size = len(stored.data)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or asked[0] == "bytes=-":
        return Answer(200, headers, stored.data)
    if asked[1]:
        first, last = int(asked[1]), int(asked[2] or size)
    else:
        first, last = max(size - int(asked[2]), 0), size
    last = min(last, size - 1)
    if first > last:
        return error(416, "InvalidRange", "The requested range cannot be satisfied.")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, headers, memoryview(stored.data)[first : last + 1])


def _list(bucket: Bucket, request: Request) -> Answer:
    query = request.query
    second = query.get("list-type") == "2"
    if query.get("delimiter"):
        return _not_implemented("listings with a delimiter")
    try:
        limit = min(int(query.get("max-keys", PAGE)), PAGE)
    except ValueError:
        return error(400, "InvalidArgument", f"max-keys: got {query['max-keys']!r}")
    # a token is the last key of the page before
    after = query.get("continuation-token") or query.get("start-after") if second else None
    if not second:
        after = query.get("marker")
    prefix = query.get("prefix", "")
    found, more = bucket.page(prefix, after or "", limit)
    as_text = quote if query.get("encoding-type") == "url" else escape
    last = found[-1][0] if found else ""
    parts = [
        f"<Name>{escape(request.bucket)}</Name><Prefix>{as_text(prefix)}</Prefix>",
        f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>",
    ]
    if query.get("encoding-type") == "url":
        parts.append("<EncodingType>url</EncodingType>")
    if second:
        parts.append(f"<KeyCount>{len(found)}</KeyCount>")
    if more:
        name = "NextContinuationToken" if second else "NextMarker"
        text = escape(last) if second else as_text(last)
        parts.append(f"<{name}>{text}</{name}>")
    parts += _contents(found, as_text)
    return _xml("ListBucketResult", "".join(parts))


def _contents(found: list[tuple[str, Stored]], as_text: Callable[[str], str]) -> Iterator[str]:
    for key, stored in found:
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stored.modified))
        yield (
            f"<Contents><Key>{as_text(key)}</Key><LastModified>{whole}.000Z</LastModified>"
            f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.data)}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )


def _delete_many(bucket: Bucket, request: Request) -> Answer:
    try:
        root = ElementTree.fromstring(bytes(request.body))
    except ElementTree.ParseError as problem:
        return error(400, "MalformedXML", str(problem))
    keys = [element.text or "" for element in root.iterfind(".//{*}Object/{*}Key")]
    if len(keys) > PAGE:
        return error(400, "MalformedXML", f"got {len(keys)} keys, expected at most {PAGE}")
    for key in keys:
        bucket.delete(key)
    quiet = root.findtext("{*}Quiet") == "true"
    told = [] if quiet else keys
    return _xml(
        "DeleteResult",
        "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in told),
    )


def _xml(name: str, content: str) -> Answer:
    text = f'{_XML}<{name} xmlns="{_NAMESPACE}">{content}</{name}>'
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


def _not_implemented(what: str) -> Answer:
    return error(501, "NotImplemented", f"this store knows no {what}")
