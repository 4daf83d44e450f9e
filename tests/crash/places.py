"""Where a volume lies, for those who look after its objects, take it away, or damage it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tests.crash.s3_server import S3Process
from tests.doubles.moto_server import ACCESS_KEY, SECRET_KEY

#: The name of every volume here, and so the folder of its objects.
PREFIX = "vm1"


class Named(Protocol):
    """A store that a configuration can name."""

    def section(self) -> str:
        """What an export's section says about it."""


class Place(Named, Protocol):
    """A store with room for volumes, within reach."""

    def names(self, folder: str = PREFIX) -> list[str]:
        """Of all objects in a folder, in order."""

    def read(self, name: str) -> bytes:
        """The object of that name."""

    def write(self, name: str, data: bytes) -> None:
        """Make or replace an object."""

    def delete(self, name: str) -> None:
        """Take an object away."""

    def cut(self) -> None:
        """Take the store away: nothing reaches it."""

    def join(self) -> None:
        """Bring it back as it was."""


class InDirectory:
    """
    Files below ``directory / "objects"``.

    Args:
        directory: exists.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "objects"
        self.root.mkdir()
        self._away = directory / "objects.away"

    def section(self) -> str:
        return f"provider = directory\npath = {self.root}\n"

    def names(self, folder: str = PREFIX) -> list[str]:
        found = (self.root / folder).rglob("*")
        return sorted(str(path.relative_to(self.root)) for path in found if path.is_file())

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)

    def delete(self, name: str) -> None:
        (self.root / name).unlink()

    def cut(self) -> None:
        self.root.rename(self._away)

    def join(self) -> None:
        self._away.rename(self.root)


class InBucket:
    """
    A bucket of a server on this machine.

    Args:
        server: runs.
        bucket: a new one.
        directory: takes the credentials' file.
        keys: more lines of the section.
    """

    def __init__(self, server: S3Process, bucket: str, directory: Path, keys: str = "") -> None:
        self.server = server
        self.bucket = bucket
        self._keys = keys
        self._credentials = directory / "credentials"
        self._credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        self._credentials.chmod(0o600)
        server.heal()
        server.bucket(bucket)

    def section(self) -> str:
        return (
            f"provider = s3\nbucket = {self.bucket}\nendpoint_url = {self.server.url}\n"
            f"region = us-east-1\ncredentials_file = {self._credentials}\n{self._keys}"
        )

    def names(self, folder: str = PREFIX) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        return [one["Key"] for one in self._listed(pages, folder)]

    def _listed(self, pages: Any, folder: str) -> Iterator[Any]:
        for page in pages.paginate(Bucket=self.bucket, Prefix=f"{folder}/"):
            yield from page.get("Contents", [])

    def read(self, name: str) -> bytes:
        got = self._client.get_object(Bucket=self.bucket, Key=name)
        with got["Body"] as body:
            data: bytes = body.read()
        return data

    def write(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.bucket, Key=name, Body=data)

    def delete(self, name: str) -> None:
        self._client.delete_object(Bucket=self.bucket, Key=name)

    def cut(self) -> None:
        self.server.fail("reset")

    def join(self) -> None:
        self.server.heal()

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.server.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
