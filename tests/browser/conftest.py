"""A real browser, and a gateway with three kinds of storage for it to look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.browser.page import Page, opened
from tests.browser.served import CONFIGURATION, HOSTILE, Served
from tests.doubles.moto_server import ACCESS_KEY, SECRET_KEY, running
from tests.interop.clients import Clients
from tests.interop.gateway import unused_port
from tests.service.twistd import Twistd


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One window for all tests."""
    with opened(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Page:
    """The window, with nothing in it or known of earlier tests."""
    browser.begin()
    return browser


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A gateway that is asked over loopback without a token."""
    with pytest.MonkeyPatch.context() as patch, running() as (url, _):
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="disks")
        with tempfile.TemporaryDirectory(prefix="gw") as made:
            directory = Path(made)
            port = unused_port()
            text = CONFIGURATION.format(port=port, s3=url, hostile=HOSTILE)
            (directory / "gw.ini").write_text(text)
            process = Twistd(directory, "--config", "gw.ini")
            try:
                for name in ("plain", "files", "bucket"):
                    process.wait_for(f"export {name} is open")
                yield Served(directory, port, process, Clients(directory))
            finally:
                process.stop()
            assert "Traceback" not in process.text()
