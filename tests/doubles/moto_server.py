"""moto's S3 over HTTP on this machine, behind faults; nothing starts on import."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import pytest

from backends.objects.s3_settings import S3Settings
from tests.doubles.s3_faults import FaultyS3

_names = itertools.count(1)

#: What moto takes: anything.
ACCESS_KEY, SECRET_KEY = "AKIDTESTTESTTEST", "swordfish-secret-key"


@attrs.frozen
class S3Server:
    """
    A server with one bucket.

    Attributes:
        url: of the endpoint.
        bucket: it exists and is empty at first.
        faults: what may go wrong, and what was asked.
    """

    url: str
    bucket: str
    faults: FaultyS3

    def settings(self, **keys: Any) -> S3Settings:
        """Of a store in the bucket; impatient."""
        given = {"region": "us-east-1", "connect_timeout": 10.0, "read_timeout": 20.0, **keys}
        return S3Settings(bucket=self.bucket, endpoint_url=self.url, **given)

    def fill(self, keys: Iterable[str]) -> None:
        """Make objects that hold their own keys, without asking for each over HTTP."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in keys:
            backend.put_object(self.bucket, key, key.encode())


@contextmanager
def running() -> Iterator[tuple[str, FaultyS3]]:
    """A server on a free port: its URL, and what may go wrong with it."""
    from moto.server import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        """Silent, and able to cut the connection."""

        def log(self, type: str, message: str, *args: Any) -> None:
            pass

        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
            # others hold the socket as well: closing it would not reach the peer
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    s3, sts = create_backend_app("s3"), create_backend_app("sts")

    def moto(environ: Any, respond: Any) -> Iterable[bytes]:
        # Which of its services a request means takes moto itself half as long as the answer.
        is_of_roles = (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/")
        answer: Iterable[bytes] = (sts if is_of_roles else s3)(environ, respond)
        return answer

    faults = FaultyS3(moto)
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def s3_process() -> Iterator[tuple[str, FaultyS3]]:
    """One server for all tests."""
    with running() as found:
        yield found


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that a test server takes, and none of the operator's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.fixture
def s3_server(s3_process: tuple[str, FaultyS3], aws_environment: None) -> Iterator[S3Server]:
    """A healthy server with an empty bucket of the test's own."""
    url, faults = s3_process
    faults.heal()
    bucket = f"disks-{next(_names)}"
    _request("PUT", f"{url}/{bucket}")
    faults.forget()
    yield S3Server(url, bucket, faults)
    faults.heal()


def _request(method: str, url: str) -> None:
    from urllib.request import Request, urlopen

    sign = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/us-east-1/s3/aws4_request"
    with urlopen(Request(url, method=method, headers={"Authorization": sign})) as answer:
        answer.read()
