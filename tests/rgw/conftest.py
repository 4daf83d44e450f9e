"""
A real S3 server for tests: Ceph's RADOS gateway, or whatever the environment names.

Without ``S3_ENDPOINT`` or ``NBDGATEWAY_S3_SCRIPTS`` nothing here is collected.

- ``S3_ENDPOINT``, ``S3_ENDPOINT_TLS``, ``S3_CA_BUNDLE``: a server that runs,
  with credentials in the usual AWS variables and the right to make buckets.
- ``NBDGATEWAY_S3_SCRIPTS``: a folder with ``start.sh``, which starts a server
  with its state in ``REALS3_DIR`` and leaves those variables in its file
  ``env``, and ``stop.sh``, which takes ``--purge``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from backends.objects.s3_settings import S3Settings
from tests.contracts.s3_labs import new_bucket

SCRIPTS = os.environ.get("NBDGATEWAY_S3_SCRIPTS")

if not (SCRIPTS or os.environ.get("S3_ENDPOINT")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The variables that name a server which runs."""
    if SCRIPTS is None:
        yield os.environ
        return
    place = tmp_path_factory.mktemp("server")
    environment = {**os.environ, "REALS3_DIR": str(place / "state")}
    log = place / "log"
    try:
        with log.open("w") as output:
            # its daemons keep the output open: a pipe would never end
            subprocess.run(
                [os.path.join(SCRIPTS, "start.sh")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=100,
                check=True,
            )
        yield _exports(place / "state" / "env")
    finally:
        stop = [os.path.join(SCRIPTS, "stop.sh"), "--purge"]
        subprocess.run(stop, env=environment, timeout=60, check=True)


@pytest.fixture(params=["http", "https"])
def bucket(
    request: pytest.FixtureRequest, server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> S3Settings:
    """A new, empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        if name in server:
            monkeypatch.setenv(name, server[name])
    if request.param == "http":
        settings = S3Settings(bucket="any", endpoint_url=server["S3_ENDPOINT"])
    elif "S3_ENDPOINT_TLS" in server:
        endpoint, bundle = server["S3_ENDPOINT_TLS"], server.get("S3_CA_BUNDLE")
        settings = S3Settings(bucket="any", endpoint_url=endpoint, ca_bundle=bundle)
    else:
        pytest.skip("S3_ENDPOINT_TLS names no server")
    return new_bucket(settings)


def _exports(file: Path) -> dict[str, str]:
    """What ``export NAME=VALUE`` lines say."""
    words = (shlex.split(line) for line in file.read_text().splitlines())
    pairs = (word[1].partition("=") for word in words if word[:1] == ["export"])
    return {name: value for name, _, value in pairs}
