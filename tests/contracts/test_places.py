"""The contract of `IVolumePlace`, run by every provider of volumes."""

from __future__ import annotations

import attrs
import pytest

from backends.volume.directory_provider import DirectoryProvider
from backends.volume.s3_provider import S3Provider
from tests.contracts.place_contract import PlaceContract, PlaceLab
from tests.doubles.machine import Machine
from tests.doubles.moto_server import aws_environment, s3_process, s3_server

__all__ = ["aws_environment", "s3_process", "s3_server"]


@pytest.fixture
def machine(tmp_path):
    """Of which nothing is left."""
    made = Machine(tmp_path)
    yield made
    made.stop()


def lab_of(machine, provider, **store):
    """Around a provider whose store these keys name."""

    def settings(name, **keys):
        made = machine.settings(provider, name or "all", **store, **keys)
        return made if name else attrs.evolve(made, prefix="")

    def place(name, **keys):
        return provider.place(settings(name, **keys), machine.resources)

    return PlaceLab(provider, place, settings, machine.settle)


class TestDirectory(PlaceContract):
    @pytest.fixture
    def lab(self, machine):
        return lab_of(machine, DirectoryProvider(), path="objects")


class TestS3(PlaceContract):
    """Over HTTP, at moto's server."""

    @pytest.fixture
    def lab(self, machine, s3_server):
        return lab_of(
            machine,
            S3Provider(),
            bucket=s3_server.bucket,
            endpoint_url=s3_server.url,
            region="us-east-1",
            allow_unsafe="race",
        )
