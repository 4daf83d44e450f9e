"""One volume lives its whole life in a real object store, over HTTP and HTTPS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backends.objects.s3_settings import S3Settings
from tests.interop.clients import Clients
from tests.interop.conftest import clients, directory, image, start
from tests.interop.images import Image
from tests.interop.life import Life, live
from tests.service.twistd import Twistd

__all__ = ["clients", "directory", "image", "start"]


def test_in_a_bucket(
    clients: Clients,
    directory: Path,
    start: Callable[..., Twistd],
    image: Image,
    bucket: S3Settings,
) -> None:
    """
    Format, fill, snapshot, clone, grow, trim, collect, kill, recover, go back.
    """
    keys = f"provider = s3\nbucket = {bucket.bucket}\nendpoint_url = {bucket.endpoint_url}\n"
    if bucket.ca_bundle is not None:
        keys += f"ca_bundle = {bucket.ca_bundle}\n"
    live(Life(directory, keys, start, clients), clients, image)
