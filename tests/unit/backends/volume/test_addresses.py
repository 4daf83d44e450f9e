"""URLs of volumes: what they mean, and that none of them gives a secret away."""

from __future__ import annotations

import pytest

from backends.volume.directory_provider import DirectoryProvider, DirectorySettings
from backends.volume.s3_provider import S3Provider, S3VolumeSettings
from gateway import settings
from gateway.settings import BadValue

S3, DIRECTORY = S3Provider(), DirectoryProvider()


@pytest.mark.parametrize(
    ("provider", "url", "values"),
    [
        (S3, "s3://disks/vm1", {"bucket": "disks", "prefix": "vm1"}),
        (S3, "s3://disks/a/b%20c/", {"bucket": "disks", "prefix": "a/b c"}),
        (
            S3,
            "s3://disks/vm1?endpoint_url=http://127.0.0.1:9000&region=eu-1",
            {
                "bucket": "disks",
                "prefix": "vm1",
                "endpoint_url": "http://127.0.0.1:9000",
                "region": "eu-1",
            },
        ),
        (S3, "s3://disks", {"bucket": "disks"}),
        (DIRECTORY, "file:///srv/objects/vm1", {"path": "/srv/objects", "prefix": "vm1"}),
        (DIRECTORY, "file://localhost/srv/vm%201/", {"path": "/srv", "prefix": "vm 1"}),
        (DIRECTORY, "file:///vm1", {"path": "/", "prefix": "vm1"}),
        (DIRECTORY, "file:///srv/objects?prefix=a/b", {"path": "/srv/objects", "prefix": "a/b"}),
    ],
)
def test_a_url_is_keys_of_a_section(provider, url, values):
    assert provider.values(url) == values


@pytest.mark.parametrize(
    ("provider", "kind", "url"),
    [
        (S3, S3VolumeSettings, "s3://disks/a/b?endpoint_url=http://127.0.0.1:9000&region=eu-1"),
        (S3, S3VolumeSettings, "s3://disks/%C3%A4%20%3F"),
        (DIRECTORY, DirectorySettings, "file:///srv/objects/vm%201"),
        (DIRECTORY, DirectorySettings, "file:///srv/objects?prefix=a/b"),
    ],
)
def test_settings_have_the_url_that_they_came_from(provider, kind, url):
    """So that what was found or made can be named in the next command."""
    made, problems = settings.read(kind, provider.values(url), "/", str, "-")
    assert not problems
    assert provider.url(made) == url


def test_a_store_is_listed_by_its_own_url():
    """The last component is then no volume."""
    assert DIRECTORY.values("file:///srv/objects", True) == {"path": "/srv/objects"}
    assert S3.values("s3://disks/a", True) == {"bucket": "disks", "prefix": "a"}


@pytest.mark.parametrize(
    ("provider", "url", "expected"),
    [
        (S3, "s3://me:hunter2@disks/vm1", "without user and password"),
        (S3, "s3://hunter2@disks/vm1", "without user and password"),
        (S3, "s3://disks/vm1?secret_access_key=hunter2", "no 'secret_access_key': secrets"),
        (S3, "s3://disks/vm1?aws_access_key_id=hunter2", "secrets come from files"),
        (S3, "s3://disks/vm1?X-Amz-Signature=hunter2", "secrets come from files"),
        (S3, "s3://disks/vm1?key=hunter2", "secrets come from files"),
        (S3, "s3://disks/vm1?regiom=hunter2", "no 'regiom'.* did you mean \"region\""),
        (S3, "s3://disks/vm1?region=hunter2&region=b", "region once"),
        (S3, "s3://disks/vm1?hunter2", "KEY=VALUE"),
        (S3, "s3://disks/vm1#hunter2", "without #"),
        (S3, "s3:///hunter2", "a URL such as s3://bucket/folder/volume"),
        (S3, "s3://[hunter2/vm1", "a URL such as"),
        (DIRECTORY, "file://hunter2/srv/vm1", "a URL such as file:///srv/objects/volume"),
        (DIRECTORY, "file:///", "a URL such as file:///srv/objects/volume"),
        (DIRECTORY, "file:///srv/vm1?token=hunter2", "secrets come from files"),
        (DIRECTORY, "s3://disks/vm1", "starts with file://"),
    ],
)
def test_others_are_refused_and_not_quoted(provider, url, expected):
    """What is written where a password may stand is not repeated."""
    with pytest.raises(BadValue, match=expected) as refusal:
        provider.values(url)
    assert "hunter2" not in str(refusal.value)
