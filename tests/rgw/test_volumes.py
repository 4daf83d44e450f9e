"""Volumes in a bucket of a real store, as other projects' clients see them, and through kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from backends.objects.s3_settings import S3Settings
from tests.crash.kills import Kills
from tests.interop.conftest import clients, image
from tests.interop.test_volume_backup import (
    backed_up,
    test_a_snapshot_is_taken_and_copied_under_load,
    test_an_incremental_backup_by_libnbd_of_a_disk_in_use,
    test_an_incremental_backup_by_qemu_of_a_disk_in_use,
)
from tests.interop.test_volumes import (
    test_a_disk_image_goes_in_and_out,
    test_a_second_gateway_takes_the_volume_over,
    test_what_was_flushed_survives_a_crash,
    two,
    volume,
)
from tests.service.conftest import directory, start

__all__ = [
    "backed_up",
    "clients",
    "directory",
    "image",
    "start",
    "test_a_disk_image_goes_in_and_out",
    "test_a_second_gateway_takes_the_volume_over",
    "test_a_snapshot_is_taken_and_copied_under_load",
    "test_an_incremental_backup_by_libnbd_of_a_disk_in_use",
    "test_an_incremental_backup_by_qemu_of_a_disk_in_use",
    "test_what_was_flushed_survives_a_crash",
    "two",
    "volume",
]

#: Of each combination.
KILLS = 10


@attrs.frozen
class Bucket:
    """An empty bucket, as an export's section names it."""

    settings: S3Settings

    def section(self) -> str:
        keys = {
            "bucket": self.settings.bucket,
            "endpoint_url": self.settings.endpoint_url,
            "ca_bundle": self.settings.ca_bundle,
            "region": "us-east-1",
        }
        lines = [f"{key} = {value}\n" for key, value in keys.items() if value is not None]
        return "provider = s3\n" + "".join(lines)


@pytest.fixture
def keys(bucket: S3Settings) -> str:
    """Of a store that is empty."""
    return Bucket(bucket).section()


@pytest.fixture(params=["store", "journal"])
def kills(request: pytest.FixtureRequest, directory: Path, bucket: S3Settings) -> Iterator[Kills]:
    made = Kills(directory, Bucket(bucket), request.param, 1)
    yield made
    made.stop()


@pytest.mark.timeout(300 + 20 * KILLS)
def test_a_killed_gateway_loses_nothing_that_was_flushed(kills: Kills) -> None:
    """As in tests/crash, over a store that decides conditions in its own way."""
    for _ in range(KILLS):
        kills.round()
    kills.finish()
    assert kills.counts["answered"] > 0
