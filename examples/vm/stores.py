"""Where the example keeps its volumes: a directory, moto's S3 on this machine, or a real bucket."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from examples.vm.guest import Missing


@contextmanager
def keys_of(
    store: str,
    volume: str,
    directory: Path,
    endpoint_url: str | None = None,
    region: str = "us-east-1",
) -> Iterator[str]:
    """
    The keys of a volume's section, for as long as the store is to be had.

    Args:
        store: ``directory``, ``moto``, or ``s3://BUCKET``.
        volume: that is to be made; nothing of that name may be there.
        directory: of the gateway.
        endpoint_url: of an S3 that is not Amazon's.
        region: as the store signs it.

    Raises:
        Missing: the store's name means nothing, moto is not installed, or the place is taken.
    """
    url = urlsplit(store)
    if store == "directory":
        if (directory / "objects" / volume).exists():
            raise Missing(
                f"{volume} is there already, in {directory}: remove it, or give another --directory"
            )
        yield "provider = directory\npath = objects\n"
    elif store == "moto":
        with _moto() as address:
            yield f"provider = s3\nbucket = disks\nendpoint_url = {address}\nregion = us-east-1\n"
    elif url.scheme == "s3" and url.netloc and not url.path.strip("/"):
        _expect_nothing(url.netloc, volume, endpoint_url, region)
        lines = f"provider = s3\nbucket = {url.netloc}\nregion = {region}\n"
        yield lines + (f"endpoint_url = {endpoint_url}\n" if endpoint_url else "")
    else:
        raise Missing(f"store: got {store}, expected directory, moto or s3://BUCKET")


def _expect_nothing(bucket: str, volume: str, endpoint_url: str | None, region: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("s3", endpoint_url=endpoint_url, region_name=region)
    try:
        for name in (volume, f"{volume}-clone"):
            if client.list_objects_v2(Bucket=bucket, Prefix=f"{name}/", MaxKeys=1)["KeyCount"]:
                raise Missing(f"{name} is there already, in s3://{bucket}: give another --name")
    except (BotoCoreError, ClientError) as failure:
        raise Missing(f"s3://{bucket}: {failure}") from None
    finally:
        client.close()


@contextmanager
def _moto() -> Iterator[str]:
    try:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server
    except ImportError:
        raise Missing("moto is not installed: pip install 'moto[s3,server]'") from None
    import boto3

    application = DomainDispatcherApplication(create_backend_app)
    alone = threading.Lock()

    def one_at_a_time(environ: Any, start_response: Any) -> Iterable[bytes]:
        """Of two puts with If-None-Match at once, moto's threads may let both succeed."""
        with alone:
            return list(application(environ, start_response))

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # What it takes: anything. The gateway finds them where every AWS client looks.
    credentials = {"AWS_ACCESS_KEY_ID": "example", "AWS_SECRET_ACCESS_KEY": "example"}
    before = {name: os.environ.get(name) for name in (*credentials, "AWS_SESSION_TOKEN")}
    os.environ.update(credentials)
    os.environ.pop("AWS_SESSION_TOKEN", None)
    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
        client.create_bucket(Bucket="disks")
        client.close()
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
