"""One volume lives its whole life, in a directory and in S3 over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles.moto_server import S3Server, aws_environment, s3_process, s3_server
from tests.interop.clients import Clients
from tests.interop.images import Image
from tests.interop.life import Life, live
from tests.service.twistd import Twistd

__all__ = ["aws_environment", "s3_process", "s3_server"]

pytestmark = pytest.mark.interop

Start = Callable[..., Twistd]


def test_in_a_directory(
    clients: Clients, directory: Path, start: Start, image: Image, tmp_path: Path
) -> None:
    """
    Format, fill, snapshot, clone, grow, trim, collect, kill, recover, go back.
    """
    keys = f"provider = directory\npath = {tmp_path / 'objects'}"
    live(Life(directory, keys, start, clients), clients, image)


def test_in_s3_encrypted(
    clients: Clients, directory: Path, start: Start, image: Image, s3_server: S3Server
) -> None:
    """
    The same, with everything encrypted and a journal.
    """
    key = directory / "key"
    key.touch(mode=0o600)
    key.write_text("5a" * 32)
    keys = (
        f"provider = s3\nbucket = {s3_server.bucket}\nendpoint_url = {s3_server.url}\n"
        "region = us-east-1\nkey_file = key\ndurability = journal\njournal_size = 128M"
    )
    live(Life(directory, keys, start, clients), clients, image)
